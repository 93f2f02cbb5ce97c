"""Waiting for something to become true, without sleeping longer than needed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress


def wait_until(holds: Callable[[], bool], *, seconds: float = 20.0) -> None:
    """Return as soon as ``holds()``. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        pause.wait(0.005)


def is_listening(address: tuple[str, int] | str) -> bool:
    """Whether a connection to an address, or to the path of a socket, is taken at this moment."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with suppress(OSError), socket.socket(family) as probe:
        probe.settimeout(5)
        probe.connect(address)
        return True
    return False
