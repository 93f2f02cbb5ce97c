"""Replies that nginx sends in our place: authorised here, named in X-Accel-Redirect.

The rule of this file: the client sees what it would see from us. So only what is plain is handed
over, a GET of the whole or of one range that we have found good; and only to a proxy that is
trusted, of a file that others than us may read.
"""

from __future__ import annotations

import os
from typing import Any, BinaryIO
from urllib.parse import quote

from werkzeug.wrappers import Response

from bits_server.protocol.session_id import SessionId

# Set by trusted_proxies and by nobody else: no header field of a request has such a name.
INTERNAL_PREFIX = "bits_server.internal_prefix"

_KEPT = ("Content-Type", "Content-Disposition", "Cache-Control", "ETag", "X-Content-Type-Options")
# Conditions that nginx would look at before it knows our ETag.
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_UNMODIFIED_SINCE")


def hand_over(
    response: Response, session_id: SessionId, file: BinaryIO, environ: dict[str, Any]
) -> Response | None:
    """The answer that has nginx send ``file``, instead of ``response``; None where we must."""
    prefix = environ.get(INTERNAL_PREFIX) or ""
    is_plain = (
        environ["REQUEST_METHOD"] == "GET"
        and response.status_code == (206 if "HTTP_RANGE" in environ else 200)
        and not any(name in environ for name in _CONDITIONS)
        and environ.get("HTTP_IF_RANGE") in (None, response.headers["ETag"])
    )
    if not prefix.startswith("/") or not is_plain or not _others_may_read(file):
        return None
    handed_over = Response()
    for name in _KEPT:
        handed_over.headers[name] = response.headers[name]
    if response.status_code == 206:  # nginx adds it to the whole only
        handed_over.headers["Accept-Ranges"] = response.headers["Accept-Ranges"]
    handed_over.headers["X-Accel-Redirect"] = f"{prefix}/{quote(str(session_id))}/response"
    return handed_over


def _others_may_read(file: BinaryIO) -> bool:
    """nginx has a user of its own. Where the folders keep it out, it asks us again."""
    try:
        return bool(os.fstat(file.fileno()).st_mode & 0o044)
    except OSError:  # a store without files
        return False
