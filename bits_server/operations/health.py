"""Whether the virtual directories can take uploads now, and why not.

The rule of this file: what is said was tried. One look at a time: a disk that hangs costs one
thread, and not one more each time that somebody asks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

from bits_server.settings import VirtualDirectory
from bits_server.storage.interface import Examinable, FolderUnusable

PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FolderHealth:
    """What was found of the virtual directory ``url``.

    ``problem``: why it takes no uploads, in words; empty where it does. ``free_bytes``: what may be
    written there, None where that cannot be said.
    """

    url: str
    problem: str
    free_bytes: int | None

    def __str__(self) -> str:
        if self.problem:
            return f"{self.url}: not ready: {self.problem}"
        return f"{self.url}: ready, {_in_words(self.free_bytes or 0)} free"


class LookHangs(Exception):
    """An earlier look has not come back; the message says since when."""


class Health:
    """Looks at the folders of the virtual directories."""

    def __init__(
        self,
        folders: Iterable[tuple[VirtualDirectory, Examinable]],
        *,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """``patience``: seconds that a look waits for the one before it."""
        self._folders = tuple(folders)
        self._patience = patience
        self._turn = threading.Lock()
        self._began = 0.0

    def look(self) -> list[FolderHealth]:
        """Each folder, tried out now. Raises LookHangs."""
        if not self._turn.acquire(timeout=self._patience):
            since = time.monotonic() - self._began
            raise LookHangs(f"a look at the folders has not come back for {since:.0f} s")
        try:
            self._began = time.monotonic()
            return [_look_at(directory, store) for directory, store in self._folders]
        finally:
            self._turn.release()


def _look_at(directory: VirtualDirectory, store: Examinable) -> FolderHealth:
    try:
        store.try_out()
        free = store.free_bytes()
    except FolderUnusable as error:
        return FolderHealth(directory.url, str(error), _free_bytes(store))
    except OSError as error:
        return FolderHealth(directory.url, f"{directory.root}: {error.strerror}", None)
    minimum = directory.minimum_free_space
    problem = ""
    if free < minimum:
        problem = (
            f"{directory.root} has {_in_words(free)} free, minimum_free_space is "
            f"{_in_words(minimum)}: make room"
        )
    return FolderHealth(directory.url, problem, free)


def _free_bytes(store: Examinable) -> int | None:
    try:
        return store.free_bytes()
    except OSError:
        return None


def _in_words(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"
