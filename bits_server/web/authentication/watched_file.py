"""A small text file that is read again when it changes.

The rule of this file: a look costs one ``stat``. A file that cannot be read is an error at the
time of the look: neither the old content nor nothing would be what the administrator wants.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_Stamp = tuple[int, int, int, int]


class WatchedFile(Generic[T]):
    """What ``parse`` makes of the text of ``path``. Used by several threads at once."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        """Reads nothing yet."""
        self.path = path
        self._parse = parse
        self._lock = threading.Lock()
        self._known: tuple[_Stamp, T] | None = None

    def content(self) -> T:
        """As the file is now. Raises OSError, and what ``parse`` raises."""
        stamp = _stamp(os.stat(self.path))
        known = self._known
        if known is not None and known[0] == stamp:
            return known[1]
        with self._lock:
            with open(self.path, encoding="utf-8", errors="surrogateescape") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                content = self._parse(file.read())
            self._known = (stamp, content)
        return content


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
