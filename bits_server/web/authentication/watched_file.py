"""A small text file that is read again when it changes.

The rule of this file: a look costs one ``stat``. A file that cannot be read is an error at the
time of the look: neither the old content nor nothing would be what the administrator wants. Half
of a file is waited for: ``htpasswd`` and others empty it before they write it anew, and a user who
is not in it at that moment would be refused, which ends his uploads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

_Stamp = tuple[int, int, int, int]

QUIET_SECONDS = 0.1  # without a change: then whoever wrote it is done
MOST_LOOKS = 20


class WatchedFile(Generic[T]):
    """What ``parse`` makes of the text of ``path``. Used by several threads at once."""

    def __init__(self, path: str, parse: Callable[[str], T]) -> None:
        """``parse`` raises ValueError for a text that cannot be used. Reads nothing yet."""
        self.path = path
        self._parse = parse
        self._lock = threading.Lock()
        self._known: tuple[_Stamp, T | ValueError] | None = None

    def content(self) -> T:
        """As the file is now. Raises OSError; ValueError as ``parse`` does."""
        known = self._known
        if known is None or known[0] != _stamp(os.stat(self.path)):
            known = self._known_anew()
        if isinstance(known[1], ValueError):
            raise ValueError(*known[1].args)
        return known[1]

    def _known_anew(self) -> tuple[_Stamp, T | ValueError]:
        with self._lock:
            known = self._known
            if known is not None and known[0] == _stamp(os.stat(self.path)):
                return known  # another thread has just read it
            stamp, text = self._read()
            content: T | ValueError
            try:
                content = self._parse(text)
            except ValueError as error:
                content = error
            self._known = known = (stamp, content)
        return known

    def _read(self) -> tuple[_Stamp, str]:
        """As it stays for a while; where somebody never stops writing, as it is.

        Its time alone does not tell: an emptied file has that of its last change for a moment.
        """
        for _ in range(MOST_LOOKS):
            # Windows' editors begin a file with a mark of its encoding.
            with open(self.path, encoding="utf-8-sig", errors="surrogateescape") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                text = file.read()
            if self._known is None and time.time() - stamp[0] / 1e9 > QUIET_SECONDS:
                break  # nobody is at it
            time.sleep(QUIET_SECONDS)
            if _stamp(os.stat(self.path)) == stamp:
                break
        return stamp, text


def _stamp(status: os.stat_result) -> _Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev
