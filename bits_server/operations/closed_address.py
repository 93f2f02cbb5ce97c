"""Two applications at two addresses of one server, told apart by the socket a request came in on.

The rule of this file: nothing that a client or a proxy says decides, no path, no Host and no
X-Forwarded field: only the address that the connection was accepted at, as the kernel has it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from bits_server.web.trusted_proxies import WsgiApplication

_ANY = ("0.0.0.0", "::")

# The family of a socket, and what getsockname() gives: a path, or host and port.
SocketName = tuple[int, str | tuple[str, int]]


class ClosedAddress:
    """A WSGI application: ``closed`` for what comes in at the closed address, else ``open``."""

    def __init__(self, open_: WsgiApplication, closed: WsgiApplication, bind: str) -> None:
        """``bind``: HOST:PORT or unix:PATH, one of those that gunicorn listens at.

        Raises OSError where the host has no address. Other WSGI servers do not show the socket:
        under them all that comes is for ``open``.
        """
        self.open = open_
        self.closed = closed
        self._names = frozenset(names_of(bind))

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        connection = environ.get("gunicorn.socket")
        is_closed = connection is not None and came_in_at(connection, self._names)
        return (self.closed if is_closed else self.open)(environ, start_response)


def names_of(bind: str) -> list[SocketName]:
    """The names that a socket bound to HOST:PORT, unix:PATH or fd://NUMBER may have.

    Raises OSError.
    """
    if bind.startswith("unix:"):
        return [(socket.AF_UNIX, _real_path(bind.removeprefix("unix:")))]
    if bind.startswith("fd://"):
        with socket.socket(fileno=os.dup(int(bind.removeprefix("fd://")))) as listener:
            return [name_of(listener)]
    host, _, port = bind.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET  # as gunicorn does
    found = socket.getaddrinfo(host.strip("[]") or _ANY[0], int(port), family, socket.SOCK_STREAM)
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


def name_of(connection: Any) -> SocketName:
    """What the kernel calls our end; a path is that of the file, whatever links led to it."""
    name = connection.getsockname()
    if isinstance(name, tuple):
        return connection.family, (name[0], name[1])
    return connection.family, _real_path(os.fsdecode(name))


@lru_cache(maxsize=64)  # a server has a few
def _real_path(path: str) -> str:
    return path if path.startswith("\0") else os.path.realpath(path)


def bind_of(listener: Any) -> str:
    """HOST:PORT or unix:PATH, as settings have it, of a listening socket."""
    family, name = name_of(listener)
    if not isinstance(name, tuple):
        return f"unix:{name}"
    host, port = name
    return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"


def came_in_at(connection: Any, names: Iterable[SocketName]) -> bool:
    """Whether the connection was accepted by a listener of one of these names."""
    family, name = name_of(connection)
    for listens_as, listens_at in names:
        if listens_as != family:
            continue
        if listens_at == name:
            return True
        if isinstance(listens_at, tuple) and listens_at[0] in _ANY and listens_at[1] == name[1]:
            return True
    return False
