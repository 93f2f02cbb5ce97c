"""The regular clean-up, in a thread of each serving process.

Whose turn it is, is decided on disk: the store lets one process at a time clean up, and remembers
when that was last done, so that workers, restarts and machines with one folder do not repeat it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable

from bits_server.sessions.cleanup import Cleanup

LONGEST_TICK_SECONDS = 600.0

_log = logging.getLogger("bits_server")


class Housekeeper:
    """Runs the clean-ups of a process when they are due."""

    def __init__(self, cleanups: Iterable[tuple[Cleanup, float]]) -> None:
        """``cleanups``: each with its interval in seconds."""
        self._cleanups = tuple(cleanups)
        shortest = min((interval for _, interval in self._cleanups), default=LONGEST_TICK_SECONDS)
        self._tick_seconds = min(shortest / 10, LONGEST_TICK_SECONDS)

    def start(self) -> None:
        """Clean up from now on, in this process and in those that it forks."""
        os.register_at_fork(after_in_child=self._start_thread)
        self._start_thread()

    def _start_thread(self) -> None:
        threading.Thread(target=self._run, name="housekeeper", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(self._tick_seconds)
            self.clean_up()

    def clean_up(self) -> None:
        """Run what is due; a failure is logged and does not end the housekeeping."""
        for cleanup, interval in self._cleanups:
            try:
                cleanup.run_if_due(interval)
            except Exception:
                _log.exception("the clean-up failed; it is tried again")


def give_way() -> None:
    """Let the threads that serve packets have their turn."""
    time.sleep(0.001)
