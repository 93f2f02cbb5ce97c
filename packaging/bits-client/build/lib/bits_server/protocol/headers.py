"""The header fields of the protocol: their names, and a view of those that a request carries.

Names are spelled as the specification spells them; comparing is without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterable

from bits_server.protocol.errors import MalformedPacket

BITS_PACKET_TYPE = "BITS-Packet-Type"
BITS_SESSION_ID = "BITS-Session-Id"
BITS_SUPPORTED_PROTOCOLS = "BITS-Supported-Protocols"
BITS_PROTOCOL = "BITS-Protocol"
BITS_HOST_ID = "BITS-Host-Id"
BITS_HOST_ID_FALLBACK_TIMEOUT = "BITS-Host-Id-Fallback-Timeout"
BITS_RECEIVED_CONTENT_RANGE = "BITS-Received-Content-Range"
BITS_REPLY_URL = "BITS-Reply-URL"
BITS_ERROR_CODE = "BITS-Error-Code"  # the name that clients read [SDK]
BITS_ERROR = "BITS-Error"  # the name in [MC-BUP] 2.2
BITS_ERROR_CONTEXT = "BITS-Error-Context"
BITS_ORIGINAL_REQUEST_URL = "BITS-Original-Request-URL"
BITS_REQUEST_DATAFILE_NAME = "BITS-Request-DataFile-Name"
BITS_RESPONSE_DATAFILE_NAME = "BITS-Response-DataFile-Name"
BITS_STATIC_RESPONSE_URL = "BITS-Static-Response-URL"
BITS_COPY_FILE_TO_DESTINATION = "BITS-Copy-File-To-Destination"
BITS_ENTITY_SHA256 = "BITS-Entity-SHA256"  # our own
CONTENT_ENCODING = "Content-Encoding"
CONTENT_LENGTH = "Content-Length"
CONTENT_NAME = "Content-Name"
CONTENT_RANGE = "Content-Range"
TRANSFER_ENCODING = "Transfer-Encoding"

MAXIMUM_VALUE_BYTES = 4096  # of a header field that the protocol names [MC-BUP] 2.2.1

_LIMITED = frozenset({CONTENT_NAME.lower(), CONTENT_RANGE.lower()})


class RequestHeaders:
    """The header fields of one request, looked up without regard to case.

    A field that came more than once has its values joined by commas, as HTTP allows; none of the
    protocol's fields but BITS-Supported-Protocols has a meaning for such a list.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        """``fields``: names and values, one character a byte (ISO 8859-1) as WSGI has them."""
        self._fields: dict[str, str] = {}
        for name, value in fields:
            key = name.lower()
            known = self._fields.get(key)
            self._fields[key] = value if known is None else f"{known},{value}"

    def get(self, name: str) -> str | None:
        """The value without surrounding white space, or None where the field did not come."""
        value = self._fields.get(name.lower())
        return None if value is None else value.strip(" \t")

    def refuse_oversized(self) -> None:
        """Raise MalformedPacket where a field of the protocol is over 4 KB [MC-BUP] 2.2.1.

        Other fields are nobody's business here: a Kerberos Authorization may have 64 KB.
        """
        for key, value in self._fields.items():
            if len(value) > MAXIMUM_VALUE_BYTES and (key.startswith("bits-") or key in _LIMITED):
                raise MalformedPacket(
                    f"the header {key} has {len(value)} bytes, allowed are {MAXIMUM_VALUE_BYTES}"
                )
