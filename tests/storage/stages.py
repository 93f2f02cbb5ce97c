"""A store with the hands that reach behind it: what a test needs and the interface does not offer.

A new store supplies a StoreStage of its own; the contract suite and the tests of the rooms above
run on every stage there is.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.cleanup import CleanableStore
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.storage.interface import (
    Countable,
    DestinationPath,
    Leftover,
    LeftoverKind,
    StoredSession,
)
from bits_server.storage.memory import KeptSession, MemoryStore
from bits_server.storage.record import ClosedRecord, SessionRecord

LOCK_SECONDS = 10.0


class WholeStore(CleanableStore, Countable, Protocol):
    """What every store of ours offers."""


def path_of(text: str) -> DestinationPath:
    """A destination path from its text."""
    return DestinationPath(tuple(text.split("/")))


def new_record(destination: str = "f.bin") -> SessionRecord:
    """The record of a session of its own."""
    return SessionRecord(
        guid=str(SessionId.new()),
        destination=destination,
        owner="",
        client_address="192.0.2.1",
        created=time.time(),
    )


def closed_record_of(record: SessionRecord, *, seconds_ago: float = 0.0) -> ClosedRecord:
    """What a Close-Session would keep of the session."""
    return ClosedRecord(
        guid=record.guid,
        destination=record.destination,
        owner=record.owner,
        closed=time.time() - seconds_ago,
    )


class StoreStage(ABC):
    """One virtual directory, its store, and a count of what may be left when a test ends."""

    store: WholeStore

    def __init__(self) -> None:
        self.deleted: set[SessionId] = set()
        self.kept_closed: set[str] = set()
        self.planted: set[str] = set()

    @abstractmethod
    def another_store(self, *, create_folders: bool = False) -> WholeStore:
        """A store as another process has it, for the same virtual directory."""

    @abstractmethod
    def files(self) -> dict[str, bytes]:
        """Every file of the virtual directory, hidden ones too, without those of sessions."""

    @abstractmethod
    def put_file(self, name: str, content: bytes) -> None:
        """A file that was there before, or appears."""

    @abstractmethod
    def remove_file(self, name: str) -> None:
        """Somebody takes the file away."""

    @abstractmethod
    def put_folder(self, name: str) -> None:
        """A folder that was there before, or appears."""

    @abstractmethod
    def take_entity_away(self, session_id: SessionId) -> None:
        """As a server application does that has moved the request entity."""

    @abstractmethod
    def break_record(self, session_id: SessionId) -> None:
        """Make a wreck of the session."""

    @abstractmethod
    def age(self, session_id: SessionId, seconds: float) -> None:
        """Let the last progress of the session be so long ago."""

    @abstractmethod
    def age_leftover(self, leftover: Leftover, seconds: float) -> None:
        """Let it have been written so long ago."""

    @abstractmethod
    def plant(self, kind: LeftoverKind, name: str) -> Leftover:
        """Put DEBRIS of the session ``name``, or something FOREIGN with that name."""

    @abstractmethod
    def strays(self) -> list[str]:
        """Names, where sessions are kept, that nothing accounts for."""

    def create(self, destination: str = "f.bin") -> SessionId:
        """A new session without a Fragment."""
        record = new_record(destination)
        self.store.create(record)
        return record.session_id

    def create_complete(self, content: bytes, destination: str = "f.bin") -> SessionId:
        """A session that has every byte."""
        session_id = self.create(destination)
        with self.open(session_id) as session:
            with session.locked():
                session.save(replace(session.record, total=len(content)))
            session.append(content, 0)
            with session.locked():
                session.save(replace(session.record, is_complete=True))
        return session_id

    @contextmanager
    def open(self, session_id: SessionId) -> Iterator[StoredSession]:
        """The session, closed at the end whatever happens."""
        with closing(self.store.open(session_id)) as session:
            yield session

    def delete(self, session: StoredSession, closed: ClosedRecord | None = None) -> None:
        """Delete the session, and remember that it must stay away."""
        with session.locked():
            session.delete(closed)
        self.deleted.add(session.record.session_id)
        if closed is not None:
            self.kept_closed.add(closed.guid)

    def publish(self, session_id: SessionId, destination: str, *, overwrite: bool = False) -> None:
        """Put the entity at the destination; the session stays."""
        with self.open(session_id) as session, session.locked():
            session.publish(path_of(destination), overwrite=overwrite)

    def leftovers(self, kind: LeftoverKind) -> list[Leftover]:
        """Those of one kind."""
        return [found for found in self.store.leftovers() if found.kind is kind]

    def assert_nothing_left(self) -> None:
        """What a test may not leave behind: locks, leftovers, hidden files, deleted sessions."""
        assert_ends(self._take_every_lock, "a lock is still held")
        with self.store.cleaning() as may_clean:
            assert may_clean, "the lock of the clean-up is still held"
        back = self.deleted & set(self.store.session_ids())
        assert not back, f"deleted, and still there: {back}"
        hidden = [name for name in self.files() if name.rpartition("/")[2].startswith(".")]
        assert not hidden, f"beside a destination: {hidden}"
        left = [found for found in self.store.leftovers() if not self._is_accounted_for(found)]
        assert not left, f"left over: {left}"
        assert not self.strays(), f"in the place of the sessions: {self.strays()}"

    def _take_every_lock(self) -> None:
        for session_id in self.store.session_ids():
            try:
                session = self.store.open(session_id)
            except SessionNotFound:
                continue  # a wreck
            with closing(session), session.locked():
                pass

    def _is_accounted_for(self, found: Leftover) -> bool:
        if found.kind is LeftoverKind.CLOSED_RECORD:
            return any(found.name.endswith(guid) for guid in self.kept_closed)
        return found.name in self.planted


class MemoryStage(StoreStage):
    """The in-memory store; another process is another look at the same one."""

    def __init__(self, _path: Path) -> None:
        super().__init__()
        self._memory = MemoryStore()
        self.store = self._memory

    def another_store(self, *, create_folders: bool = False) -> MemoryStore:
        self._memory.create_folders = create_folders
        return self._memory

    def files(self) -> dict[str, bytes]:
        return dict(self._memory.published)

    def put_file(self, name: str, content: bytes) -> None:
        self._memory.published[name] = content

    def remove_file(self, name: str) -> None:
        del self._memory.published[name]

    def put_folder(self, name: str) -> None:
        self._memory.folders.add(name)

    def take_entity_away(self, session_id: SessionId) -> None:
        self._kept(session_id).entity = None

    def break_record(self, session_id: SessionId) -> None:
        self._kept(session_id).record = None

    def age(self, session_id: SessionId, seconds: float) -> None:
        self._kept(session_id).progress = time.time() - seconds

    def age_leftover(self, leftover: Leftover, seconds: float) -> None:
        since = time.time() - seconds
        if leftover.kind is LeftoverKind.CLOSED_RECORD:
            session_id = SessionId.parse(leftover.name)
            record, _ = self._memory.closed_records[session_id]
            self._memory.closed_records[session_id] = (record, since)
        else:
            self._memory.others[leftover.name] = replace(leftover, since=since)

    def plant(self, kind: LeftoverKind, name: str) -> Leftover:
        leftover = Leftover(kind, name, time.time())
        self._memory.others[name] = leftover
        self.planted.add(name)
        return leftover

    def strays(self) -> list[str]:
        return []

    def _kept(self, session_id: SessionId) -> KeptSession:
        return self._memory.sessions[session_id]


class FileStage(StoreStage):
    """The file store in the folder ``root``."""

    def __init__(self, path: Path, rules: DiskRules | None = None) -> None:
        super().__init__()
        self.root = path / "virtual directory"
        self.root.mkdir(exist_ok=True)
        self.sessions = self.root / "BITS-Sessions"
        self.rules = rules or DiskRules(sync_on_close=False)  # faster; others test with it
        store = self.another_store()
        store.prepare()
        self.store = store

    def another_store(self, *, create_folders: bool = False) -> FilesystemStore:
        return FilesystemStore(str(self.root), self.rules, create_folders=create_folders)

    def session_folder(self, session_id: SessionId) -> Path:
        return self.sessions / str(session_id)

    def files(self) -> dict[str, bytes]:
        found = {}
        for folder, folders, names in os.walk(self.root):
            if Path(folder) == self.root and "BITS-Sessions" in folders:
                folders.remove("BITS-Sessions")
            for path in (Path(folder, name) for name in names):
                found[str(path.relative_to(self.root))] = path.read_bytes()
        return found

    def put_file(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)

    def remove_file(self, name: str) -> None:
        (self.root / name).unlink()

    def put_folder(self, name: str) -> None:
        (self.root / name).mkdir()

    def take_entity_away(self, session_id: SessionId) -> None:
        (self.session_folder(session_id) / "request").unlink()

    def break_record(self, session_id: SessionId) -> None:
        (self.session_folder(session_id) / "session.json").write_bytes(b'{"format": 1, "gu')

    def age(self, session_id: SessionId, seconds: float) -> None:
        folder = self.session_folder(session_id)
        for path in (*folder.iterdir(), folder):
            _set_age(path, seconds)

    def age_leftover(self, leftover: Leftover, seconds: float) -> None:
        _set_age(self.sessions / leftover.name, seconds)

    def plant(self, kind: LeftoverKind, name: str) -> Leftover:
        if kind is LeftoverKind.DEBRIS:
            path = self.sessions / f".removed-{name}"
            path.mkdir()
            (path / "request").write_bytes(b"half")
        else:
            path = self.sessions / name
            path.write_bytes(b"of a stranger")
        self.planted.add(path.name)
        return Leftover(kind, path.name, path.stat().st_mtime)

    def strays(self) -> list[str]:
        """In a session's folder, whatever is not its record, its entity, its reply or a lock."""
        parts = {"session.json", "request", "response", "notifying"}
        return [
            f"{session_id}/{path.name}"
            for session_id in self.store.session_ids()
            for path in self.session_folder(session_id).iterdir()
            if path.name not in parts
        ]

    def tidy_away(self, name: str = "") -> None:
        """Somebody removes BITS-Sessions, or a folder in it, under the running server."""
        shutil.rmtree(self.sessions / name)


