"""A server application that is a script over a raw socket: what can go wrong goes wrong here."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

Script = Callable[[socket.socket], None]


class RawApplication:
    """Each connection is given to ``script``, one after the other. ``failures``: what it raised.

    ``path``: of a unix socket to listen at, in place of a port.
    """

    def __init__(
        self, script: Script, tls: ssl.SSLContext | None = None, *, path: Path | None = None
    ) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0)) if path is None else _unix(path)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.port: int = self._listener.getsockname()[1] if path is None else 0
        self.connections = 0
        self.failures: list[Exception] = []

    def __enter__(self) -> RawApplication:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(20)
        self._listener.close()
        assert not self._thread.is_alive(), "the script does not end"

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                connection.settimeout(20)
                try:
                    self._run(connection)
                except OSError as failure:  # the client went away: some tests want just that
                    self.failures.append(failure)

    def _run(self, connection: socket.socket) -> None:
        if self._tls is None:
            self._script(connection)
            return
        with self._tls.wrap_socket(connection, server_side=True) as encrypted:
            self._script(encrypted)


def _unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    return listener


def read_request(connection: socket.socket) -> tuple[str, list[tuple[str, str]], bytes]:
    """Start line, header fields in order, body."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    fields = [(line.partition(": ")[0], line.partition(": ")[2]) for line in lines]
    length = next(int(value) for name, value in fields if name == "Content-Length")
    while len(body) < length:
        body += _some(connection)
    return start, fields, body


def _some(connection: socket.socket) -> bytes:
    received = connection.recv(1 << 16)
    if not received:
        raise ConnectionError("the request ended early")
    return received
