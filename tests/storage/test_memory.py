"""The in-memory store keeps the contract, and insists that its users do."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bits_server.storage.interface import StoredSession
from bits_server.storage.memory import MemoryStore
from tests.storage.stages import MemoryStage, StoreStage, new_record, path_of, run_at_once
from tests.storage.store_contract import EndContract


class TestMemoryStore(EndContract):
    def make_stage(self, path: Path) -> StoreStage:
        return MemoryStage(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda session: session.save(replace(session.record, total=1)),
        lambda session: session.publish(path_of("f.bin"), overwrite=False),
        lambda session: session.delete(),
    ],
    ids=["save", "publish", "delete"],
)
def test_what_needs_the_lock_is_refused_without_it(change: Callable[[StoredSession], None]) -> None:
    store = MemoryStore()
    record = new_record()
    store.create(record)
    session = store.open(record.session_id)
    with pytest.raises(AssertionError, match="under the lock"):
        change(session)
    with session.locked():
        pass
    with pytest.raises(AssertionError, match="under the lock"):
        change(session)
    assert store.sessions[record.session_id].record == record


def test_what_was_published_is_a_dict_to_look_at() -> None:
    store = MemoryStore(create_folders=True)
    assert store.publish_empty(path_of("a/b/f.bin"))
    assert store.published == {"a/b/f.bin": b""}
    assert store.folders == {"BITS-Sessions", "a", "a/b"}


class _MeetingPlace(dict[str, bytes]):
    """Whoever looks for a name waits for a second one who does; two at once are not kept apart."""

    def __init__(self) -> None:
        super().__init__()
        self._second = threading.Barrier(2)

    def __contains__(self, name: object) -> bool:
        is_there = super().__contains__(name)
        try:
            self._second.wait(0.2)
        except threading.BrokenBarrierError:
            pass  # nobody else came: they are kept apart
        return is_there


def test_between_the_look_and_the_publication_nobody_else_comes() -> None:
    store = MemoryStore()
    store.published = _MeetingPlace()
    made: list[bool] = []
    run_at_once(*[lambda: made.append(store.publish_empty(path_of("f.bin")))] * 2)
    assert sorted(made) == [False, True]


def test_a_published_file_does_not_change_with_its_session(tmp_path: Path) -> None:
    stage = MemoryStage(tmp_path)
    session_id = stage.create_complete(b"abc")
    stage.publish(session_id, "f.bin")
    with stage.open(session_id) as session:
        with session.locked():
            session.save(replace(session.record, is_complete=False, total=6))
        session.append(b"def", 3)
    assert stage.files() == {"f.bin": b"abc"}
