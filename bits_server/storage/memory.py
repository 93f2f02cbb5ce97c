"""An in-memory store: for tests, and as proof that the interface asks for no disk.

The rule of this file: what a store promises between processes holds here between threads. It
shares nothing with the file store but the interface and the records. What it keeps is open to
look at and to change: ``published``, ``folders``, ``sessions``, ``closed_records``, ``others``.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import BinaryIO

from bits_server.protocol.errors import (
    AccessDenied,
    EntityVanished,
    FragmentOutOfOrder,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.storage.interface import (
    Buffer,
    DestinationPath,
    DestinationState,
    Leftover,
    LeftoverKind,
    Reply,
    SessionBroken,
    Sweep,
)
from bits_server.storage.record import CLOSED_RECORD_SECONDS, ClosedRecord, SessionRecord

PRIVATE_FOLDER = "BITS-Sessions"


@dataclass(slots=True)
class KeptSession:
    """What is kept of one session. ``record`` None: a wreck. ``progress``: seconds since 1970.

    ``publishing``: the content that was put at the destination; as long as it is kept nothing else
    has its identity.
    """

    record: SessionRecord | None
    progress: float
    entity: bytearray | None = None
    reply: bytes | None = None
    publishing: bytes | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    notifying: threading.Lock = field(default_factory=threading.Lock)

    def read_record(self) -> SessionRecord:
        """Raises SessionNotFound."""
        if self.record is None:
            raise SessionBroken("the record of the session is missing or broken")
        return self.record


class MemorySession:
    """A StoredSession of the in-memory store. Not to be shared between threads."""

    def __init__(self, store: MemoryStore, session_id: SessionId, kept: KeptSession) -> None:
        """Raises SessionNotFound."""
        self._store = store
        self._session_id = session_id
        self._kept = kept
        self._has_lock = False
        self.record = kept.read_record()

    def close(self) -> None:
        """There is nothing to let go of."""

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._kept.lock:
            self._refuse_if_removed()
            self.record = self._kept.read_record()
            self._has_lock = True
            try:
                yield
            finally:
                self._has_lock = False

    @contextmanager
    def notifying(self) -> Iterator[None]:
        self._refuse_if_removed()
        with self._kept.notifying:
            yield

    def save(self, record: SessionRecord, *, lasting: bool = False) -> None:  # noqa: ARG002
        assert self._has_lock, "only under the lock of the session"
        self.record = self._kept.record = record
        self._kept.progress = time.time()

    def reserve(self, total: int) -> None:
        """There is no limit to what a test keeps."""

    def received_length(self) -> int:
        if self.record.is_complete:
            assert self.record.total is not None
            return self.record.total
        self._refuse_if_removed()
        return len(self._kept.entity or b"")

    def append(self, block: Buffer, at: int) -> int:
        with self.locked():
            return self.write(block, at)

    def write(self, block: Buffer, at: int) -> int:
        assert self._has_lock, "only under the lock of the session"
        received = self.received_length()
        if self.record.is_complete:
            return received
        entity = bytearray() if self._kept.entity is None else self._kept.entity
        if received < at:
            raise FragmentOutOfOrder(f"the Fragment's next byte is {at}, not {received}")
        if missing := memoryview(block)[received - at :]:
            entity += missing
            self._kept.progress = time.time()
        self._kept.entity = entity
        return len(entity)

    def last_progress(self) -> float:
        return self._kept.progress

    def touch(self) -> None:
        assert self._has_lock, "only under the lock of the session"
        self._kept.progress = time.time()

    def make_durable(self) -> None:
        """No byte survives the process, nor claims to."""

    def open_request_entity(self) -> BinaryIO:
        entity = self._kept.entity
        if entity is None or len(entity) != (self.record.total or 0):
            raise EntityVanished("the request entity is gone, or has another length now")
        return io.BytesIO(entity)

    @contextmanager
    def new_reply(self) -> Iterator[BinaryIO]:
        content = io.BytesIO()
        yield content
        self._kept.reply = content.getvalue()

    def discard_reply(self) -> None:
        self._kept.reply = None

    def open_reply(self) -> Reply | None:
        content = self._kept.reply
        if content is None:
            return None
        return Reply(io.BytesIO(content), len(content), self._kept.progress, str(id(content)))

    def publish(self, destination: DestinationPath, *, overwrite: bool) -> None:
        assert self._has_lock, "only under the lock of the session"
        with self._store.entered(destination) as state:
            entity = self._kept.entity
            if entity is None or len(entity) != self.record.total:
                raise EntityVanished("the request entity is gone, or has another length now")
            published, name = self._store.published, str(destination)
            if name in published and id(published[name]) == self.record.publishing_inode:
                return  # a Close-Session that was interrupted got so far
            if state is DestinationState.FOLDER:
                raise MalformedPacket("the destination is a folder")
            if state is DestinationState.TAKEN and not overwrite:
                raise AccessDenied("the destination exists and allow_overwrites is off")
            content = self._kept.publishing = bytes(entity)
            self.save(replace(self.record, publishing_device=0, publishing_inode=id(content)))
            published[name] = content

    def delete(self, closed: ClosedRecord | None = None) -> None:
        assert self._has_lock, "only under the lock of the session"
        if closed is not None:
            self._store.closed_records[self._session_id] = (closed, time.time())
        del self._store.sessions[self._session_id]

    def _refuse_if_removed(self) -> None:
        if self._store.sessions.get(self._session_id) is not self._kept:
            raise SessionNotFound("the session was removed meanwhile")


class MemoryStore:
    """A SessionStore, Sweepable, Countable, whose virtual directory is the dict ``published``.

    ``published``: the files, by path. ``folders``: paths of those that exist. ``closed_records``:
    with the time at which each was kept. ``others``: what a crash or a stranger left.
    """

    def __init__(self, *, create_folders: bool = False) -> None:
        self.create_folders = create_folders
        self.published: dict[str, bytes] = {}
        self.folders: set[str] = {PRIVATE_FOLDER}
        self.sessions: dict[SessionId, KeptSession] = {}
        self.closed_records: dict[SessionId, tuple[ClosedRecord, float]] = {}
        self.others: dict[str, Leftover] = {}
        self._swept: dict[Sweep, float] = {}
        self._guard = threading.Lock()  # of the virtual directory
        self._cleaning = threading.Lock()

    def create(self, record: SessionRecord) -> None:
        kept = KeptSession(record, time.time())
        if self.sessions.setdefault(record.session_id, kept) is not kept:
            raise FileExistsError(f"{record.guid} exists")

    def open(self, session_id: SessionId) -> MemorySession:
        kept = self.sessions.get(session_id)
        if kept is None:
            raise SessionNotFound("no session has this id")
        return MemorySession(self, session_id, kept)

    @contextmanager
    def locked(self, session_id: SessionId) -> Iterator[MemorySession]:
        with (session := self.open(session_id)).locked():
            yield session

    def session_ids(self) -> Iterator[SessionId]:
        return iter(list(self.sessions))

    def closed_record(self, session_id: SessionId) -> ClosedRecord | None:
        record, _ = self.closed_records.get(session_id, (None, 0.0))
        is_kept = record is not None and time.time() - record.closed < CLOSED_RECORD_SECONDS
        return record if is_kept else None

    def examine(self, destination: DestinationPath) -> DestinationState:
        *above, name = accumulate(destination.segments, "{}/{}".format)
        if PRIVATE_FOLDER in above:
            return DestinationState.OUTSIDE
        is_there = self.create_folders or self.folders.issuperset(above)
        if not is_there or any(folder in self.published for folder in above):
            return DestinationState.NO_FOLDER
        if name in self.folders:
            return DestinationState.FOLDER
        return DestinationState.TAKEN if name in self.published else DestinationState.FREE

    def publish_empty(self, destination: DestinationPath) -> bool:
        with self.entered(destination) as state:
            if state is DestinationState.FREE:
                self.published[str(destination)] = b""
            return state is DestinationState.FREE

    @contextmanager
    def cleaning(self) -> Iterator[bool]:
        may_clean = self._cleaning.acquire(blocking=False)
        try:
            yield may_clean
        finally:
            if may_clean:
                self._cleaning.release()

    def last_swept(self, what: Sweep) -> float:
        return self._swept.get(what, 0.0)

    def note_swept(self, what: Sweep) -> None:
        self._swept[what] = time.time()

    def progress(self) -> Iterator[tuple[SessionId, float]]:
        for session_id, kept in list(self.sessions.items()):
            yield session_id, kept.progress

    def states(self) -> Iterator[SessionState | None]:
        for kept in list(self.sessions.values()):
            yield None if kept.record is None else kept.record.state

    def remove_wreck(self, session_id: SessionId) -> None:
        if self.sessions.pop(session_id, None) is None:
            raise FileNotFoundError(f"{session_id} is gone")

    def leftovers(self) -> Iterator[Leftover]:
        for session_id, (_, since) in list(self.closed_records.items()):
            yield Leftover(LeftoverKind.CLOSED_RECORD, str(session_id), since)
        yield from list(self.others.values())

    def remove_leftover(self, leftover: Leftover) -> None:
        if leftover.kind is LeftoverKind.CLOSED_RECORD:
            self.closed_records.pop(SessionId.parse(leftover.name), None)
        elif leftover.kind is LeftoverKind.DEBRIS:
            self.others.pop(leftover.name, None)

    @contextmanager
    def entered(self, destination: DestinationPath) -> Iterator[DestinationState]:
        """Hold the destination still, make its missing folders, and say what stands there.

        Raises PathNotFound, MalformedPacket.
        """
        with self._guard:
            state = self.examine(destination)
            if state is DestinationState.OUTSIDE:
                raise MalformedPacket(f"the destination is in {PRIVATE_FOLDER}")
            if state is DestinationState.NO_FOLDER:
                raise PathNotFound("the folder of the destination does not exist")
            self.folders.update(accumulate(destination.segments[:-1], "{}/{}".format))
            yield state
