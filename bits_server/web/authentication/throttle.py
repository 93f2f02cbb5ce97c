"""Slows down an address from which wrong credentials come again and again.

The rule of this file: nobody is locked out for ever, and nobody's memory grows. The longest wait is
a minute; ten quiet minutes, and all is forgotten. Each worker process counts by itself. Once an
address is slow, its guesses are looked at one after the other: a wait counts for all who come at
once.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

FREE_FAILURES = 5  # a user mistypes, a stored password is old
LONGEST_WAIT_SECONDS = 60
FORGOTTEN_AFTER_SECONDS = 600
MAXIMUM_ADDRESSES = 10_000


@dataclass(slots=True)
class _Failures:
    """Of one address: how many, when the last one was, and whether a guess is being looked at."""

    count: int
    last: float
    has_turn: bool = False

    def is_slow(self, now: float) -> bool:
        return self.count >= FREE_FAILURES and now - self.last <= FORGOTTEN_AFTER_SECONDS

    def wait_seconds(self, now: float) -> float:
        # Thousands of doublings would be a number that nothing can reckon with.
        doublings = min(max(self.count - FREE_FAILURES, 0), LONGEST_WAIT_SECONDS.bit_length())
        wait = min(1 << doublings, LONGEST_WAIT_SECONDS)
        return wait if self.has_turn else max(0.0, self.last + wait - now)


class Throttle:
    """Failures by address; IPv6 by network, for one client has 2^64 addresses."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock``: seconds from anywhere."""
        self._clock = clock
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, address: str) -> Iterator[float]:
        """How long credentials from ``address`` are not looked at; 0 for most.

        Where it is 0, nobody else from an address that was slow has a turn in this context.
        """
        found = self._failures.get(_network_of(address)) if self._failures else None
        if found is None or not found.is_slow(self._clock()):
            yield 0
            return
        with self._lock:
            wait = found.wait_seconds(self._clock())
            if not wait:
                found.has_turn = True
        try:
            yield wait
        finally:
            if not wait:
                found.has_turn = False

    def add(self, address: str) -> int:
        """Note a failure; how many there were lately from there."""
        network, now = _network_of(address), self._clock()
        with self._lock:
            found = self._failures.pop(network, None) or _Failures(0, now)
            found.count = 1 if now - found.last > FORGOTTEN_AFTER_SECONDS else found.count + 1
            found.last = now
            self._failures[network] = found
            if len(self._failures) > MAXIMUM_ADDRESSES:
                self._failures.popitem(last=False)
            return found.count


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
