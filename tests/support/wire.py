"""Ways to send a request to the server: over a raw socket, or into the WSGI application.

Both give an Answer and know nothing of the protocol; ``bits_client`` speaks it over either.
"""

from __future__ import annotations

import io
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from werkzeug.test import run_wsgi_app

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """One response. ``headers`` by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def __getitem__(self, name: str) -> str:
        return self.headers[name.lower()]

    def get(self, name: str) -> str | None:
        return self.headers.get(name.lower())


class Sender(Protocol):
    def send(
        self, method: str, target: str, headers: Headers = (), body: bytes = b""
    ) -> Answer: ...


class WireSender:
    """A connection over a raw socket; ``is_kept`` off opens a new one for each request.

    ``tls``: with which to speak to localhost. ``source``: the address that the server sees.
    ``host``: what the requests call the server.
    """

    def __init__(
        self,
        address: Any,
        *,
        is_kept: bool = True,
        timeout: float = 60.0,
        tls: ssl.SSLContext | None = None,
        source: str = "",
        host: str = "bits.test",
    ) -> None:
        self._address = address
        self._is_kept = is_kept
        self._timeout = timeout
        self._tls = tls
        self._source = source
        self._host = host
        self._socket: socket.socket | None = None
        self._left = b""
        self.connections = 0

    def __enter__(self) -> WireSender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._left = b""

    def connect(self) -> socket.socket:
        """The open connection, made where there is none."""
        if self._socket is None:
            family = socket.AF_UNIX if isinstance(self._address, str) else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.settimeout(self._timeout)
            if self._source:
                self._socket.bind((self._source, 0))
            self._socket.connect(self._address)
            if self._tls is not None:
                self._socket = self._tls.wrap_socket(self._socket, server_hostname="localhost")
            self.connections += 1
        return self._socket

    def send(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Answer:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return self.send_bytes("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send_bytes(self, request: bytes) -> Answer:
        """Send exactly these bytes, and read one answer."""
        connection = self.connect()
        try:
            connection.sendall(request)
            answer = self.read_answer(has_body=not request.startswith(b"HEAD "))
        except BaseException:
            self.close()
            raise
        if not self._is_kept or answer.get("Connection") == "close":
            self.close()
        return answer

    def read_answer(self, *, has_body: bool = True) -> Answer:
        """The next answer that is not an interim one. Raises ConnectionError at its end.

        ``has_body``: off for the answer to a HEAD, whose length is that of another answer.
        """
        while True:
            head = self._read_head()
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ", 2)[1])
            pairs = (line.split(":", 1) for line in lines[1:])
            fields = {name.strip().lower(): value.strip() for name, value in pairs}
            if status >= 200:
                length = int(fields.get("content-length", "0")) if has_body and status != 304 else 0
                return Answer(status, fields, self._read(length))

    def _read_head(self) -> bytes:
        while b"\r\n\r\n" not in self._left:
            self._receive()
        head, _, self._left = self._left.partition(b"\r\n\r\n")
        return head

    def _read(self, length: int) -> bytes:
        while len(self._left) < length:
            self._receive()
        body, self._left = self._left[:length], self._left[length:]
        return body

    def _receive(self) -> None:
        assert self._socket is not None
        received = self._socket.recv(65536)
        if not received:
            raise ConnectionError("the server closed the connection")
        self._left += received


class InProcessSender:
    """Requests into a WSGI application, without a server."""

    def __init__(self, app: Any, **environ: Any) -> None:
        self._app = app
        self._environ = environ

    def send(self, method: str, target: str, headers: Headers = (), body: bytes = b"") -> Answer:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "bits.test",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "192.0.2.1",
            "HTTP_HOST": "bits.test",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in headers:
            key = name.upper().replace("-", "_")
            key = key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else "HTTP_" + key
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        environ.update(self._environ)
        chunks, status, fields = run_wsgi_app(self._app, environ, buffered=True)
        named = {name.lower(): value for name, value in fields.items()}
        return Answer(int(status.split()[0]), named, b"".join(chunks))
