"""An observer that remembers what it was told."""

from __future__ import annotations

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import SessionRecord


class RecordingObserver:
    """``events``: the name of each call, and what matters of it."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ...]] = []

    def names(self) -> list[str]:
        """What happened, in order."""
        return [event[0] for event in self.events]

    def session_created(self, directory: str, record: SessionRecord) -> None:
        self.events.append(("session_created", directory, record.guid))

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        self.events.append(
            ("fragment_received", directory, record.guid, str(content_range), str(received))
        )

    def notified(self, directory: str, record: SessionRecord) -> None:
        assert record.notification is not None
        self.events.append(
            ("notified", directory, record.guid, str(record.notification.told_status))
        )

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        self.events.append(("closed", directory, record.guid, outcome))

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        self.events.append(("cancelled", directory, record.guid))

    def expired(self, directory: str, record: SessionRecord) -> None:
        self.events.append(("expired", directory, record.guid))

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        self.events.append(("cleaned_up", directory, str(report)))

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        self.events.append(("failed", directory, packet, session_id, destination, str(error)))

    def answered(self, packet: AnsweredPacket) -> None:
        self.events.append(("answered", packet.directory, packet.packet))
