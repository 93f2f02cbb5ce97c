"""Ctrl-C and SIGTERM: the job stops where it is, and goes on another time."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130
NOT_FINISHED = 3


class Interruption(threading.Event):
    """``signal``: which one came, 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = 0

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.signal == signal.SIGINT else NOT_FINISHED


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Set when somebody wants us to stop; the second time the process ends at once."""
    event = Interruption()

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, before[number])
        event.signal = number
        event.set()

    before: dict[int, Any] = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)
    }
    for each in before:
        signal.signal(each, stop)
    try:
        yield event
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
