"""Those who want to know what happens to sessions: logs, metrics, and later audit.

They hang here and not in the path: an observer returns quickly and does not raise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.storage.record import SessionRecord


@dataclass(slots=True)
class AnsweredPacket:
    """One packet whose Ack is decided. ``directory``: empty where no virtual directory has its URL.

    ``packet``: the specification's name, empty where it is none of the five. ``session_id`` as the
    request or the Ack spells it, ``destination`` as the path of the URL: text that a client chose.
    ``offset``: the first byte of a Fragment. ``error``: what it was refused with. ``body_bytes``:
    of the body, as far as they came and were taken. ``seconds``: from the head to the Ack, without
    ``body_seconds``, in which the client was waited for.
    """

    directory: str
    packet: str
    session_id: str
    user: str
    client_address: str
    destination: str
    offset: int | None
    status: int
    error: BitsError | None
    body_bytes: int
    body_seconds: float
    seconds: float


class SessionObserver(Protocol):
    """Told after the fact. ``directory``: the URL of the virtual directory."""

    def session_created(self, directory: str, record: SessionRecord) -> None:
        """A session was opened."""

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        """A Fragment was taken; ``received`` is the next expected byte (bytes) now."""

    def notified(self, directory: str, record: SessionRecord) -> None:
        """The server application was called; ``record.notification`` says what came of it."""

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        """A session ended with Close-Session; ``outcome`` in words."""

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        """A session ended with Cancel-Session."""

    def expired(self, directory: str, record: SessionRecord) -> None:
        """The clean-up removed a session."""

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        """A regular clean-up ended."""

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        """What is no packet was refused: the download of a reply."""

    def answered(self, packet: AnsweredPacket) -> None:
        """A packet was carried out or refused; after all that is told of it above."""


class Observers:
    """Several observers as one."""

    def __init__(self, observers: Iterable[SessionObserver]) -> None:
        self._observers = tuple(observers)

    def session_created(self, directory: str, record: SessionRecord) -> None:
        for each in self._observers:
            each.session_created(directory, record)

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        for each in self._observers:
            each.fragment_received(directory, record, content_range, received)

    def notified(self, directory: str, record: SessionRecord) -> None:
        for each in self._observers:
            each.notified(directory, record)

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        for each in self._observers:
            each.closed(directory, record, outcome)

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        for each in self._observers:
            each.cancelled(directory, record)

    def expired(self, directory: str, record: SessionRecord) -> None:
        for each in self._observers:
            each.expired(directory, record)

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        for each in self._observers:
            each.cleaned_up(directory, report)

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        for each in self._observers:
            each.failed(directory, packet, session_id, destination, error)

    def answered(self, packet: AnsweredPacket) -> None:
        for each in self._observers:
            each.answered(packet)
