"""Requests and answers of a server that a test tells what shall go wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

Fields = list[tuple[str, str]]


@dataclass(frozen=True)
class Request:
    """One request as it came. ``headers`` by lower-case name; ``connection``: its number, from 1.

    ``length``: how much of its body was read. ``status``: of its answer, 0 where it got none.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    connection: int
    length: int = 0
    status: int = 0

    @property
    def declared_length(self) -> int:
        return int(self.headers.get("content-length", "0"))

    @property
    def kind(self) -> str:
        """The packet type, or the method of what is no packet."""
        return self.headers.get("bits-packet-type", self.method)


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request.

    ``status``: refuse it with that, and with ``hresult`` where there is one; nothing else is done.
    ``received``: what the refusal tells as BITS-Received-Content-Range.
    ``fields``: what the answer carries besides. ``loses_session``: forget it first.
    ``reads``: close the connection after so many bytes of the body, which are kept.
    ``is_answered`` off: do what was asked, and close the connection instead of answering.
    ``is_drained`` off: answer without reading the body, and close the connection.
    ``sends``: close the connection after so many bytes of the answer's body.
    ``before``: called before the answer, and may keep the client waiting.
    """

    status: int = 0
    hresult: str = ""
    context: str = "0x5"
    received: int | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    loses_session: bool = False
    reads: int | None = None
    is_answered: bool = True
    is_drained: bool = True
    sends: int | None = None
    before: Callable[[], object] = lambda: None


NO_FAULT = Fault()


@dataclass(frozen=True)
class Response:
    """An answer, with all its fields in order."""

    status: int
    fields: Fields
    body: bytes = b""
