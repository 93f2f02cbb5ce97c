"""What a store of sessions must offer; ``filesystem`` is the one for production.

The rule of this file: interfaces and their values only. A store raises errors of the protocol's
family for what concerns the client, and OSError for what concerns the machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import BinaryIO, Protocol, runtime_checkable

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.storage.record import ClosedRecord, SessionRecord

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class DestinationPath:
    """Where the file goes, below the virtual directory: the segments of its path, checked.

    ``home``: how many of the segments are the user's own folder, which the path never leaves; it is
    made with the first upload.
    """

    segments: tuple[str, ...]
    home: int = 0

    def __str__(self) -> str:
        return "/".join(self.segments)


class DestinationState(Enum):
    """What stands at a destination path now."""

    FREE = "nothing has that name"
    TAKEN = "a file has that name"
    FOLDER = "a folder has that name"
    NO_FOLDER = "the parent folder does not exist"
    OUTSIDE = "the path leads out of the virtual directory, or into BITS-Sessions"


class Sweep(Enum):
    """What a regular clean-up looks at; each has its own interval."""

    SESSIONS = "sessions"
    LEFTOVERS = "leftovers"


class LeftoverKind(Enum):
    """What beside sessions is found where sessions are kept."""

    CLOSED_RECORD = "the record of a closed session"
    DEBRIS = "what a crash left of a session that was being made or removed"
    FOREIGN = "not ours"


@dataclass(frozen=True, slots=True)
class Leftover:
    """One such thing. ``since``: when it was last written, seconds since 1970."""

    kind: LeftoverKind
    name: str
    since: float


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of the server application, opened; whoever has it closes ``file``.

    ``length``: bytes. ``modified``: seconds since 1970. ``tag``: another one for other content.
    """

    file: BinaryIO
    length: int
    modified: float
    tag: str


@dataclass(frozen=True, slots=True)
class LocalPaths:
    """Full paths on this machine of a session's request entity and of its reply."""

    request: str
    response: str


class StoredSession(Protocol):
    """One session, opened; ``close()`` gives back what holds it open and changes nothing."""

    @property
    def record(self) -> SessionRecord:
        """The durable facts, as read when the session was opened or last locked."""

    def close(self) -> None:
        """Let go of the session; never raises."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the session against every other process and thread, and read its record anew.

        Raises SessionNotFound where the session was removed meanwhile. Never held while waiting
        for the network.
        """

    def notifying(self) -> AbstractContextManager[None]:
        """Be the only one who notifies the server application; waits for whoever does already.

        Not the lock: packets go on meanwhile. A death gives it back. Raises SessionNotFound.
        """

    def save(self, record: SessionRecord, *, lasting: bool = False) -> None:
        """Replace the record, all or nothing. Only under the lock.

        ``lasting``: it would survive a power failure, where the settings want that of a Close.
        """

    def reserve(self, total: int) -> None:
        """Room for ``total`` bytes, given back when the session ends. Only under the lock.

        Raises DiskFull where a quota has no room for them.
        """

    def received_length(self) -> int:
        """The next expected byte (a count of bytes); TOTAL once the record says complete.

        Raises SessionNotFound where the session was removed meanwhile and bytes are missing.
        """

    def append(self, block: Buffer, at: int) -> int:
        """Write what of ``block``, which belongs at offset ``at``, is not there yet.

        Takes the lock for this one write. Returns the received length afterwards. Raises
        FragmentOutOfOrder where ``at`` is after the received length, and SessionNotFound.
        """

    def write(self, block: Buffer, at: int) -> int:
        """As ``append``, which it is made of. Only under the lock."""

    def last_progress(self) -> float:
        """When bytes were last taken, or the session was made; seconds since 1970."""

    def touch(self) -> None:
        """Let the last progress be now. Only under the lock."""

    def make_durable(self) -> None:
        """Return when every received byte would survive a power failure."""

    def open_request_entity(self) -> BinaryIO:
        """The complete request entity, to be read. Raises EntityVanished."""

    def new_reply(self) -> AbstractContextManager[BinaryIO]:
        """A file that becomes the reply, all or nothing, when the context is left without error."""

    def discard_reply(self) -> None:
        """Remove the reply, where there is one."""

    def open_reply(self) -> Reply | None:
        """The reply, if there is one. Raises ReplyUnusable where it is no file that we may read."""

    def publish(self, destination: DestinationPath, *, overwrite: bool) -> None:
        """Put the complete request entity at the destination, all or nothing. Under the lock.

        Can be repeated after a crash at any point. Raises AccessDenied where something is there
        and ``overwrite`` is off, PathNotFound, MalformedPacket, EntityVanished.
        """

    def delete(self, closed: ClosedRecord | None = None) -> None:
        """Remove all of the session; first keep ``closed``, where given. Under the lock."""


