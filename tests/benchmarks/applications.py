"""What the benchmark compares with under the same gunicorn, as WSGI applications."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

RECEIVED = "X-Received"


def bare(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """As little as an application can do: read the body, say how long it was."""
    received = 0
    while block := environ["wsgi.input"].read(1 << 20):
        received += len(block)
    start_response("200 OK", [("Content-Length", "0"), (RECEIVED, str(received))])
    return ()


def reference(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Our server where gunicorn keeps its socket to itself: bodies come from ``wsgi.input``."""
    from bits_server.wsgi import application

    del environ["gunicorn.socket"]
    return application(environ, start_response)
