"""The server as in ``bits_server.wsgi``, which also prints the receive path of each Fragment."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from bits_server.web.socket_input import socket_input
from bits_server.wsgi import application as bits_application


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    if environ.get("HTTP_BITS_PACKET_TYPE") == "Fragment":
        is_fast = socket_input(environ, int(environ.get("CONTENT_LENGTH") or 0))
        print("receive path:", "fast" if is_fast else "reference", file=sys.stderr, flush=True)
    return bits_application(environ, start_response)
