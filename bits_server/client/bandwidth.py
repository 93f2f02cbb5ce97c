"""How many bytes may go out in a second: for one job, for all of them, and who goes first.

The rule of this file: whoever takes bytes waits for them outside the lock, and stops waiting at
once when told to.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from bits_server.client.errors import Stopped
from bits_server.client.jobs import Job, Priority

BURST_SECONDS = 0.25  # what may go out at once after a pause
PIECE_BYTES = 64 << 10  # taken at once at most, where there is a limit
YIELD_SECONDS = 0.05
_UNSEEN_SECONDS = 1.0  # a job that took nothing for so long holds nobody back


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
        self._seen: dict[Priority, float] = {}

    @property
    def is_unlimited(self) -> bool:
        return self._rate is None

    def for_job(self, job: Job) -> JobLimiter:
        """What this job may take: its own limit, and the one that it shares."""
        own = RateLimiter(job.settings.rate_limit, clock=self._clock)
        return JobLimiter([own, self], self, job.priority)

    def reserve(self, size: int) -> float:
        """Count ``size`` bytes, and return the seconds to wait before they may go."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now - BURST_SECONDS) + size / self._rate
            return max(0.0, self._free_at - now)

    def saw(self, priority: Priority) -> bool:
        """Note that a job of this priority sends; whether one before it sends too."""
        with self._lock:
            now = self._clock()
            self._seen[priority] = now
            return any(
                other < priority and now - when < _UNSEEN_SECONDS
                for other, when in self._seen.items()
            )


class JobLimiter:
    """The limits of one job."""

    def __init__(
        self, limits: Sequence[RateLimiter], shared: RateLimiter, priority: Priority
    ) -> None:
        self._limits = [limit for limit in limits if not limit.is_unlimited]
        self._shared = shared
        self._priority = priority

    def piece(self, size: int) -> int:
        """How many of ``size`` bytes to take at once."""
        yields = self._priority is Priority.LOW
        return min(size, PIECE_BYTES) if self._limits or yields else size

    def take(self, size: int, stop: Stop) -> None:
        """Wait until ``size`` bytes may go out. Raises Stopped."""
        if stop.is_set():
            raise Stopped
        is_behind = self._shared.saw(self._priority)
        if is_behind and self._priority is Priority.LOW and stop.wait(YIELD_SECONDS):
            raise Stopped
        wait = max((limit.reserve(size) for limit in self._limits), default=0.0)
        if wait and stop.wait(wait):
            raise Stopped
