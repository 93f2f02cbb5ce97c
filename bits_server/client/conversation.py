"""The packets of one upload, one after the other [MC-BUP] 3.1.5.

The rule of this file: it knows what a packet looks like and what its Ack says, and nothing of
jobs, files and waiting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit, urlunsplit

from bits_server.client.addresses import is_usable, joined
from bits_server.client.answers import Answer, failure_of, received_of, refuse_failure
from bits_server.client.errors import (
    BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH,
    BG_E_INVALID_SERVER_RESPONSE,
    Fatal,
    FragmentTooLarge,
    Transient,
)
from bits_server.client.jobs import ErrorContext, SessionOnServer
from bits_server.client.transport import Body, Transport
from bits_server.protocol.packets import UPLOAD_PROTOCOL

METHOD = "BITS_POST"
_MOST_QUOTED = 100
_FOR_EVER = 0xFFFFFFFF  # seconds [MC-BUP] 3.1.2.3


class Conversation:
    """With the server at ``url``."""

    def __init__(self, transport: Transport, url: str) -> None:
        self._transport = transport
        self._url = url
        transport.trust(url)

    def url_for(self, session: SessionOnServer | None) -> str:
        """The URL with the host that the server has named, if it has [MC-BUP] 2.2.3.2."""
        if session is None or session.host_id is None:
            return self._url
        url = self._url_at(session.host_id)
        # It takes the place of the server that named it [MC-BUP] 3.1.5.2.2: log in there too.
        self._transport.trust(url)
        return url

    def _url_at(self, host_id: str) -> str:
        return urlunsplit(urlsplit(self._url)._replace(netloc=host_id))

    def create_session(self) -> SessionOnServer:
        """[MC-BUP] 3.1.5.2.2. Raises TransferFailed."""
        fields = {"BITS-Supported-Protocols": UPLOAD_PROTOCOL}
        answer = self._send("Create-Session", self._url, fields)
        session_id = answer.headers.get("BITS-Session-Id", "").strip()
        if not session_id or not _is_ack(answer):
            raise Fatal(
                BG_E_INVALID_SERVER_RESPONSE,
                "what answers at this URL is no BITS server",
                context=ErrorContext.REMOTE_FILE,
                http_status=answer.status,
            )
        protocol = answer.headers.get("BITS-Protocol", UPLOAD_PROTOCOL).strip()
        if protocol.lower() != UPLOAD_PROTOCOL:
            raise Fatal(
                BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH,
                f"the server wants another protocol, {_quoted(protocol)}",
                context=ErrorContext.REMOTE_FILE,
            )
        host_id = answer.headers.get("BITS-Host-Id", "").strip() or None
        if host_id and not (is_usable(self._url_at(host_id)) and set(host_id).isdisjoint("/?#")):
            raise Fatal(
                BG_E_INVALID_SERVER_RESPONSE,
                f"the server names a host that can be none, {_quoted(host_id)}: see its BITSHostId",
                context=ErrorContext.REMOTE_FILE,
            )
        timeout = _seconds_of(answer.headers.get("BITS-Host-Id-Fallback-Timeout", "").strip())
        return SessionOnServer(
            session_id,
            host_id=host_id,
            host_id_timeout=timeout if host_id else None,
        )

    def ping(self, session: SessionOnServer | None) -> None:
        """[MC-BUP] 3.1.5.2.3. Raises TransferFailed."""
        _refuse_stranger(self._send("Ping", self.url_for(session)))

    def fragment(
        self, session: SessionOnServer, first: int, size: int, total: int, body: Body | None
    ) -> tuple[int, str | None]:
        """[MC-BUP] 3.1.5.2.4. The next byte that is wanted, and the absolute URL of the reply.

        Raises TransferFailed, SessionLost, FragmentTooLarge, and what reading the body raises.
        """
        url = self.url_for(session)
        fields = {
            "Content-Range": f"bytes {first}-{first + size - 1}/{total}",
            "BITS-Session-Id": session.session_id,
        }
        answer = self._sent("Fragment", url, fields, body)
        if answer.status != 416:
            refuse_failure(answer)
        reply = answer.headers.get("BITS-Reply-URL", "").strip()
        return received_of(answer, total), joined(url, reply) if reply else None

    def close_session(self, session: SessionOnServer) -> None:
        """[MC-BUP] 3.1.5.2.5. Raises TransferFailed, SessionLost."""
        try:
            self._of_session("Close-Session", session)
        except Transient as failure:
            error = failure.error
            if error.http_status is None or not 400 <= error.http_status < 500:
                raise
            # Windows repeats it after 5xx only [SDK]: also 408 and 409 are the end.
            raise Fatal(
                error.hresult, error.text, context=error.context, http_status=error.http_status
            ) from None

    def cancel_session(self, session: SessionOnServer) -> None:
        """[MC-BUP] 3.1.5.2.6. Raises TransferFailed, SessionLost."""
        self._of_session("Cancel-Session", session)

    def _of_session(self, kind: str, session: SessionOnServer) -> None:
        fields = {"BITS-Session-Id": session.session_id}
        _refuse_stranger(self._send(kind, self.url_for(session), fields))

    def _send(self, kind: str, url: str, fields: Mapping[str, str] | None = None) -> Answer:
        answer = self._sent(kind, url, fields or {}, None)
        try:
            refuse_failure(answer)
        except FragmentTooLarge:  # of a packet that has no body
            raise failure_of(answer) from None
        return answer

    def _sent(self, kind: str, url: str, fields: Mapping[str, str], body: Body | None) -> Answer:
        return self._transport.send(METHOD, url, {"BITS-Packet-Type": kind, **fields}, body)


def _quoted(text: str) -> str:
    """What a server has made up, for an error's text."""
    return repr(text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…")


def _is_ack(answer: Answer) -> bool:
    return answer.headers.get("BITS-Packet-Type", "").strip().lower() == "ack"


def _refuse_stranger(answer: Answer) -> None:
    """A success of somebody else, such as the log-in page of a network, ends no upload."""
    if not _is_ack(answer):
        raise Transient(
            BG_E_INVALID_SERVER_RESPONSE,
            "what answers is no BITS server: a proxy, or a page that wants somebody to log in",
            context=ErrorContext.REMOTE_FILE,
            http_status=answer.status,
        )


def _seconds_of(text: str) -> float | None:
    """A time-out as the server sends it, or None for none."""
    seconds = int(text) if re.fullmatch(r"[0-9]{1,10}", text) else _FOR_EVER
    return float(seconds) if seconds < _FOR_EVER else None
