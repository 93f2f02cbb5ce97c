"""The thread that cleans up: it goes on whatever happens, in every process."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bits_server.operations.housekeeping import LONGEST_TICK_SECONDS, Housekeeper, give_way
from bits_server.sessions.cleanup import Cleanup
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.storage.interface import Sweep
from bits_server.storage.memory import MemoryStore
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import MemoryStage

HOUR = 3_600.0


class FailingCleanup(Cleanup):
    """A clean-up that finds the disk gone; ``tries`` counts."""

    def __init__(self) -> None:
        self.tries = 0

    def run_if_due(self, _interval: float) -> CleanupReport | None:
        self.tries += 1
        raise OSError("the disk is gone")


def _cleanup(store: MemoryStore, observer: RecordingObserver) -> Cleanup:
    return Cleanup("/upload", store, observer, session_timeout=HOUR)


def test_what_is_due_is_cleaned_up_each_with_its_interval(tmp_path: Path) -> None:
    stage = MemoryStage(tmp_path)
    session_id = stage.create()
    stage.age(session_id, 2 * HOUR)
    observer = RecordingObserver()
    housekeeper = Housekeeper([(_cleanup(stage.another_store(), observer), HOUR)])
    housekeeper.clean_up()
    housekeeper.clean_up()
    assert observer.names() == ["expired", "cleaned_up"]
    assert list(stage.store.session_ids()) == []


def test_a_cleanup_that_fails_is_logged_and_does_not_keep_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing, observer = FailingCleanup(), RecordingObserver()
    housekeeper = Housekeeper(
        [(failing, HOUR), (_cleanup(MemoryStore(), observer), HOUR), (failing, HOUR)]
    )
    housekeeper.clean_up()
    assert failing.tries == 2
    assert observer.names() == ["cleaned_up"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert "the disk is gone" in caplog.text


class _Stop(BaseException):
    """Ends the endless thread of a test."""


def test_the_thread_goes_on_after_a_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failing = FailingCleanup()
    ticks: list[float] = []

    def tick(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) > 3:
            raise _Stop

    monkeypatch.setattr(time, "sleep", tick)
    with caplog.at_level(logging.CRITICAL, logger="bits_server"), pytest.raises(_Stop):
        Housekeeper([(failing, 600.0)])._run()
    assert failing.tries == 3
    assert ticks == [60.0] * 4, "often enough for its interval"


@pytest.mark.parametrize(
    ("intervals", "expected"),
    [
        ([43_200.0], LONGEST_TICK_SECONDS),
        ([43_200.0, 100.0, 50_000.0], 10.0),
        ([1.0], 0.1),
    ],
)
def test_the_shortest_interval_decides_how_often_it_looks(
    intervals: list[float], expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tick(seconds: float) -> None:
        assert seconds == pytest.approx(expected)
        raise _Stop

    monkeypatch.setattr(time, "sleep", tick)
    cleanup = _cleanup(MemoryStore(), RecordingObserver())
    with pytest.raises(_Stop):
        Housekeeper([(cleanup, interval) for interval in intervals])._run()


def test_it_is_started_as_a_daemon_and_again_in_forked_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    after_fork: list[Callable[[], Any]] = []
    started: list[threading.Thread] = []
    monkeypatch.setattr(
        os, "register_at_fork", lambda *, after_in_child: after_fork.append(after_in_child)
    )
    monkeypatch.setattr(threading.Thread, "start", lambda thread: started.append(thread))
    Housekeeper([]).start()
    [again] = after_fork
    again()
    assert [(thread.name, thread.daemon) for thread in started] == [("housekeeper", True)] * 2


def test_several_workers_of_one_folder_clean_once() -> None:
    store, observer = MemoryStore(), RecordingObserver()
    workers = [Housekeeper([(_cleanup(store, observer), HOUR)]) for _ in range(5)]
    for worker in workers:
        worker.clean_up()
    assert observer.names() == ["cleaned_up"]
    assert store.last_swept(Sweep.SESSIONS) == pytest.approx(time.time(), abs=5)


def test_giving_way_lets_other_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    give_way()
    assert len(pauses) == 1
    assert 0 < pauses[0] < 0.01
