"""How many sessions there are, by virtual directory and state.

The rule of this file: nobody waits for a count, neither a packet nor a scrape for longer than a
moment. One is made only where somebody asks, by one process at a time, in a thread, and so rarely
that it takes no more than a fiftieth of that thread's time.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bits_server.storage.interface import Countable

FRESH_SECONDS = 10.0
SHARE = 50  # of the time that a count took, until the next one
PATIENCE_SECONDS = 0.5  # a scrape waits so long for a count of few sessions
PAUSE_EVERY = 64  # sessions counted, then the threads that serve packets get their turn
UNREADABLE = "unreadable"

_FILE = "census.json"
_LOCK = "census.lock"


@dataclass(frozen=True, slots=True)
class Count:
    """``ended``: seconds since 1970. ``seconds``: what it took. ``sessions``: by URL and state."""

    ended: float
    seconds: float
    sessions: dict[str, dict[str, int]]


class Census:
    """Counts the sessions of the stores."""

    def __init__(
        self,
        stores: Mapping[str, Countable],
        folder: str | None = None,
        *,
        pause: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``stores``: by URL of the virtual directory. ``folder``: where processes share a count;
        None for one process. ``pause``: called now and then. ``clock``: seconds since 1970.
        """
        self._stores = dict(stores)
        self._folder = folder
        self._pause = pause
        self._clock = clock
        self._kept: Count | None = None
        self._guard = threading.Lock()

    def latest(self) -> Count | None:
        """The last count, also of another process; None before the first. Starts one that is due.

        It may name virtual directories that are gone meanwhile.
        """
        if self._is_due(self._load()):
            thread = threading.Thread(target=self._count_if_due, name="census", daemon=True)
            thread.start()
            thread.join(PATIENCE_SECONDS)
        return self._load()

    def _is_due(self, count: Count | None) -> bool:
        if count is None:
            return True
        age = self._clock() - count.ended
        return not 0 <= age < max(FRESH_SECONDS, SHARE * count.seconds)

    def _count_if_due(self) -> None:
        with self._alone() as is_alone:
            if is_alone and self._is_due(self._load()):  # still: nobody was faster
                self._keep(self._count())

    def _count(self) -> Count:
        began = time.monotonic()
        sessions = {}
        for url, store in self._stores.items():
            found: Counter[str] = Counter()
            try:
                for number, state in enumerate(store.states(), 1):
                    found[UNREADABLE if state is None else state.value] += 1
                    if number % PAUSE_EVERY == 0:
                        self._pause()
            except OSError:
                continue  # the look at the folder's health says why
            sessions[url] = dict(found)
        return Count(self._clock(), time.monotonic() - began, sessions)

    @contextmanager
    def _alone(self) -> Iterator[bool]:
        """Whether this thread may count; the lock of one that was killed is free."""
        if not self._guard.acquire(blocking=False):
            yield False
            return
        try:
            if self._folder is None:
                yield True
                return
            with open(os.path.join(self._folder, _LOCK), "wb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    yield False
                else:
                    yield True
        finally:
            self._guard.release()

    def _load(self) -> Count | None:
        if self._folder is None:
            return self._kept
        try:
            with open(os.path.join(self._folder, _FILE), encoding="utf-8") as file:
                return Count(**json.load(file))
        except FileNotFoundError:
            return None

    def _keep(self, count: Count) -> None:
        self._kept = count
        if self._folder is None:
            return
        path = os.path.join(self._folder, _FILE)
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump(asdict(count), file)
        os.rename(path + ".new", path)
