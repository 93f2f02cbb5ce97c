"""What happens to sessions, as lines of the log ``bits_server``.

The rule of this file: text that a client sent is printed with ``%r``, so that it cannot forge a
line; every refusal says its cause, its HTTP status and its HRESULT.
"""

from __future__ import annotations

import logging

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError, UnexpectedFailure, hresult_name
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import NotificationOutcome, SessionRecord

_log = logging.getLogger("bits_server")


class EventLog:
    """A SessionObserver that logs: sessions at INFO, Fragments at DEBUG, refusals at WARNING."""

    def session_created(self, directory: str, record: SessionRecord) -> None:
        _log.info(
            "%s session created: %s %r for %s",
            record.guid,
            directory,
            record.destination,
            record.client_address,
        )

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        _log.debug("%s %s received, next is byte %d", record.guid, content_range, received)

    def notified(self, directory: str, record: SessionRecord) -> None:
        outcome = record.notification
        assert outcome is not None
        _log.log(
            logging.INFO if outcome.succeeded else logging.WARNING,
            "%s server application of %s notified, attempt %d, %.3f s: %s",
            record.guid,
            directory,
            outcome.attempts,
            outcome.ended - outcome.began,
            _in_words(outcome),
        )

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        # A session without a Fragment: an empty file, or a client that gave up before it began.
        level = logging.WARNING if record.total is None else logging.INFO
        _log.log(
            level,
            "%s session closed: %s %r, total %s bytes: %s",
            record.guid,
            directory,
            record.destination,
            "unknown" if record.total is None else record.total,
            outcome,
        )

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        _log.info("%s session cancelled: %s %r", record.guid, directory, record.destination)

    def expired(self, directory: str, record: SessionRecord) -> None:
        # Every byte had come: somebody will miss this file.
        _log.log(
            logging.WARNING if record.is_complete else logging.INFO,
            "%s session expired and removed: %s %r, %s",
            record.guid,
            directory,
            record.destination,
            "complete, but never closed by its client" if record.is_complete else "incomplete",
        )

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        _log.info("%s cleaned up: %s", directory, report)

    def answered(self, packet: AnsweredPacket) -> None:
        """Refusals are logged with their reason, Fragments at DEBUG, both above."""

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        unexpected = isinstance(error, UnexpectedFailure)
        _log.log(
            logging.ERROR if unexpected else logging.WARNING,
            "%s %s refused with %d %s: %r: %s",
            ascii(session_id)[1:-1] or "-",
            packet or "packet",
            error.status,
            "-"
            if error.hresult is None
            else f"0x{error.hresult:08X} {hresult_name(error.hresult)}",
            destination,
            error,
            exc_info=error.__cause__ if unexpected else None,
        )


def _in_words(outcome: NotificationOutcome) -> str:
    if not outcome.succeeded:
        return f"failed, the client is told {outcome.told_status}: {outcome.error}"
    wishes = [f"it answered {outcome.status}"]
    if outcome.reply_url is not None:
        wishes.append(f"with a reply at {outcome.reply_url!a}")
    if outcome.copies_to_destination:
        wishes.append("and wants the file at its destination")
    return " ".join(wishes)
