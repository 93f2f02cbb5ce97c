"""One BITS_POST request: read the packet, have it carried out, say the outcome as an Ack.

The rule of this file is the order of checks: header fields, virtual directory, whose page had a
browser send it, authentication, authorisation, session, range and body. A Ping stops after
authorisation.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bits_server.protocol import headers as names
from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import (
    BitsError,
    FragmentOutOfOrder,
    PathNotFound,
    SessionNotFound,
    UploadsNotEnabled,
)
from bits_server.protocol.headers import RequestHeaders
from bits_server.protocol.packets import (
    PACKET_NAMES,
    CloseSession,
    CreateSession,
    Fragment,
    Packet,
    Ping,
    packet_type_of,
    parse_packet,
)
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.destination import parse_destination, refuse_impossible_home
from bits_server.sessions.manager import SessionManager, Uploader
from bits_server.sessions.observer import AnsweredPacket, SessionObserver
from bits_server.storage.interface import DestinationPath
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.authentication.caller import Caller
from bits_server.web.error_answers import to_bits_error
from bits_server.web.original_url import original_url
from bits_server.web.request_body import RequestBody, is_delivered_chunked
from bits_server.web.same_origin import refuse_foreign_origin
from bits_server.web.virtual_directories import VirtualDirectories

_PLAIN_FIELDS = {
    "CONTENT_LENGTH": names.CONTENT_LENGTH,
    "HTTP_CONTENT_RANGE": names.CONTENT_RANGE,
    "HTTP_CONTENT_NAME": names.CONTENT_NAME,
    "HTTP_CONTENT_ENCODING": names.CONTENT_ENCODING,
}
_BITS_PREFIX = "HTTP_BITS_"
LONGEST_LOGGED_ID = 100  # characters; a field that is none may have 64 KB

_Found = tuple[SessionManager, bytes] | None  # as VirtualDirectories.find gives it


class BitsPost:
    """Answers packets for all virtual directories."""

    def __init__(
        self,
        directories: VirtualDirectories,
        observer: SessionObserver,
        authenticators: Mapping[str, Authenticator],
    ) -> None:
        """``authenticators``: by the URL of a virtual directory."""
        self._directories = directories
        self._observer = observer
        self._authenticators = authenticators

    def answer(self, environ: dict[str, Any], body: RequestBody, *, is_override: bool) -> Ack:
        """The Ack for the request. Raises nothing. What of ``body`` is left is the caller's.

        ``is_override``: the packet came as a POST with X-HTTP-Method-Override.
        """
        began = time.monotonic()
        headers = _request_headers(environ)
        found = self._directories.find(_path(environ))
        authenticator = self._authenticators.get(found[0].directory.url) if found else None
        caller = Caller(environ, authenticator)
        packet = None
        try:
            packet = parse_packet(headers)
            ack = self._carry_out(packet, headers, found, caller, environ, body, is_override)
        except Exception as error:
            ack = self._refuse(to_bits_error(error), headers, found, caller)
        if caller.answer_fields:
            ack = replace(ack, authentication_fields=caller.answer_fields)
        kind = packet_type_of(headers)
        self._observer.answered(
            AnsweredPacket(
                directory=found[0].directory.url if found else "",
                packet=PACKET_NAMES[kind] if kind else "",
                session_id=(ack.session_id or "")[:LONGEST_LOGGED_ID],
                user=caller.known_user,
                client_address=caller.client_address,
                destination=_path(environ).decode(errors="backslashreplace"),
                offset=packet.content_range.first if isinstance(packet, Fragment) else None,
                status=ack.status,
                error=ack.error,
                body_bytes=body.read_bytes,
                body_seconds=body.read_seconds,
                seconds=time.monotonic() - began - body.read_seconds,
            )
        )
        return ack

    def _carry_out(
        self,
        packet: Packet,
        headers: RequestHeaders,
        found: _Found,
        caller: Caller,
        environ: dict[str, Any],
        body: RequestBody,
        is_override: bool,
    ) -> Ack:
        if found is None:
            raise PathNotFound("no virtual directory has this URL")
        manager, path = found
        if not manager.directory.upload_enabled:
            raise UploadsNotEnabled(
                f"uploads to {manager.directory.url} are off: set upload_enabled = true"
            )
        refuse_foreign_origin(environ, manager.directory.public_url)
        uploader = caller.uploader()
        session_text = headers.get(names.BITS_SESSION_ID)
        home = manager.directory.home_of(uploader.user)
        refuse_impossible_home(home)
        if isinstance(packet, Ping):
            return Ack(session_id=session_text)
        destination = parse_destination(path, home)
        if isinstance(packet, CreateSession):
            url = original_url(environ, manager.directory)
            return _create(manager, destination, uploader, url, is_override)
        if packet.session_id is None:
            raise SessionNotFound("the session id is none: a GUID in braces was expected")
        if isinstance(packet, Fragment):
            content_range = packet.content_range
            outcome = manager.receive_fragment(
                packet.session_id,
                content_range,
                destination,
                uploader,
                body.blocks(content_range.length),
                is_here=content_range.is_whole and body.is_here(),
            )
            return Ack(
                session_id=session_text,
                received_length=outcome.received_length,
                reply_url=outcome.reply_url,
            )
        if isinstance(packet, CloseSession):
            manager.close_session(packet.session_id, destination, uploader)
        else:
            manager.cancel_session(packet.session_id, destination, uploader)
        return Ack(session_id=session_text)

    def _refuse(
        self, error: BitsError, headers: RequestHeaders, found: _Found, caller: Caller
    ) -> Ack:
        session_text = headers.get(names.BITS_SESSION_ID)
        kind = packet_type_of(headers)
        received = None
        if kind is Fragment and found and not isinstance(error, SessionNotFound):
            received = _received_length(found, session_text, caller)
            if received is None and isinstance(error, FragmentOutOfOrder):
                error = SessionNotFound("the session was removed meanwhile")  # no 416 without N
        return Ack.of_error(error, session_text, received)


def _create(
    manager: SessionManager,
    destination: DestinationPath,
    uploader: Uploader,
    url: str,
    is_override: bool,
) -> Ack:
    session_id = manager.create_session(destination, uploader, url)
    directory = manager.directory
    return Ack(
        status=201 if is_override else 200,  # what those clients insist on [field]
        session_id=str(session_id),
        opens_session=True,
        host_id=directory.host_id or None,
        host_id_fallback_seconds=directory.host_id_fallback_timeout,
    )


def _received_length(
    found: tuple[SessionManager, bytes], session_text: str | None, caller: Caller
) -> int | None:
    """The next expected byte, where the refused Fragment names a session it may go on with."""
    manager, path = found
    try:
        session_id = SessionId.parse(session_text or "")
        uploader = caller.uploader()
        destination = parse_destination(path, manager.directory.home_of(uploader.user))
        return manager.received_length(session_id, destination, uploader)
    except (BitsError, OSError):
        return None


def _request_headers(environ: dict[str, Any]) -> RequestHeaders:
    fields = [
        (key[len("HTTP_") :].replace("_", "-"), value)
        for key, value in environ.items()
        if key.startswith(_BITS_PREFIX)
    ]
    fields += [(name, environ[key]) for key, name in _PLAIN_FIELDS.items() if key in environ]
    if is_delivered_chunked(environ):
        fields.append((names.TRANSFER_ENCODING, environ["HTTP_TRANSFER_ENCODING"]))
    return RequestHeaders(fields)


def _path(environ: dict[str, Any]) -> bytes:
    """WSGI has decoded the path once and has one character a byte."""
    path: str = environ.get("PATH_INFO", "")
    return path.encode("latin-1")
