"""An in-memory store: for tests, and as proof that the interface asks for no disk.

The rule of this file: what a store promises between processes holds here between threads. It
shares nothing with the file store but the interface and the records. What it keeps is open to
look at and to change: ``published``, ``folders``, ``sessions``, ``closed_records``, ``others``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import accumulate

from bits_server.protocol.errors import (
    AccessDenied,
    EntityVanished,
    FragmentOutOfOrder,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.storage.interface import (
    Buffer,
    DestinationPath,
    DestinationState,
    Leftover,
    LeftoverKind,
    Sweep,
)
from bits_server.storage.record import ClosedRecord, SessionRecord

PRIVATE_FOLDER = "BITS-Sessions"
KEEP_CLOSED_SECONDS = 3600


@dataclass(slots=True)
class KeptSession:
    """What is kept of one session. ``record`` None: a wreck. ``progress``: seconds since 1970.

    ``durable_length``: how many bytes ``make_durable`` has seen.
    """

    record: SessionRecord | None
    progress: float
    entity: bytearray | None = None
    durable_length: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def read_record(self) -> SessionRecord:
        """Raises SessionNotFound."""
        if self.record is None:
            raise SessionNotFound("the record of the session is missing or broken")
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
        with self._exclusively():
            self.record = self._kept.read_record()
            yield

    def save(self, record: SessionRecord) -> None:
        self._require_lock()
        self.record = self._kept.record = record
        self._kept.progress = self._store.clock()

    def received_length(self) -> int:
        if self.record.is_complete:
            assert self.record.total is not None
            return self.record.total
        self._refuse_if_removed()
        return len(self._kept.entity or b"")

    def append(self, block: Buffer, at: int) -> int:
        with self._exclusively():
            record = self._kept.read_record()
            if record.is_complete:
                assert record.total is not None
                return record.total
            entity = bytearray() if self._kept.entity is None else self._kept.entity
            received = len(entity)
            if received < at:
                raise FragmentOutOfOrder(f"the Fragment's next byte is {at}, not {received}")
            missing = memoryview(block)[received - at :]
            entity += missing
            self._kept.entity = entity
            if missing:
                self._kept.progress = self._store.clock()
            return len(entity)

    def last_progress(self) -> float:
        return self._kept.progress

    def make_durable(self) -> None:
        self._kept.durable_length = len(self._kept.entity or b"")

    def publish(self, destination: DestinationPath, *, overwrite: bool) -> None:
        self._require_lock()
        with self._store.entered(destination) as state:
            entity = self._kept.entity
            if entity is None or len(entity) != self.record.total:
                raise EntityVanished("the request entity is gone, or has another length now")
            if self._store.has_published(destination, self.record.publishing_inode):
                return
            if state is DestinationState.FOLDER:
                raise MalformedPacket("the destination is a folder")
            if state is DestinationState.TAKEN and not overwrite:
                raise AccessDenied("the destination exists and allow_overwrites is off")
            number = self._store.next_number()
            self.save(replace(self.record, publishing_device=0, publishing_inode=number))
            self._store.put(destination, bytes(entity), number)

    def delete(self, closed: ClosedRecord | None = None) -> None:
        self._require_lock()
        self._store.remove(self._session_id, closed)

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        if self._has_lock:
            raise RuntimeError("the session is locked already: this would wait for itself")
        with self._kept.lock:
            self._refuse_if_removed()
            self._has_lock = True
            try:
                yield
            finally:
                self._has_lock = False

    def _require_lock(self) -> None:
        if not self._has_lock:
            raise RuntimeError("only under the lock of the session")

    def _refuse_if_removed(self) -> None:
        if self._store.sessions.get(self._session_id) is not self._kept:
            raise SessionNotFound("the session was removed meanwhile")


class MemoryStore:
    """A SessionStore, Sweepable, whose virtual directory is the dict ``published``.

    ``published``: the files, by path. ``folders``: paths of those that exist. ``closed_records``:
    with the time at which each was kept. ``others``: what a crash or a stranger left.
    """

    def __init__(
        self, *, create_folders: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """``clock``: seconds since 1970."""
        self.create_folders = create_folders
        self.clock = clock
        self.published: dict[str, bytes] = {}
        self.folders: set[str] = {PRIVATE_FOLDER}
        self.sessions: dict[SessionId, KeptSession] = {}
        self.closed_records: dict[SessionId, tuple[ClosedRecord, float]] = {}
        self.others: dict[str, Leftover] = {}
        self._numbers: dict[str, tuple[int, bytes]] = {}
        self._last_number = 0
        self._swept: dict[Sweep, float] = {}
        self._guard = threading.RLock()  # of all that the sessions share
        self._cleaning = threading.Lock()

    def create(self, record: SessionRecord) -> None:
        with self._guard:
            if record.session_id in self.sessions:
                raise FileExistsError(f"{record.guid} exists")
            self.sessions[record.session_id] = KeptSession(record, self.clock())

    def open(self, session_id: SessionId) -> MemorySession:
        kept = self.sessions.get(session_id)
        if kept is None:
            raise SessionNotFound("no session has this id")
        return MemorySession(self, session_id, kept)

    def session_ids(self) -> Iterator[SessionId]:
        return iter(list(self.sessions))

    def closed_record(self, session_id: SessionId) -> ClosedRecord | None:
        record, _ = self.closed_records.get(session_id, (None, 0.0))
        if record is None or self.clock() - record.closed >= KEEP_CLOSED_SECONDS:
            return None
        return record

    def examine(self, destination: DestinationPath) -> DestinationState:
        with self._guard:
            *above, name = accumulate(destination.segments, "{}/{}".format)
            if above and above[0] == PRIVATE_FOLDER:
                return DestinationState.OUTSIDE
            if not self.published.keys().isdisjoint(above):
                return DestinationState.NO_FOLDER
            if not self.folders.issuperset(above) and not self.create_folders:
                return DestinationState.NO_FOLDER
            if name in self.folders:
                return DestinationState.FOLDER
            return DestinationState.TAKEN if name in self.published else DestinationState.FREE

    def publish_empty(self, destination: DestinationPath) -> bool:
        with self.entered(destination) as state:
            if state is DestinationState.FREE:
                self.put(destination, b"", self.next_number())
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
        self._swept[what] = self.clock()

    def progress(self) -> Iterator[tuple[SessionId, float]]:
        for session_id, kept in list(self.sessions.items()):
            yield session_id, kept.progress

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

    def next_number(self) -> int:
        """A number for a file, given once: what an inode is on a disk."""
        with self._guard:
            self._last_number += 1
            return self._last_number

    def put(self, destination: DestinationPath, content: bytes, number: int) -> None:
        """Give the file its name, in place of what had it."""
        with self._guard:
            self.published[str(destination)] = content
            self._numbers[str(destination)] = (number, content)

    def has_published(self, destination: DestinationPath, number: int | None) -> bool:
        """Whether the file with this number stands at the destination, unchanged."""
        standing, content = self._numbers.get(str(destination), (None, b""))
        is_it = number is not None and standing == number
        return is_it and self.published.get(str(destination)) is content

    def remove(self, session_id: SessionId, closed: ClosedRecord | None) -> None:
        """Remove a session; first keep ``closed``, where given."""
        with self._guard:
            if closed is not None:
                self.closed_records[session_id] = (closed, self.clock())
            del self.sessions[session_id]
