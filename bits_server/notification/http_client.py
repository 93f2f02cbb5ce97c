"""The back-end client over HTTP and HTTPS, by reference and by value.

The rule of this file: one notification is one POST on a connection of its own. No connection is
kept, because a stale one would need a repetition, and an application that is told twice files
twice. No redirects, no proxies, no credentials from the environment: nobody but the settings says
where a file is sent.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import BinaryIO
from urllib.parse import urlsplit

from bits_server.notification.deadline import Deadline
from bits_server.notification.interface import Keep
from bits_server.notification.whole_response import WholeResponse
from bits_server.protocol.errors import (
    ApplicationBroken,
    ApplicationTimedOut,
    ApplicationUnreachable,
    EntityVanished,
)
from bits_server.protocol.notifications import (
    NotificationRequest,
    NotificationResponse,
    with_query,
)
from bits_server.version import VERSION

BLOCK_BYTES = 1 << 18
CONNECT_SECONDS = 30.0  # for each address of the host
LONGEST_ERROR = 200  # characters of what a library says of the answer


class HttpBackEndClient:
    """A BackEndClient for one notification URL."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        headers: Iterable[tuple[str, str]] = (),
        ca_file: str | None = None,
        maximum_reply_bytes: int,
    ) -> None:
        """``url``: absolute; ``timeout``: seconds for the whole of one notification.

        ``ca_file``: whom to trust instead of this machine's authorities. Raises OSError where it
        cannot be read or has no certificates.
        """
        parts = urlsplit(url)
        self._url = url
        self._host = parts.hostname or ""
        self._timeout = timeout
        self._headers = tuple(headers)
        self._maximum_reply_bytes = maximum_reply_bytes
        self._tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)

    def notify(
        self, request: NotificationRequest, entity: BinaryIO | None, keep: Keep | None
    ) -> NotificationResponse:
        with Deadline(self._timeout) as deadline, self._connected(deadline) as connection:
            with _failing_as_broken(deadline, "sending"):
                self._send(connection, request, entity, deadline)
            with _failing_as_broken(deadline, "waiting for the answer"):
                answer = connection.getresponse()
            with answer:
                response = NotificationResponse.read(answer.status, answer.headers.get)
                is_kept = keep is not None and response.static_response_url is None
                length = 0
                for block in self._body(answer, deadline, is_kept):
                    if is_kept and keep is not None:
                        keep(block)
                        length += len(block)
            return replace(response, body_length=length)

    @contextmanager
    def _connected(self, deadline: Deadline) -> Iterator[HTTPConnection]:
        kind = HTTPSConnection if self._tls else HTTPConnection
        connection = kind(self._host, self._port)
        connection.response_class = WholeResponse
        try:
            try:
                connection.sock = self._connect(deadline)
            except (OSError, ValueError) as error:
                if deadline.has_passed:
                    raise _timed_out(deadline, "connecting") from error
                raise ApplicationUnreachable(
                    f"no connection to {self._host} port {self._port}: {error}"
                ) from error
            yield connection
        finally:
            connection.close()

    def _connect(self, deadline: Deadline) -> socket.socket:
        connection = self._reach(deadline)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is None:
                deadline.watch(connection)
                return connection
            connection = self._tls.wrap_socket(
                connection, server_hostname=self._host, do_handshake_on_connect=False
            )
            deadline.watch(connection)
            connection.do_handshake()
            return connection
        except BaseException:
            connection.close()
            raise

    def _reach(self, deadline: Deadline) -> socket.socket:
        """The first address that answers. A name may have any number: the deadline is of all."""
        failure = OSError("the name has no address")
        for *_, address in socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM):
            seconds = min(CONNECT_SECONDS, deadline.remaining)
            try:
                return socket.create_connection((str(address[0]), self._port), seconds)
            except OSError as error:
                failure = error
            if deadline.has_passed:
                break
        raise failure

    def _send(
        self,
        connection: HTTPConnection,
        request: NotificationRequest,
        entity: BinaryIO | None,
        deadline: Deadline,
    ) -> None:
        parts = urlsplit(with_query(self._url, request.query))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.putrequest("POST", target, skip_accept_encoding=True)
        fields = [
            ("User-Agent", f"bits-server/{VERSION}"),
            ("Accept", "*/*"),
            ("Accept-Encoding", "identity"),
            ("Connection", "close"),
            ("Content-Length", str(request.entity_length)),
            *request.header_fields(),
            *self._headers,
        ]
        if entity is not None:
            fields.append(("Content-Type", "application/octet-stream"))
        for name, value in fields:
            connection.putheader(name, value.encode("latin-1"))
        try:
            connection.endheaders(None if entity is None else _exactly(entity, request))
        except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            if deadline.has_struck:
                raise
            # It may have answered before it had read everything: that answer counts. (A reset
            # while we write is an SSLEOFError over TLS.)

    def _body(self, answer: HTTPResponse, deadline: Deadline, is_kept: bool) -> Iterator[bytes]:
        """The body of the answer. Raises ApplicationBroken where it is cut off or too long."""
        length = 0
        if is_kept:
            self._refuse_oversized(answer.length or 0)
        while True:
            with _failing_as_broken(deadline, "reading the answer"):
                block = answer.read(BLOCK_BYTES)
            if not block:
                break
            length += len(block)
            if is_kept:
                self._refuse_oversized(length)
            elif length > self._maximum_reply_bytes:
                return  # enough of what is thrown away
            yield block
        if deadline.has_struck:
            raise _timed_out(deadline, "reading the answer")
        if answer.length:  # http.client tells it of a chunked body only
            raise ApplicationBroken(f"its answer ended {answer.length} bytes early")

    def _refuse_oversized(self, length: int) -> None:
        if length > self._maximum_reply_bytes:
            raise ApplicationBroken(
                f"its reply has {length} bytes or more, maximum_reply_size is "
                f"{self._maximum_reply_bytes}"
            )


def _exactly(entity: BinaryIO, request: NotificationRequest) -> Iterator[bytes]:
    """As many bytes as were announced, whatever becomes of the file meanwhile."""
    missing = request.entity_length
    while missing:
        block = entity.read(min(BLOCK_BYTES, missing))
        if not block:
            raise EntityVanished("the request entity became shorter while it was sent")
        missing -= len(block)
        yield block


@contextmanager
def _failing_as_broken(deadline: Deadline, what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, HTTPException, ValueError) as error:
        if deadline.has_passed:
            raise _timed_out(deadline, what) from error
        # The text may be the application's: a record and a log line want it short and printable.
        text = str(error)[:LONGEST_ERROR].encode("unicode_escape").decode()
        raise ApplicationBroken(f"{what}: {type(error).__name__}: {text}") from error


def _timed_out(deadline: Deadline, what: str) -> ApplicationTimedOut:
    return ApplicationTimedOut(
        f"no whole answer within {deadline.seconds:g} s (notification_timeout): {what} took longer"
    )