class SessionStore(Protocol):
    """The sessions of one virtual directory."""

    def create(self, record: SessionRecord) -> None:
        """Make the session that ``record`` describes.

        Raises ServiceUnavailable where there are as many as may be, DiskFull where the disk is
        close to it.
        """

    def open(self, session_id: SessionId) -> StoredSession:
        """The session of that name. Raises SessionNotFound, for a wreck SessionBroken."""

    def locked(self, session_id: SessionId) -> AbstractContextManager[StoredSession]:
        """Open the session under its lock: its record is read once. Raises as ``open``."""

    def session_ids(self) -> Iterator[SessionId]:
        """Every session there is, in no order."""

    def closed_record(self, session_id: SessionId) -> ClosedRecord | None:
        """The record of a session that a Close-Session removed, while it is kept."""

    def examine(self, destination: DestinationPath) -> DestinationState:
        """What stands at the destination now."""

    def publish_empty(self, destination: DestinationPath) -> bool:
        """Make an empty file at the destination unless something has that name.

        Returns whether it was made. Raises PathNotFound, MalformedPacket.
        """


class SessionBroken(SessionNotFound):
    """It is there, and its record is missing or unreadable: a wreck."""


class FolderUnusable(Exception):
    """The folder of a virtual directory cannot be used; the message says what to change."""


class ReplyUnusable(Exception):
    """What stands where the reply is expected cannot be sent; the message says why."""


@runtime_checkable
class HasLocalPaths(Protocol):
    """The part of a store that notification by reference needs."""

    def local_paths(self, session_id: SessionId) -> LocalPaths:
        """Where a server application on this machine finds the files of the session."""


class Countable(Protocol):
    """The part of a store that metrics need."""

    def states(self) -> Iterator[SessionState | None]:
        """The state of every session, in no order; None for a wreck."""


class Examinable(Protocol):
    """The part of a store that a look at its health needs."""

    def try_out(self) -> None:
        """Do what makes a session, and undo it. Raises FolderUnusable."""

    def free_bytes(self) -> int:
        """What this process may still write where the sessions are kept. Raises OSError."""


class Sweepable(Protocol):
    """The part of a store that the clean-up needs."""

    def cleaning(self) -> AbstractContextManager[bool]:
        """Whether this process may clean up now: never two at a time on one store."""

    def last_swept(self, what: Sweep) -> float:
        """When such a regular clean-up last ended, seconds since 1970; 0 for never."""

    def note_swept(self, what: Sweep) -> None:
        """Such a regular clean-up has ended."""

    def progress(self) -> Iterator[tuple[SessionId, float]]:
        """Every session, wrecks included, with its last progress (seconds since 1970)."""

    def remove_wreck(self, session_id: SessionId) -> None:
        """Remove a session that cannot be opened because its record is missing or broken.

        Raises FileNotFoundError where it is gone already.
        """

    def leftovers(self) -> Iterator[Leftover]:
        """What else there is."""

    def remove_leftover(self, leftover: Leftover) -> None:
        """Remove it; it may be gone already."""
