"""The connections of one job, so that whoever stops it need not wait for what never comes.

The rule of this file: a line is cut below TLS, by ending it in both directions; whoever reads or
writes it in another thread finds it broken, and closes it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from weakref import WeakSet


class OpenLines:
    """``sending``: seconds for each piece that is sent over one of them; ``answer``: for the whole
    of an answer, since one that drips never keeps a socket waiting for long."""

    def __init__(self, sending: float, answer: float) -> None:
        self._sending = sending
        self._answer = answer
        self._due: float | None = None
        self._lock = threading.Lock()
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._is_cut = False

    def opened(self, line: Any) -> None:
        """A socket, or TLS over one. Cut at once where all were cut."""
        self.begins(line)
        with self._lock:
            self._sockets.add(_socket_of(line))
            is_cut = self._is_cut
        if is_cut:
            self.cut()

    def begins(self, line: Any) -> None:
        """A request is sent over it: the time limit of the last answer counts no more."""
        line.settimeout(self._sending)

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """Until an answer, or a part of it that is short, is there."""
        self._due = time.monotonic() + self._answer
        try:
            yield
        except Exception as error:
            if self.is_overdue:  # and was cut for that: no line that broke by itself
                raise TimeoutError("the answer took too long") from error
            raise
        finally:
            self._due = None

    @property
    def is_overdue(self) -> bool:
        """Whether somebody should cut them. From any thread."""
        due = self._due
        return due is not None and time.monotonic() > due

    def cut(self) -> None:
        """All of them, and those that are opened later. From any thread."""
        with self._lock:
            self._is_cut = True
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                # Not SSLSocket.shutdown: after that, what another thread sends would go in clear.
                socket.socket.shutdown(each, socket.SHUT_RDWR)


def _socket_of(line: Any) -> socket.socket:
    while not isinstance(line, socket.socket):
        line = line.socket  # urllib3's TLS in TLS
    return line
