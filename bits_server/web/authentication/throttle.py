"""Slows down an address from which wrong credentials come again and again.

The rule of this file: nobody is locked out for ever, and nobody's memory grows. The longest wait is
a minute; ten quiet minutes, and all is forgotten. Each worker process counts by itself.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

FREE_FAILURES = 5  # a user mistypes, a stored password is old
LONGEST_WAIT_SECONDS = 60
FORGOTTEN_AFTER_SECONDS = 600
MAXIMUM_ADDRESSES = 10_000


class Throttle:
    """Failures by address; IPv6 by network, for one client has 2^64 addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds from anywhere."""
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def wait_seconds(self, address: str) -> float:
        """How long credentials from ``address`` are not looked at; 0 for most."""
        count, last = self._failures.get(_network_of(address), (0, 0.0))
        if count < FREE_FAILURES:
            return 0
        wait = min(2.0 ** (count - FREE_FAILURES), LONGEST_WAIT_SECONDS)
        return max(0.0, last + wait - self._clock())

    def add(self, address: str) -> int:
        """Note a failure; how many there were lately from there."""
        network, now = _network_of(address), self._clock()
        with self._lock:
            count, last = self._failures.pop(network, (0, now))
            count = 1 if now - last > FORGOTTEN_AFTER_SECONDS else count + 1
            self._failures[network] = (count, now)
            if len(self._failures) > MAXIMUM_ADDRESSES:
                self._failures.popitem(last=False)
        return count


def _network_of(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
