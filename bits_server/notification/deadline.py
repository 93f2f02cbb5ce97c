"""A limit in time for a whole conversation over one socket.

The rule of this file: a time-out of a socket is one of silence only, and who sends a byte now and
then passes it for ever. So at the deadline the connection is shut down from another thread, which
ends whatever wait it is in.
"""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType


class Deadline:
    """``seconds`` from now on. In its context the connection that is ``watched`` is limited."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None
        self.has_struck = False  # what ended then did not end by itself
        self._timer = threading.Timer(seconds, self._shut_down)
        self._timer.daemon = True

    def __enter__(self) -> Deadline:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._connection = None

    @property
    def remaining(self) -> float:
        """Seconds, never quite none: a time-out of 0 would mean not to wait at all."""
        return max(self._end - time.monotonic(), 0.001)

    @property
    def has_passed(self) -> bool:
        return time.monotonic() >= self._end

    def watch(self, connection: socket.socket) -> None:
        """From now on the deadline ends what waits for this connection."""
        connection.settimeout(self.remaining)
        with self._lock:
            self._connection = connection
        if self.has_passed:
            self._shut_down()

    def _shut_down(self) -> None:
        with self._lock:
            if self._connection is None:
                return
            self.has_struck = True
            try:
                # Not the method of a TLS socket, which forgets its state under its user's feet.
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
            except OSError:
                pass  # it is closed already
