"""How large the next Fragment should be.

The rule of this file: large enough that the answers cost no time, small enough that one takes some
seconds at most, so that little is lost with a connection, and never more than the server took.
"""

from __future__ import annotations

SMALLEST_BYTES = 5 * 1024  # [MC-BUP] 3.1.5.2.4, note 16
LARGEST_BYTES = 13_000_000
FIRST_BYTES = 4_000_000
QUICK_SECONDS = 1.0
SLOW_SECONDS = 8.0


class FragmentSizes:
    """``size``: bytes of the next Fragment."""

    def __init__(self, limit: int = LARGEST_BYTES, rate: int | None = None) -> None:
        """``limit``: bytes, at least ``SMALLEST_BYTES``; ``rate``: what the line is allowed, in
        bytes per second."""
        if rate is not None:
            limit = min(limit, int(rate * SLOW_SECONDS))
        self._limit = max(SMALLEST_BYTES, min(limit, LARGEST_BYTES))
        self.size = min(FIRST_BYTES, self._limit)

    def took(self, size: int, seconds: float) -> None:
        """A Fragment of that many bytes was acknowledged after so long."""
        if seconds > SLOW_SECONDS:
            self._set(int(size * SLOW_SECONDS / 2 / seconds))
        elif seconds < QUICK_SECONDS and size >= self.size:
            self._set(self.size * 2)

    def broke(self) -> None:
        """A connection was lost in the middle of one."""
        self._set(self.size // 2)

    def refused(self, size: int) -> bool:
        """413: this was too large. Returns False where a smaller one makes no sense."""
        if size <= SMALLEST_BYTES:
            return False
        self._limit = max(SMALLEST_BYTES, size // 2)
        self._set(self._limit)
        return True

    def _set(self, size: int) -> None:
        self.size = max(SMALLEST_BYTES, min(size, self._limit))
