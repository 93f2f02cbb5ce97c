"""How many bytes may go out in a second: for one job, and for all of them.

The rule of this file: whoever takes bytes waits for them outside the lock, and stops waiting at
once when told to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bits_server.client.errors import Stopped
from bits_server.client.jobs import Job

BURST_SECONDS = 0.25  # what may go out at once after a pause
PIECE_BYTES = 64 << 10  # taken at once at most, where there is a limit
# A piece takes no longer: servers leave who is silent for a minute, and many may share a limit.
PIECE_SECONDS = 0.25


class Stop(Protocol):
    """A threading.Event, as far as it is needed here."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float | None = None) -> bool: ...


class RateLimiter:
    """Bytes per second for all that share it."""

    def __init__(
        self, bytes_per_second: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``None`` is no limit."""
        if bytes_per_second is not None and bytes_per_second < 1:
            raise ValueError(f"a limit of {bytes_per_second} bytes per second lets nothing through")
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def rate(self) -> int | None:
        return self._rate

    def for_job(self, job: Job) -> JobLimiter:
        """What this job may take: its own limit, and the one that it shares."""
        return JobLimiter([RateLimiter(job.settings.rate_limit, clock=self._clock), self])

    def reserve(self, size: int) -> float:
        """Count ``size`` bytes, and return the seconds to wait before they may go."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - BURST_SECONDS) + size / self._rate
            return max(0.0, self._free_at - now)


class JobLimiter:
    """The limits of one job. ``rate``: the smallest, or None for none."""

    def __init__(self, limits: Sequence[RateLimiter]) -> None:
        self._limits = [limit for limit in limits if limit.rate is not None]
        self.rate = min((limit.rate for limit in self._limits if limit.rate), default=None)

    def piece(self, size: int) -> int:
        """How many of ``size`` bytes to take at once."""
        if self.rate is None:
            return size
        return min(size, PIECE_BYTES, max(1, int(self.rate * PIECE_SECONDS)))

    def take(self, size: int, stop: Stop) -> None:
        """Wait until ``size`` bytes may go out. Raises Stopped."""
        if stop.is_set():
            raise Stopped
        wait = max((limit.reserve(size) for limit in self._limits), default=0.0)
        if wait and stop.wait(wait):
            raise Stopped
