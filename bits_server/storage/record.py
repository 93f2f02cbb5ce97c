"""The durable facts of a session, and how they are written as JSON.

``parse(print(x)) == x``; whatever else is found in a record's place raises RecordUnreadable. A fact
that has a default may be missing: an older version did not know it.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import MISSING, dataclass, fields
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
        return json.dumps({"format": FORMAT, **self.facts()}).encode()

    def facts(self) -> dict[str, Any]:
        """The record as what JSON knows."""
        return {
            name: value.facts() if isinstance(value := getattr(self, name), _Json) else value
            for name in _types(type(self))
        }

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
        return cls.from_facts(found)

    @classmethod
    def from_facts(cls, found: dict[str, Any]) -> Self:
        """The inverse of ``facts``. Raises RecordUnreadable."""
        record = cls(**_checked(cls, found))
        if (nonsense := record.nonsense()) is not None:
            raise RecordUnreadable(nonsense)
        return record

    def nonsense(self) -> str | None:
        """What of the facts no version of ours would have written."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class NotificationOutcome(_Json):
    """What came of telling the server application of the complete request entity.

    ``attempts``: how often it was called. ``began``, ``ended``: of the last call, seconds since
    1970. ``status``: the HTTP status it answered with, None where no answer came. ``told_status``:
    the status that the client was given, None after a success. ``error``: what went wrong, in
    words. ``reply_url``: where the client finds the reply; ``has_reply``: it is kept here.
    """

    attempts: int
    began: float
    ended: float
    succeeded: bool = False
    status: int | None = None
    told_status: int | None = None
    error: str | None = None
    copies_to_destination: bool = False
    reply_url: str | None = None
    has_reply: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the application is not called again: after a success, and after a 403."""
        return self.succeeded or self.status == 403

    def nonsense(self) -> str | None:
        if not (math.isfinite(self.began) and math.isfinite(self.ended)):
            return f"the times are {self.began}, {self.ended}"
        if self.succeeded != (self.told_status is None):
            return "a success is not told as a failure, and the other way round"
        if self.told_status is not None and not 300 <= self.told_status <= 599:
            return f"told_status is {self.told_status}"
        if self.reply_url is not None and not re.fullmatch(r"[!-~]+", self.reply_url):
            return f"reply_url is {self.reply_url!r}"
        return None


@dataclass(frozen=True, slots=True)
class SessionRecord(_Json):
    """Who, what, when, and how far.

    ``guid``: the session id as printed. ``destination``: the path below the virtual directory.
    ``original_url``: the destination URL as the client knows it. ``owner``: the user that created
    the session, empty for anonymous. ``created``: seconds since 1970. ``total``: bytes of the
    request entity, None before the first Fragment.
    ``sha256``: of the complete entity, in lower-case hex, where the settings ask for it.
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
    original_url: str = ""
    sha256: str | None = None
    notification: NotificationOutcome | None = None

    @property
    def state(self) -> SessionState:
        """How far the upload has come."""
        if self.is_complete:
            return SessionState.COMPLETE
        return SessionState.OPENED if self.total is None else SessionState.RECEIVING

    @property
    def hidden_name(self) -> str:
        """What a file is called beside its destination before it gets its own name."""
        return f".{self.guid[1:-1].lower()}.publishing"

    @property
    def session_id(self) -> SessionId:
        """The id as a value."""
        return SessionId.parse(self.guid)

    def nonsense(self) -> str | None:
        """A record can be written by whoever the session's folder is open to."""
        if self.publishing_name not in (None, self.hidden_name):
            return f"publishing_name is {self.publishing_name!r}"
        if not _is_path(self.destination):
            return f"destination is {self.destination!r}"
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            return f"sha256 is {self.sha256!r}"
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


def _is_path(text: str) -> bool:
    """Whether the file system could have it as a path."""
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False


# Reading annotations costs more than reading a record.
_known_types: dict[type[_Json], dict[str, Any]] = {}
_needed: dict[type[_Json], frozenset[str]] = {}
_NESTED = {"notification": NotificationOutcome}


def _types(cls: type[_Json]) -> dict[str, Any]:
    """The facts of a record with their types."""
    if cls not in _known_types:
        _needed[cls] = frozenset(each.name for each in fields(cls) if each.default is MISSING)
        _known_types[cls] = get_type_hints(cls)
    return _known_types[cls]


def _checked(cls: type[_Json], found: dict[str, Any]) -> dict[str, Any]:
    types = _types(cls)
    if not (_needed[cls] <= found.keys() <= types.keys()):
        wrong = (_needed[cls] - found.keys()) | (found.keys() - types.keys())
        raise RecordUnreadable(f"missing or unknown: {sorted(wrong)}")
    for name, value in found.items():
        if name in _NESTED and isinstance(value, dict):
            found[name] = _NESTED[name].from_facts(value)
            continue
        is_truth = isinstance(value, bool)  # a bool is an int to isinstance
        if is_truth != (types[name] is bool) or not isinstance(value, types[name]):
            raise RecordUnreadable(f"{name} is {value!r}")
    return found
