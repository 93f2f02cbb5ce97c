"""What happens to packets and sessions, as lines of the log ``bits_server``.

The rule of this file: one line for each packet and each event, with its fields beside it for those
who read by machine; text that a client sent is printed with ``%r``, so that it cannot forge a line;
every refusal says its cause, its remedy, its HTTP status and its HRESULT.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AuthenticationRequired,
    BitsError,
    UnexpectedFailure,
    hresult_name,
)
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import NotificationOutcome, SessionRecord

_log = logging.getLogger("bits_server")


class EventLog:
    """A SessionObserver that logs: what goes well at INFO, refusals at WARNING."""

    def session_created(self, directory: str, record: SessionRecord) -> None:
        """The line of its packet says it all."""

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        """The line of its packet says the most; this is for those who look closely."""
        _log.debug("%s %s received, next is byte %d", record.guid, content_range, received)

    def notified(self, directory: str, record: SessionRecord) -> None:
        outcome = record.notification
        assert outcome is not None
        seconds = outcome.ended - outcome.began
        fields = {"attempts": outcome.attempts, "status": outcome.status, "duration": seconds}
        _tell(
            logging.INFO if outcome.succeeded else logging.WARNING,
            "notified",
            {**_of_session(directory, record), **fields, "error": outcome.error},
            "%s server application of %s notified, attempt %d, %.3f s: %s",
            record.guid,
            directory,
            outcome.attempts,
            seconds,
            _in_words(outcome),
        )

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        # A session without a Fragment: an empty file, or a client that gave up before it began.
        _tell(
            logging.WARNING if record.total is None else logging.INFO,
            "session_closed",
            {**_of_session(directory, record), "outcome": outcome},
            "%s session closed: %s %r, total %s bytes%s: %s",
            record.guid,
            directory,
            record.destination,
            "unknown" if record.total is None else record.total,
            f", SHA-256 {record.sha256}" if record.sha256 else "",
            outcome,
        )

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        _tell(
            logging.INFO,
            "session_cancelled",
            _of_session(directory, record),
            "%s session cancelled: %s %r",
            record.guid,
            directory,
            record.destination,
        )

    def expired(self, directory: str, record: SessionRecord) -> None:
        # Every byte had come: somebody will miss this file.
        _tell(
            logging.WARNING if record.is_complete else logging.INFO,
            "session_expired",
            {**_of_session(directory, record), "complete": record.is_complete},
            "%s session expired and removed: %s %r, %s",
            record.guid,
            directory,
            record.destination,
            "complete, but never closed by its client" if record.is_complete else "incomplete",
        )

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        fields = {"virtual_directory": directory, "outcome": str(report)}
        _tell(logging.INFO, "cleaned_up", fields, "%s cleaned up: %s", directory, report)

    def answered(self, packet: AnsweredPacket) -> None:
        if packet.error is not None:
            _tell_refusal(packet.packet, packet, packet.error)
            return
        _tell(
            logging.INFO,
            "packet",
            packet,
            "%s %s %r from %s: %d%s, %.1f ms",
            plain_text(packet.session_id),
            packet.packet,
            packet.destination,
            _sender(packet.client_address, packet.user),
            packet.status,
            "" if packet.offset is None else f", {packet.body_bytes} bytes at {packet.offset}",
            packet.seconds * 1000,
        )

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        fields = {"virtual_directory": directory, "packet": packet, "destination": destination}
        _tell_refusal(packet, {**fields, "session_id": session_id}, error)


def fields_of(packet: AnsweredPacket) -> dict[str, Any]:
    """For those who read by machine; what does not apply is left out."""
    error = packet.error
    fields = {
        "session_id": packet.session_id,
        "user": packet.user,
        "client_address": packet.client_address,
        "virtual_directory": packet.directory,
        "destination": packet.destination,
        "packet": packet.packet,
        "offset": packet.offset,
        "bytes": packet.body_bytes,
        "status": packet.status,
        "hresult": None if error is None or error.hresult is None else f"0x{error.hresult:08X}",
        "duration": round(packet.seconds, 6),
        "waited_for_client": round(packet.body_seconds, 6),
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _tell(
    level: int,
    event: str,
    fields: dict[str, Any] | AnsweredPacket,
    message: str,
    *arguments: object,
    cause: BaseException | None = None,
) -> None:
    if not _log.isEnabledFor(level):
        return
    # Not by ``log``: looking for the line of source that calls costs as much as all the rest.
    traceback = None if cause is None else (type(cause), cause, cause.__traceback__)
    line = logging.getLogRecordFactory()(
        _log.name, level, __file__, 0, message, arguments, traceback
    )
    line.event = event
    line.fields = fields
    _log.handle(line)


def _tell_refusal(packet: str, fields: dict[str, Any] | AnsweredPacket, error: BitsError) -> None:
    if isinstance(fields, AnsweredPacket):
        session_id, destination = fields.session_id, fields.destination
        sender = _sender(fields.client_address, fields.user)
    else:
        session_id, destination, sender = fields["session_id"], fields["destination"], "-"
    unexpected = isinstance(error, UnexpectedFailure)
    _tell(
        _level_of(error),
        "refusal",
        fields,
        "%s %s refused with %d %s: %r from %s: %s. %s",
        plain_text(session_id),
        packet or "packet",
        error.status,
        "-" if error.hresult is None else f"0x{error.hresult:08X} {hresult_name(error.hresult)}",
        destination,
        sender,
        error,
        error.remedy,
        cause=error.__cause__ if unexpected else None,
    )


def _level_of(error: BitsError) -> int:
    if isinstance(error, UnexpectedFailure):
        return logging.ERROR
    if isinstance(error, AuthenticationRequired) and error.is_first:
        return logging.INFO  # each client begins so
    return logging.WARNING


def _sender(address: str, user: str) -> str:
    return f"{plain_text(address)} ({plain_text(user)})" if user else plain_text(address)


def plain_text(text: str) -> str:
    """What a client chose and is mostly plain: without quotes, and on one line whatever it is."""
    return ascii(text)[1:-1] or "-"


def _of_session(directory: str, record: SessionRecord) -> dict[str, Any]:
    return {
        "session_id": record.guid,
        "user": record.owner,
        "client_address": record.client_address,
        "virtual_directory": directory,
        "destination": record.destination,
        "total": record.total,
        "sha256": record.sha256,
    }


def _in_words(outcome: NotificationOutcome) -> str:
    if not outcome.succeeded:
        return f"failed, the client is told {outcome.told_status}: {outcome.error}"
    wishes = [f"it answered {outcome.status}"]
    if outcome.reply_url is not None:
        wishes.append(f"with a reply at {_without_secrets(outcome.reply_url)!a}")
    if outcome.copies_to_destination:
        wishes.append("and wants the file at its destination")
    return " ".join(wishes)


def _without_secrets(url: str) -> str:
    """A URL of an application may be signed: whoever has the signature has the reply."""
    place, mark, _ = url.partition("?")
    return re.sub(r"(?<=//)[^/]*@", "...@", place) + ("?..." if mark else "")
