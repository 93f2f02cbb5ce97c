"""Which files this process touches: none outside, whatever a request says.

The rule of this file: it looks by Python's audit events, before anything is done, at the thread
that serves a request and at no other time. A path in relation to a folder that is open must not
climb.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHANGES = {
    *("os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir"),
    *("os.setxattr", "os.symlink", "os.truncate", "os.utime"),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# What Python and its libraries read by themselves: modules, zones of time, names of hosts.
_READ_BY_OTHERS = ("/dev/", "/etc/", "/proc/", "/usr/", sys.prefix, sys.base_prefix)
_REPOSITORY = str(Path(__file__).parents[2])


class _Watched(threading.local):
    root: str | None = None
    touched: list[str]


_watched = _Watched()


@contextmanager
def watching(root: Path) -> Iterator[list[str]]:
    """What is touched outside ``root`` in this thread; a list that grows."""
    _install()
    touched = _watched.touched = list[str]()
    _watched.root = str(root)
    try:
        yield touched
    finally:
        _watched.root = None


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    root = _watched.root
    if root is None or not (event == "open" or event in _CHANGES):
        return
    is_change = event != "open" or bool((arguments[2] or 0) & _WRITING)
    names = arguments[:2] if event in ("os.link", "os.rename") else arguments[:1]
    for name in names:
        if isinstance(name, int) or name is None or _is_fine(os.fsdecode(name), root, is_change):
            continue
        _watched.touched.append(f"{event} {name!r}")


def _is_fine(path: str, root: str, is_change: bool) -> bool:
    if not os.path.isabs(path):
        return ".." not in path.split("/")
    real = os.path.normpath(path)
    if real == root or real.startswith(root + "/"):
        return True
    if "/__pycache__/" in real or real == os.devnull:
        return True
    return not is_change and real.startswith((*_READ_BY_OTHERS, _REPOSITORY))


_installed = threading.Lock()


def _install() -> None:
    """Once: an audit hook stays for good."""
    if _installed.acquire(blocking=False):
        sys.addaudithook(_hook)
