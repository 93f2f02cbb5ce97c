"""What ``bits-server sessions`` prints for people.

The rule of this file: text that a client sent is printed with ``%r``, so that it cannot forge a
line.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bits_server.operations.session_list import notification_of, percent_of, state_of
from bits_server.sessions.administration import SessionFacts
from bits_server.storage.record import NotificationOutcome

_ROW = "{:38}  {:10}  {:>10}  {:>10}  {:>6}  {:>7}  {:>7}  {:12}  {:8}  {}"

HEADING = _ROW.format(
    *("SESSION", "STATE", "RECEIVED", "TOTAL", "%", "AGE", "IDLE", "NOTIFICATION", "USER"),
    "DESTINATION",
)


def row(facts: SessionFacts, now: float) -> str:
    """One session in one line; the destination comes last, as it has any length."""
    record = facts.record
    percent = percent_of(facts)
    return _ROW.format(
        str(facts.session_id),
        state_of(facts),
        _size(facts.received_length),
        "-" if record is None or record.total is None else _size(record.total),
        "-" if percent is None else f"{percent:.1f}",
        "-" if record is None else _duration(now - record.created),
        _duration(now - facts.last_progress),
        _notification(facts),
        "-" if record is None or not record.owner else f"{record.owner!r}",
        f"({facts.problem})" if record is None else f"{facts.directory.url} {record.destination!r}",
    )


def lines_of(told: Mapping[str, Any], *, indent: str = "") -> list[str]:
    """All facts of one session, a line each, under the names that JSON has."""
    lines = []
    for name, value in told.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}:", *lines_of(value, indent=indent + "  ")]
        else:
            lines.append(f"{indent}{name}: {_text(name, value)}")
    return lines


def in_words(outcome: NotificationOutcome) -> str:
    """What the server application did, when it was notified successfully."""
    words = [f"it answered {outcome.status} after {outcome.ended - outcome.began:.3f} s"]
    if outcome.reply_url is not None:
        words.append(f"with a reply at {outcome.reply_url!a}")
    if outcome.copies_to_destination:
        words.append("and wants the file at its destination")
    return " ".join(words)


def _notification(facts: SessionFacts) -> str:
    record = facts.record
    if record is None or not facts.directory.has_application:
        return "-"
    outcome = record.notification
    if outcome is None:
        return "not yet"
    status = "" if outcome.status is None else f" {outcome.status}"
    return notification_of(outcome) + status


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name.endswith("_bytes"):
        return f"{value} ({_size(value)})"
    if name.endswith("_seconds"):
        return f"{value} ({_duration(value)})"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) and value.isprintable() else f"{value!r}"


def _size(size: int) -> str:
    """About so many bytes, in few characters."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"


def _duration(seconds: float) -> str:
    """About so long, by the two largest units."""
    rest = int(seconds)
    if rest < 0:
        return "future"
    parts = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        parts.append((count, unit))
    first = next((index for index, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count) or "0s"
