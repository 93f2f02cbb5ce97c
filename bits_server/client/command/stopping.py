"""Ctrl-C and SIGTERM: the job stops where it is, and goes on another time."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from bits_server.client.command.words import NOT_FINISHED

INTERRUPTED = 130
_AT_ONCE = b"\nstopped at once; the same command goes on\n"


class Interruption(threading.Event):
    """``signal``: which one came, 0 for none."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = 0
        self.is_asking = False

    @property
    def exit_code(self) -> int:
        return INTERRUPTED if self.signal == signal.SIGINT else NOT_FINISHED

    def came(self, number: int, _: FrameType | None) -> None:
        """The second time the process ends here: whatever it waits for, nothing is lost."""
        if self.is_set():
            os.write(2, _AT_ONCE)
            os._exit(self.exit_code)
        self.signal = number
        self.set()
        if self.is_asking:
            raise KeyboardInterrupt

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Somebody is asked something: a signal ends the question, too, as KeyboardInterrupt."""
        self.is_asking = True
        try:
            yield
        finally:
            self.is_asking = False


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Set when somebody wants us to stop."""
    event = Interruption()
    before: dict[int, Any] = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)
    }
    for each in before:
        signal.signal(each, event.came)
    try:
        yield event
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
