"""The five packets [MC-BUP] 2.2 and how they are read from the header fields of a request.

``parse_packet`` is the border: whatever bytes come, it gives a frozen value or raises a BitsError.
A ``session_id`` of None stands for a text that is no session id: no session has such a name, which
is said only when the URL and the user have been looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias

from bits_server.protocol import headers as names
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import LengthRequired, MalformedPacket, SessionNotFound
from bits_server.protocol.headers import RequestHeaders
from bits_server.protocol.session_id import SessionId

UPLOAD_PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}"  # the one there is [MC-BUP] 2.2.2
MAXIMUM_PROTOCOLS = 100

_DECIMAL = re.compile(r"[0-9]{1,20}", re.ASCII)
_SEPARATORS = re.compile(r"[ ,\t]+")


@dataclass(frozen=True, slots=True)
class CreateSession:
    """Opens a session [MC-BUP] 2.2.2."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """Brings bytes of the request entity [MC-BUP] 2.2.6."""

    session_id: SessionId | None
    content_range: ContentRange
    is_chunked: bool = False


@dataclass(frozen=True, slots=True)
class CloseSession:
    """The client has sent, and received, all that it wanted [MC-BUP] 2.2.8."""

    session_id: SessionId | None


@dataclass(frozen=True, slots=True)
class CancelSession:
    """The client gives up; all of the session goes [MC-BUP] 2.2.10."""

    session_id: SessionId | None


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks whether the server is there; where authentication happens [MC-BUP] 2.2.4."""


Packet: TypeAlias = CreateSession | Fragment | CloseSession | CancelSession | Ping

PACKET_NAMES: dict[type[Packet], str] = {
    CreateSession: "Create-Session",
    Fragment: "Fragment",
    CloseSession: "Close-Session",
    CancelSession: "Cancel-Session",
    Ping: "Ping",
}
PACKET_TYPES: dict[str, type[Packet]] = {name.lower(): kind for kind, name in PACKET_NAMES.items()}


def packet_type_of(headers: RequestHeaders) -> type[Packet] | None:
    """The packet that the request says it is, or None; decides nothing else."""
    return PACKET_TYPES.get((headers.get(names.BITS_PACKET_TYPE) or "").lower())


def parse_packet(headers: RequestHeaders) -> Packet:
    """The packet that a BITS_POST request with these header fields is.

    Raises MalformedPacket or LengthRequired [MC-BUP] 3.2.5.2.3.
    """
    headers.refuse_oversized()
    kind = packet_type_of(headers)
    if kind is None:
        raise MalformedPacket(
            f"{names.BITS_PACKET_TYPE} {(headers.get(names.BITS_PACKET_TYPE) or '')[:80]!r} "
            "is none of the five packets"
        )
    content_length = _content_length(headers)
    is_chunked = headers.get(names.TRANSFER_ENCODING) is not None
    if kind is Fragment:
        return _parse_fragment(headers, content_length, is_chunked)
    if content_length or is_chunked:
        raise MalformedPacket(f"a {kind.__name__} packet has no body, this one brings one")
    if kind is CreateSession:
        _require_upload_protocol(headers)
        return CreateSession()
    if kind is CloseSession:
        return CloseSession(_session_id(headers))
    if kind is CancelSession:
        return CancelSession(_session_id(headers))
    return Ping()


def _parse_fragment(
    headers: RequestHeaders, content_length: int | None, is_chunked: bool
) -> Fragment:
    if content_length is None and not is_chunked:
        raise LengthRequired("a Fragment came with neither a Content-Length nor a chunked body")
    encoding = headers.get(names.CONTENT_ENCODING)
    if encoding and encoding.lower() != "identity":
        raise MalformedPacket(f"Content-Encoding {encoding[:80]!r}: only identity is understood")
    content_range = ContentRange.parse(headers.get(names.CONTENT_RANGE) or "")
    if not is_chunked and content_length != content_range.length:
        raise MalformedPacket(
            f"Content-Length is {content_length}, but {content_range} has "
            f"{content_range.length} bytes"
        )
    return Fragment(_session_id(headers), content_range, is_chunked)


def _session_id(headers: RequestHeaders) -> SessionId | None:
    text = headers.get(names.BITS_SESSION_ID)
    if not text:
        raise MalformedPacket(f"the packet has no {names.BITS_SESSION_ID}")
    try:
        return SessionId.parse(text)
    except SessionNotFound:
        return None


def _content_length(headers: RequestHeaders) -> int | None:
    text = headers.get(names.CONTENT_LENGTH)
    if not text:
        return None
    if not _DECIMAL.fullmatch(text):
        raise MalformedPacket(f"Content-Length {text[:80]!r} is no number of bytes")
    return int(text)


def _require_upload_protocol(headers: RequestHeaders) -> None:
    """[MC-BUP] 3.2.5.2.4: the server picks the first protocol of the list that it knows."""
    text = headers.get(names.BITS_SUPPORTED_PROTOCOLS) or ""
    offered = [guid.lower() for guid in _SEPARATORS.split(text) if guid]
    if len(offered) > MAXIMUM_PROTOCOLS:
        raise MalformedPacket(
            f"{names.BITS_SUPPORTED_PROTOCOLS} names {len(offered)} protocols, "
            f"allowed are {MAXIMUM_PROTOCOLS}"
        )
    if UPLOAD_PROTOCOL not in offered:
        raise MalformedPacket(f"no common protocol: the client offers {text[:120]!r}")
