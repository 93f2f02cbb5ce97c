"""The answer to any packet [MC-BUP] 2.2.3, success or error, as a value and as header fields."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bits_server.protocol import headers as names
from bits_server.protocol.errors import AuthenticationRequired, BitsError
from bits_server.protocol.packets import UPLOAD_PROTOCOL

# A response head must fit the 4 KB in which a proxy keeps it (nginx' proxy_buffer_size), so what
# cannot be a session id anyway is not echoed in full length.
_SENDABLE = re.compile(r"[\x20-\x7e\x80-\xff]{1,1024}")


@dataclass(frozen=True, slots=True)
class Ack:
    """One Ack. ``session_id`` is the text as the request spelled it, or the id just made.

    ``received_length``: the next expected byte (bytes). ``reply_url``: where the client finds the
    reply of the server application. ``host_id_fallback_seconds`` is sent only
    together with ``host_id``. ``authentication_fields``: names and values that a scheme of
    authentication adds to its answer.
    """

    status: int = 200
    session_id: str | None = None
    opens_session: bool = False
    received_length: int | None = None
    reply_url: str | None = None
    host_id: str | None = None
    host_id_fallback_seconds: int | None = None
    error: BitsError | None = None
    authentication_fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_error(
        cls, error: BitsError, session_id: str | None, received_length: int | None = None
    ) -> Ack:
        """The Ack with which ``error`` is answered.

        ``received_length``: where a Fragment of a session that is known was refused.
        """
        return cls(error.status, session_id, received_length=received_length, error=error)

    def header_fields(self) -> list[tuple[str, str]]:
        """Names and values in the order of sending."""
        fields = [("Pragma", "no-cache"), (names.BITS_PACKET_TYPE, "Ack")]
        if self.opens_session:
            fields.append((names.BITS_PROTOCOL, UPLOAD_PROTOCOL))
        if self.session_id is not None and _SENDABLE.fullmatch(self.session_id):
            fields.append((names.BITS_SESSION_ID, self.session_id))
        if self.host_id:
            fields.append((names.BITS_HOST_ID, self.host_id))
            if self.host_id_fallback_seconds is not None:
                seconds = str(self.host_id_fallback_seconds)
                fields.append((names.BITS_HOST_ID_FALLBACK_TIMEOUT, seconds))
        if self.received_length is not None:
            fields.append((names.BITS_RECEIVED_CONTENT_RANGE, str(self.received_length)))
        if self.reply_url is not None:
            fields.append((names.BITS_REPLY_URL, self.reply_url))
        fields.append((names.CONTENT_LENGTH, "0"))
        if self.opens_session:
            fields.append(("Accept-Encoding", "identity"))
        if self.error is not None:
            fields += _error_fields(self.error)
        fields += self.authentication_fields
        return fields


def _error_fields(error: BitsError) -> list[tuple[str, str]]:
    fields = []
    if error.hresult is not None:
        code = f"0x{error.hresult:08X}"  # some clients compare it as text
        fields += [
            (names.BITS_ERROR_CODE, code),
            (names.BITS_ERROR, code),
            (names.BITS_ERROR_CONTEXT, f"0x{error.context:X}"),
        ]
    if error.retry_after_seconds is not None:
        fields.append(("Retry-After", str(error.retry_after_seconds)))
    if isinstance(error, AuthenticationRequired):
        fields += [("WWW-Authenticate", challenge) for challenge in error.challenges]
    return fields
