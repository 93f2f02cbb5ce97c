"""Many clients on slow lines at once, in one thread: each sends a Fragment a little at a time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

STEP_SECONDS = 0.1


class SlowClients:
    """For the time of the context each of ``requests`` trickles in on a connection of its own.

    ``rate``: bytes per second and client. Leaving the context sends what is left at once; then
    ``answers`` has the status line that each got.
    """

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], *, rate: int) -> None:
        self._address = address
        self._left = [memoryview(request) for request in requests]
        self._connections: list[socket.socket] = []
        self._step = int(rate * STEP_SECONDS)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._trickle)
        self.steps = 0
        self.answers: list[bytes] = []

    def __enter__(self) -> SlowClients:
        for _ in self._left:
            self._connections.append(socket.create_connection(self._address, 30.0))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        try:
            for connection, left in zip(self._connections, self._left, strict=True):
                connection.sendall(left)
            for connection in self._connections:
                self.answers.append(connection.recv(65536).split(b"\r\n", 1)[0])
        finally:
            for connection in self._connections:
                connection.close()

    def _trickle(self) -> None:
        while not self._end.wait(STEP_SECONDS):
            for number, connection in enumerate(self._connections):
                connection.sendall(self._left[number][: self._step])
                self._left[number] = self._left[number][self._step :]
            self.steps += 1
