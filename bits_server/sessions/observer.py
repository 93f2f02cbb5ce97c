"""Those who want to know what happens to sessions: logs, and later metrics and audit.

They hang here and not in the path: an observer returns quickly and does not raise.
"""

from __future__ import annotations

from typing import Protocol

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError
from bits_server.storage.record import SessionRecord


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

    def cleaned_up(self, directory: str, summary: str) -> None:
        """A regular clean-up ended; ``summary`` in words."""

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        """A packet was refused; empty text where the request did not get that far."""
