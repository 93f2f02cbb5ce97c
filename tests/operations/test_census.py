"""The count of sessions: right, rare, and nobody waits for it."""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bits_server.operations.census import FRESH_SECONDS, PAUSE_EVERY, SHARE, Census, Count
from bits_server.protocol.states import SessionState
from bits_server.storage.memory import MemoryStore
from tests.storage.stages import MemoryStage
from tests.support.waiting import wait_until


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


class SlowStore:
    """Sessions that are found when ``go`` is set. ``counts``: how often it was asked."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.counts = 0

    def states(self) -> Iterator[SessionState | None]:
        self.counts += 1
        assert self.go.wait(20)
        yield SessionState.OPENED


class LostStore:
    """A folder that is gone."""

    def states(self) -> Iterator[SessionState | None]:
        raise OSError("gone")


@pytest.fixture(params=["one process", "shared"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return str(tmp_path) if request.param == "shared" else None


def sessions_of(count: Count | None) -> dict[str, dict[str, int]]:
    assert count is not None
    return count.sessions


def test_sessions_are_counted_by_directory_and_state(tmp_path: Path, folder: str | None) -> None:
    stage = MemoryStage(tmp_path)
    stage.create()
    stage.break_record(stage.create())
    for _ in range(2):
        stage.create_complete(b"abc")
    census = Census({"/a": stage.store, "/b": MemoryStore(), "/lost": LostStore()}, folder)
    expected = {"opened": 1, "unreadable": 1, "complete": 2}
    assert sessions_of(census.latest()) == {"/a": expected, "/b": {}}


def test_a_count_is_kept_until_it_is_old(tmp_path: Path, folder: str | None) -> None:
    stage, clock = MemoryStage(tmp_path), Clock()
    census = Census({"/a": stage.store}, folder, clock=clock)
    assert sessions_of(census.latest()) == {"/a": {}}
    stage.create()
    clock.now += FRESH_SECONDS - 1
    assert sessions_of(census.latest()) == {"/a": {}}
    clock.now += 1
    assert sessions_of(census.latest()) == {"/a": {"opened": 1}}


def test_a_count_that_is_of_a_time_to_come_is_made_again(folder: str | None) -> None:
    """The clock was wrong, and was set right."""
    clock = Clock()
    census = Census({"/a": MemoryStore()}, folder, clock=clock)
    first = census.latest()
    clock.now -= 3600
    assert census.latest() != first


def test_nobody_waits_for_a_slow_count_and_there_is_one_at_a_time(folder: str | None) -> None:
    store = SlowStore()
    census = Census({"/a": store}, folder)
    try:
        assert census.latest() is None
        assert census.latest() is None
        assert store.counts == 1
    finally:
        store.go.set()
    wait_until(lambda: census.latest() is not None)
    assert sessions_of(census.latest()) == {"/a": {"opened": 1}}
    assert store.counts == 1


def test_what_takes_long_is_done_rarely(
    folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count of 7 s: the next one when it takes a fiftieth of the time."""
    clock, store = Clock(), SlowStore()
    store.go.set()
    census = Census({"/a": store}, folder, clock=clock)
    ticks = iter([100.0, 107.0, 200.0, 200.0])
    monkeypatch.setattr("bits_server.operations.census.time.monotonic", lambda: next(ticks))
    census._count_if_due()
    clock.now += SHARE * 7 - 1
    census._count_if_due()
    assert store.counts == 1
    clock.now += 1
    census._count_if_due()
    assert store.counts == 2


def test_the_threads_that_serve_packets_get_their_turn(tmp_path: Path) -> None:
    stage, pauses = MemoryStage(tmp_path), []
    for _ in range(2 * PAUSE_EVERY + 1):
        stage.create()
    census = Census({"/a": stage.store}, pause=lambda: pauses.append(1))
    assert sessions_of(census.latest()) == {"/a": {"opened": 2 * PAUSE_EVERY + 1}}
    assert len(pauses) == 2


def test_processes_share_a_count(tmp_path: Path) -> None:
    stores = [SlowStore(), SlowStore()]
    for store in stores:
        store.go.set()
    first, second = (Census({"/a": store}, str(tmp_path)) for store in stores)
    assert first.latest() == second.latest()
    assert [store.counts for store in stores] == [1, 0]


def test_while_another_process_counts_there_is_the_last_count(tmp_path: Path) -> None:
    clock = Clock()
    census = Census({"/a": MemoryStore()}, str(tmp_path), clock=clock)
    first = census.latest()
    clock.now += 1000
    with (tmp_path / "census.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert census.latest() == first
    assert census.latest() != first