def _set_age(path: Path, seconds: float) -> None:
    moment = time.time() - seconds
    os.utime(path, (moment, moment), follow_symlinks=False)


STAGES: dict[str, Callable[[Path], StoreStage]] = {"memory": MemoryStage, "files": FileStage}


@contextmanager
def nothing_left_behind(stage: StoreStage) -> Iterator[StoreStage]:
    """Fail at the end where the stage, or an open file descriptor, was left in disorder."""
    before = open_descriptors()
    yield stage
    stage.assert_nothing_left()
    left = open_descriptors().items() - before.items()
    assert not left, f"file descriptors still open: {left}"


def open_descriptors() -> dict[int, str]:
    """What this process has open, by number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue  # it was the one that listed them
    return found


def assert_ends(action: Callable[[], None], otherwise: str) -> None:
    """Run ``action`` in a thread. Raises AssertionError where it waits, or what it raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            action()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LOCK_SECONDS)
    assert not thread.is_alive(), otherwise
    if failures:
        raise failures[0]


def run_at_once(*actions: Callable[[], None]) -> None:
    """Run the actions in threads that start together; raise the first thing that one raised."""
    start = threading.Barrier(len(actions))
    failures: list[BaseException] = []

    def run(action: Callable[[], None]) -> None:
        try:
            start.wait(LOCK_SECONDS)
            action()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(action,), daemon=True) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(6 * LOCK_SECONDS)
        assert not thread.is_alive(), "a thread waits for ever"
    if failures:
        raise failures[0]
