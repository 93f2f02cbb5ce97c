"""Servers that are none for BITS, each on a free port, stopped when the context is left."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class PlainHandler(BaseHTTPRequestHandler):
    """Answers everything with 200 and a page, as many devices do."""

    protocol_version = "HTTP/1.1"
    fields: tuple[tuple[str, str], ...] = ()

    def answer(self) -> None:
        """Any method."""
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<h1>It works</h1>"
        self.send_response(200)
        for name, value in self.fields:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_BITS_POST = do_POST = answer  # noqa: N815  (the library looks for such names)

    def log_message(self, *_: object) -> None:
        """The test says what is interesting."""


class AncientHandler(PlainHandler):
    """An Ack, by HTTP/1.0."""

    protocol_version = "HTTP/1.0"
    fields = (("BITS-Packet-Type", "Ack"),)


class ForgetfulHandler(PlainHandler):
    """An Ack from which something in front took the session id."""

    fields = (("BITS-Packet-Type", "Ack"),)


class DownloadHandler(BaseHTTPRequestHandler):
    """Knows GET only: the library answers the rest with 501."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """The test says what is interesting."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The URL of a server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/upload"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def speaking(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """The URL of a port where each connection is given to ``answer``, and closed then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    answer(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/upload"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            assert not thread.is_alive()
