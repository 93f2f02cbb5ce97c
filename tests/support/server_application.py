"""A real server application on loopback: it answers as the test says, and remembers what it got."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

BLOCK = 1 << 18
REQUEST_PATH = "BITS-Request-DataFile-Name"
RESPONSE_PATH = "BITS-Response-DataFile-Name"


@dataclass(frozen=True)
class Notification:
    """One request as it came. ``headers`` by lower-case name; ``sha256`` of the body."""

    target: str
    headers: Mapping[str, str]
    length: int
    sha256: str

    def path(self, name: str) -> Path:
        """Of a file that the server names."""
        return Path(self.headers[name.lower()].encode("latin-1").decode())


@dataclass(frozen=True)
class Answer:
    """``reply``: by reference written to the file that the server names, by value the body.

    ``reply_bytes``: instead, so many zeros. ``is_cut``: the connection ends before the answer does.
    ``before``: called first, and may keep the client waiting.
    """

    status: int = 200
    fields: Mapping[str, str] = field(default_factory=dict)
    reply: bytes | None = None
    reply_bytes: int = 0
    is_cut: bool = False
    before: Callable[[Notification], object] = lambda _notification: None


class ServerApplication:
    """``answer`` may be replaced at any time. ``notifications``: all that came, in order.

    ``is_listening`` off: its address is its own, and refuses connections until ``listen()``.
    """

    def __init__(
        self,
        answer: Answer | None = None,
        tls: ssl.SSLContext | None = None,
        *,
        is_listening: bool = True,
    ) -> None:
        self.answer = answer or Answer()
        self.notifications: list[Notification] = []
        application = self

        class Handler(_Handler):
            owner = application

        self._server = _Server(("127.0.0.1", 0), Handler, bind_and_activate=False)
        self._server.server_bind()
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._is_listening = is_listening
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}/handle"

    def __enter__(self) -> ServerApplication:
        if self._is_listening:
            self.listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self._thread.ident is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def listen(self) -> None:
        """From now on connections are taken."""
        self._server.server_activate()
        self._thread.start()

    @property
    def calls(self) -> int:
        return len(self.notifications)


_held: list[socket.socket] = []


def refused_url() -> str:
    """Where nobody listens, and nobody can as long as this process lives."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    _held.append(holder)
    return f"http://127.0.0.1:{holder.getsockname()[1]}/handle"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # some of them wait for what the test will not do
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is what some tests want."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: ServerApplication

    def do_POST(self) -> None:
        length, digest = int(self.headers["Content-Length"]), hashlib.sha256()
        missing = length
        while missing:
            block = self.rfile.read(min(BLOCK, missing))
            if not block:
                return
            digest.update(block)
            missing -= len(block)
        headers = {name.lower(): value for name, value in self.headers.items()}
        notification = Notification(self.path, headers, length, digest.hexdigest())
        answer = self.owner.answer
        self.owner.notifications.append(notification)
        answer.before(notification)
        self._send(notification, answer)

    def _send(self, notification: Notification, answer: Answer) -> None:
        is_by_reference = RESPONSE_PATH.lower() in notification.headers
        body = answer.reply or b""
        if is_by_reference and answer.reply is not None:
            notification.path(RESPONSE_PATH).write_bytes(answer.reply)
            body = b"thrown away"
        length = answer.reply_bytes or len(body)
        self.send_response_only(answer.status)
        for name, value in answer.fields.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(length + (50 if answer.is_cut else 0)))
        if answer.is_cut and answer.status == 204:
            self.wfile.write(b"HTTP/1.1 204 No")
        else:
            self.end_headers()
            if answer.status not in (204, 304):
                self.wfile.write(body)
        for start in range(0, answer.reply_bytes, BLOCK):
            self.wfile.write(bytes(min(BLOCK, answer.reply_bytes - start)))
        if answer.is_cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """The test says what is interesting."""
