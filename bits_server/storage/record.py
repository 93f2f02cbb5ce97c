"""The durable facts of a session, and how they are written as JSON.

``parse(print(x)) == x``; whatever else is found in a record's place raises RecordUnreadable.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Self, get_type_hints

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState

FORMAT = 1
CLOSED_RECORD_SECONDS = 3600.0  # so long a repeated Close-Session is answered as the first was


class RecordUnreadable(Exception):
    """What stands in the record's place is not a record that this version wrote."""


@dataclass(frozen=True, slots=True)
class _Json:
    """A flat dataclass of text, numbers and truth values that prints itself as one object."""

    def to_json(self) -> bytes:
        """The record as UTF-8 text."""
        facts = {name: getattr(self, name) for name in _types(type(self))}
        return json.dumps({"format": FORMAT, **facts}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Raises RecordUnreadable."""
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise RecordUnreadable(f"not JSON: {error}") from error
        form = found.pop("format", None) if isinstance(found, dict) else None
        if type(form) is not int or form != FORMAT:
            raise RecordUnreadable(f"not a record of format {FORMAT}")
        record = cls(**_checked(cls, found))
        if (nonsense := record.nonsense()) is not None:
            raise RecordUnreadable(nonsense)
        return record

    def nonsense(self) -> str | None:
        """What of the facts no version of ours would have written."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class SessionRecord(_Json):
    """Who, what, when, and how far.

    ``guid``: the session id as printed. ``destination``: the path below the virtual directory.
    ``owner``: the user that created the session, empty for anonymous. ``created``: seconds since
    1970. ``total``: bytes of the request entity, None before the first Fragment.
    ``publishing_name``: a hidden name beside the destination that a Close-Session has begun to
    use; ``publishing_device``, ``publishing_inode``: the copy that is about to go from there to the
    destination, where the entity itself cannot.
    """

    guid: str
    destination: str
    owner: str
    client_address: str
    created: float
    total: int | None = None
    is_complete: bool = False
    publishing_device: int | None = None
    publishing_inode: int | None = None
    publishing_name: str | None = None

    @property
    def state(self) -> SessionState:
        """How far the upload has come."""
        if self.is_complete:
            return SessionState.COMPLETE
        return SessionState.OPENED if self.total is None else SessionState.RECEIVING

    @property
    def session_id(self) -> SessionId:
        """The id as a value."""
        return SessionId.parse(self.guid)

    def nonsense(self) -> str | None:
        """A record can be written by whoever the session's folder is open to."""
        hidden = self.publishing_name
        if hidden is not None and (not hidden.startswith(".") or "/" in hidden):
            return f"publishing_name is {hidden!r}"
        if self.total is not None and self.total < 0:
            return f"total is {self.total}"
        if self.is_complete and self.total is None:
            return "complete, but without a total"
        return _nonsense(self.guid, self.created)


@dataclass(frozen=True, slots=True)
class ClosedRecord(_Json):
    """What is kept of a closed session so that a repeated Close-Session gets its Ack.

    ``closed``: seconds since 1970.
    """

    guid: str
    destination: str
    owner: str
    closed: float

    def nonsense(self) -> str | None:
        return _nonsense(self.guid, self.closed)


def _nonsense(guid: str, time: float) -> str | None:
    if not math.isfinite(time):
        return f"the time is {time}"
    try:
        SessionId.parse(guid)
    except SessionNotFound as error:
        return str(error)
    return None


def _types(cls: type[_Json]) -> dict[str, Any]:
    """The annotations of a record; reading them costs more than reading the record."""
    if cls not in _known_types:
        _known_types[cls] = get_type_hints(cls)
    return _known_types[cls]


_known_types: dict[type[_Json], dict[str, Any]] = {}


def _checked(cls: type[_Json], found: dict[str, Any]) -> dict[str, Any]:
    types = _types(cls)
    if found.keys() != types.keys():
        raise RecordUnreadable(f"missing or unknown: {sorted(found.keys() ^ types.keys())}")
    for name, value in found.items():
        is_truth = isinstance(value, bool)  # a bool is an int to isinstance
        if is_truth != (types[name] is bool) or not isinstance(value, types[name]):
            raise RecordUnreadable(f"{name} is {value!r}")
    return found
