"""The list of the sessions page: what has changed, and nothing read from the disk for the rest."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from bits_server.operations.sessions_page.live_list import LiveList
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.administration import Administration
from bits_server.settings import VirtualDirectory
from bits_server.storage import session_folder
from tests.storage.stages import FileStage


class Watched:
    """A list that looks whenever it is asked, at a time of the test's own."""

    def __init__(self, tmp_path: Path) -> None:
        self.stage = FileStage(tmp_path)
        directory = VirtualDirectory("/upload", str(tmp_path))
        self._administration = Administration(directory, self.stage.store, None)
        self.now = time.time() + 100
        self.list = self.another()

    def another(self) -> LiveList:
        """That of another worker."""
        return LiveList([self._administration], clock=lambda: self.now)

    def ask(self, since: float | None = None, seconds: float = 2.0) -> dict[str, object]:
        self.now += seconds
        return self.list.changes(since)


def files_of(answer: dict[str, object]) -> list[str]:
    sessions = answer["sessions"]
    assert isinstance(sessions, list)
    return sorted(each["destination"] for each in sessions)


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_at_first_all_and_then_what_has_changed(watched: Watched) -> None:
    first, second = watched.stage.create("a"), watched.stage.create("b")
    whole = watched.ask()
    assert (whole["whole"], whole["count"], files_of(whole)) == (True, 2, ["a", "b"])
    since = watched.ask(seconds=10)["now"]
    assert isinstance(since, float)
    later = watched.ask(since, seconds=10)
    assert (later["whole"], files_of(later), later["removed"]) == (False, [], [])
    with watched.stage.open(first) as session, session.locked():
        session.write(b"x", 0)
    session_file = watched.stage.session_folder(first) / "request"
    os.utime(session_file, (watched.now, watched.now))
    changed = watched.ask(since, seconds=20)
    assert files_of(changed) == ["a"]
    with watched.stage.open(second) as session, session.locked():
        session.delete()
    gone = watched.ask(since)
    assert gone["removed"] == [["/upload", str(second)]]
    assert gone["count"] == 1


def test_whoever_asks_after_too_long_is_told_everything(watched: Watched) -> None:
    watched.stage.create("a")
    since = watched.ask()["now"]
    assert isinstance(since, float)
    assert watched.ask(since, seconds=61)["whole"] is True
    assert watched.ask(watched.now + 1000)["whole"] is True, "a time that was never told"


def test_it_does_not_matter_which_worker_is_asked(watched: Watched) -> None:
    """What one has told of, the other has not noticed yet, and the other way round."""
    one, other = watched.list, watched.another()
    created = watched.stage.create("a")
    since = one.changes(None)["now"]
    watched.now += 2
    answer = other.changes(since)
    assert files_of(answer) == ["a"], "told twice is no harm"
    with watched.stage.open(created) as session, session.locked():
        session.delete()
    watched.now += 2
    assert other.changes(answer["now"])["removed"]
    watched.now += 2
    assert one.changes(answer["now"])["removed"]


def test_a_look_reads_what_was_written_to_and_nothing_else(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5 000 sessions that stand still are not read again; one that grows is."""
    ids = [watched.stage.create(f"f{number}") for number in range(5000)]
    watched.ask()
    watched.ask(seconds=10)
    read: list[SessionId] = []
    original = session_folder.FolderSession.read

    def counted(self: session_folder.FolderSession) -> None:
        original(self)
        read.append(self.record.session_id)

    monkeypatch.setattr(session_folder.FolderSession, "read", counted)
    since = watched.ask(seconds=10)["now"]
    assert read == []
    os.utime(watched.stage.session_folder(ids[7]) / "session.json", (watched.now, watched.now))
    assert isinstance(since, float)
    watched.ask(since, seconds=10)
    assert set(read) == {ids[7]}
    for _ in range(20):
        watched.ask(since, seconds=0.01)
    assert set(read) == {ids[7]}, "all who ask within a second share one look"
