"""X-Forwarded-* believed from the proxies that the settings name, and from nobody else.

The rule of this file: a proxy sets these fields and does not append to what the client sent; of
each the last value counts.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from typing import Any

from werkzeug.middleware.proxy_fix import ProxyFix

from bits_server.settings import UNIX
from bits_server.web.handing_over import INTERNAL_PREFIX

# In the environ, for authentication: whether the connection is of a unix socket that is trusted.
CAME_OVER_UNIX = "bits_server.came_over_unix"

# Some proxies add the port: of each connection another, which would be another client.
_WITH_PORT = re.compile(r"([0-9.]+):[0-9]*|\[([0-9A-Fa-f:.]+)\](?::[0-9]*)?", re.ASCII)

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class TrustedProxies:
    """A WSGI application behind proxies."""

    def __init__(self, application: WsgiApplication, trusted: Iterable[str]) -> None:
        """``trusted``: as in the settings."""
        trusted = tuple(trusted)
        self.application = application
        self._behind_proxy = ProxyFix(self._for_address_alone, x_for=1, x_proto=1, x_host=1)
        self._trusts_unix = UNIX in trusted
        self._networks = [ipaddress.ip_network(each) for each in trusted if each != UNIX]

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        came_over_unix = _came_over_unix_socket(environ)
        environ[CAME_OVER_UNIX] = came_over_unix and self._trusts_unix
        if self._is_trusted(environ, came_over_unix=came_over_unix):
            environ[INTERNAL_PREFIX] = environ.get("HTTP_X_ACCEL_PREFIX", "")
            return self._behind_proxy(environ, start_response)
        return self.application(environ, start_response)

    def _for_address_alone(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        found = _WITH_PORT.fullmatch(environ.get("REMOTE_ADDR") or "")
        if found is not None:
            environ["REMOTE_ADDR"] = found[1] or found[2]
        return self.application(environ, start_response)

    def _is_trusted(self, environ: dict[str, Any], *, came_over_unix: bool) -> bool:
        if came_over_unix:
            return self._trusts_unix
        if not self._networks:
            return False
        try:
            address = ipaddress.ip_address(environ.get("REMOTE_ADDR") or "")
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)  # IPv4 on a socket that takes both
        return any((mapped or address) in network for network in self._networks)


def _came_over_unix_socket(environ: dict[str, Any]) -> bool:
    connection = environ.get("gunicorn.socket")
    if connection is not None:
        return bool(connection.family == socket.AF_UNIX)
    return not environ.get("REMOTE_ADDR")  # other servers have no address for such a peer
