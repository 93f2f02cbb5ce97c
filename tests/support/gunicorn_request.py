"""gunicorn's own reader of requests, at the end of a socket pair: no process, no thread of it."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.parser import RequestParser

_CLIENT = ("192.0.2.1", 50_000)
_SERVER = ("bits.test", 80)


class GunicornConnection:
    """The server's end of a connection, read as a worker of gunicorn reads it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._config = Config()
        self._parser = RequestParser(self._config, connection, _CLIENT)

    def next_environ(self) -> dict[str, Any]:
        """The next request, as an application gets it. StopIteration: there is none."""
        self.socket.settimeout(None)
        request = next(self._parser)
        _, environ = wsgi.create(request, self.socket, _CLIENT, _SERVER, self._config)
        return dict(environ)

    def can_go_on(self) -> bool:
        """Whether gunicorn would keep the connection after the request."""
        return bool(self._parser.finish_body(deadline=time.monotonic() + 5))


@contextmanager
def gunicorn_connection() -> Iterator[tuple[GunicornConnection, socket.socket]]:
    """The server's end and the client's."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield GunicornConnection(ours), theirs


@contextmanager
def sending(connection: socket.socket, segments: Iterable[bytes]) -> Iterator[None]:
    """Send so that each segment is received by itself, from a thread; all within the context."""

    def send() -> None:
        for segment in segments:
            connection.sendall(segment)
            deadline = time.monotonic() + 20
            while _is_on_its_way(connection) and time.monotonic() < deadline:
                os.sched_yield()

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _is_on_its_way(connection: socket.socket) -> bool:
    """Whether the other end has yet to read what was sent."""
    (left,) = struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))
    return bool(left)
