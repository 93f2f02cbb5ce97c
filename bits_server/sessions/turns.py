"""Who may wait for a server application: a slow one must not stop the uploads of others.

The rule of this file: at least half of a process's threads are left for packets, and of those at
most half again wait for a turn, shortly.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bits_server.protocol.errors import ServiceUnavailable

PATIENCE_SECONDS = 2.0


class Turns:
    """The turns of one process."""

    def __init__(self, threads: int, patience: float = PATIENCE_SECONDS) -> None:
        """``threads``: how many packets this process takes at a time; ``patience``: seconds."""
        self._patience = patience
        self._places = threading.Semaphore(max(1, threads // 2))
        self._queue = threading.Semaphore(threads // 4)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Have one of the places. Raises ServiceUnavailable where none becomes free soon."""
        if not self._take():
            raise ServiceUnavailable(
                "too many uploads wait for the server application: it is slow, or threads are few"
            )
        try:
            yield
        finally:
            self._places.release()

    def _take(self) -> bool:
        if self._places.acquire(blocking=False):
            return True
        if not self._queue.acquire(blocking=False):
            return False
        try:
            return self._places.acquire(timeout=self._patience)
        finally:
            self._queue.release()
