"""What is told of sessions: which ones, in which order, and their facts under stable names.

The rule of this file: the names in ``facts_of`` are read by programs of others; they may be added
to, and keep their meaning. Times are UTC as in ISO 8601, durations seconds, sizes bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from bits_server.protocol.states import SessionState
from bits_server.sessions.administration import SessionFacts
from bits_server.storage.record import NotificationOutcome

UNREADABLE = "unreadable"
STATES = (*(state.value for state in SessionState), UNREADABLE)


@dataclass(frozen=True, slots=True)
class Selection:
    """Which sessions are wanted; None: any. ``user``: empty for the anonymous.

    ``destination``: a pattern for the path below the virtual directory; ``*`` stands for slashes
    too. ``states``: none for all.
    """

    user: str | None = None
    states: tuple[str, ...] = ()
    destination: str | None = None

    def has(self, facts: SessionFacts) -> bool:
        """Whether it is one of them. A wreck has neither user nor destination."""
        if self.states and state_of(facts) not in self.states:
            return False
        record = facts.record
        if record is None:
            return self.user is None and self.destination is None
        if self.user is not None and record.owner != self.user:
            return False
        return self.destination is None or fnmatchcase(record.destination, self.destination)


def state_of(facts: SessionFacts) -> str:
    """The state in one word."""
    return UNREADABLE if facts.record is None else facts.record.state.value


def percent_of(facts: SessionFacts) -> float | None:
    """How much of the file has come; below 100 as long as a byte is missing."""
    total = None if facts.record is None else facts.record.total
    if total is None:
        return None
    return 100.0 if facts.received_length >= total else facts.received_length * 1000 // total / 10


def notification_of(outcome: NotificationOutcome | None) -> str:
    """What came of telling the server application, in one word."""
    if outcome is None:
        return "none"
    if outcome.succeeded:
        return "succeeded"
    return "refused" if outcome.is_final else "failed"


# What each order looks at; None where it is not known.
SORT_KEYS: dict[str, Callable[[SessionFacts], Any]] = {
    "age": lambda facts: facts.record and facts.record.created,
    "idle": lambda facts: facts.last_progress,
    "received": lambda facts: facts.received_length,
    "total": lambda facts: facts.record and facts.record.total,
    "percent": percent_of,
    "state": lambda facts: STATES.index(state_of(facts)),
    "user": lambda facts: facts.record and facts.record.owner,
    "destination": lambda facts: facts.record and facts.record.destination,
}


def facts_of(facts: SessionFacts, now: float) -> dict[str, Any]:
    """Everything as JSON has it. ``now``: seconds since 1970."""
    record = facts.record
    outcome = None if record is None else record.notification
    told: dict[str, Any] = {
        "session_id": str(facts.session_id),
        "virtual_directory": facts.directory.url,
        "state": state_of(facts),
        "problem": facts.problem or None,
        "user": record and (record.owner or None),
        "client_address": record and record.client_address,
        "destination": record and record.destination,
        "original_request_url": record and (record.original_url or None),
        "received_bytes": facts.received_length,
        "total_bytes": record and record.total,
        "percent": percent_of(facts),
        "created": record and timestamp(record.created),
        "age_seconds": record and round(now - record.created),
        "last_progress": timestamp(facts.last_progress),
        "idle_seconds": round(now - facts.last_progress),
        "expires": timestamp(facts.last_progress + facts.directory.session_timeout),
        "notification_type": facts.directory.notification_type.value,
        "notification": None if outcome is None else notification_facts(outcome),
    }
    return told


def notification_facts(outcome: NotificationOutcome) -> dict[str, Any]:
    """What came of telling the server application, as ``facts_of`` has it."""
    return {
        "outcome": notification_of(outcome),
        "attempts": outcome.attempts,
        "began": timestamp(outcome.began),
        "ended": timestamp(outcome.ended),
        "application_status": outcome.status,
        "client_status": outcome.told_status,
        "error": outcome.error,
        "copies_to_destination": outcome.copies_to_destination,
        "reply_url": outcome.reply_url,
    }


def timestamp(moment: float) -> str:
    """A time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError):  # a record can be written by others
        return "unknown"
