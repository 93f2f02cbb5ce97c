"""From the path of a URL to the virtual directory that it is in."""

from __future__ import annotations

from collections.abc import Iterable

from bits_server.sessions.manager import SessionManager


class VirtualDirectories:
    """The managers by URL prefix; a prefix matches whole segments, the longest wins."""

    def __init__(self, managers: Iterable[SessionManager]) -> None:
        by_prefix = ((manager.directory.url.rstrip("/").encode(), manager) for manager in managers)
        self._by_prefix = sorted(by_prefix, key=lambda pair: len(pair[0]), reverse=True)

    def find(self, path: bytes) -> tuple[SessionManager, bytes] | None:
        """The manager for a decoded path, and what follows the virtual directory's slash."""
        for prefix, manager in self._by_prefix:
            if path.startswith(prefix):
                rest = path[len(prefix) :]
                if not rest or rest.startswith(b"/"):
                    return manager, rest[1:]
        return None
