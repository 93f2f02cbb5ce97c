"""GET and HEAD of replies: the one thing below ``BITS-Sessions`` that can be fetched.

The rule of this file: the path is compared as a whole, never resolved; what the store opens is what
is sent. Conditions and ranges are Werkzeug's, within RFC 9110.
"""

from __future__ import annotations

import errno
import re
import unicodedata
from datetime import UTC, datetime
from typing import Any

from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import parse_date, quote_etag
from werkzeug.wrappers import Response
from werkzeug.wsgi import FileWrapper

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.manager import SessionManager, Uploader
from bits_server.storage.interface import Reply
from bits_server.web.handing_over import hand_over

BLOCK_BYTES = 1 << 18
DOWNLOAD_METHODS = ("GET", "HEAD")

_RANGE_FIELDS = ("HTTP_RANGE", "HTTP_IF_RANGE")
_SINGLE_RANGE = re.compile(
    r"bytes[ \t]*=[ \t]*(?:([0-9]{1,19})-([0-9]{0,19})|-([0-9]{1,19}))[ \t]*",
    re.ASCII | re.IGNORECASE,
)
_REPLY = re.compile(rb"BITS-Sessions/(\{[0-9A-Fa-f-]{36}\})/response")


def is_private(path: bytes) -> bool:
    """Whether a path below a virtual directory is in ``BITS-Sessions``, however it is spelled."""
    first = unicodedata.normalize("NFKC", path.split(b"/", 1)[0].decode(errors="replace"))
    return first.casefold() == "bits-sessions"


def answer_download(
    manager: SessionManager, path: bytes, uploader: Uploader, environ: dict[str, Any]
) -> Response:
    """The reply at ``path`` below the virtual directory. Raises SessionNotFound for all else."""
    found = _REPLY.fullmatch(path)
    if found is None:
        raise SessionNotFound("nothing but replies can be fetched from BITS-Sessions")
    session_id = SessionId.parse(found[1].decode())
    reply = manager.open_reply(session_id, uploader)
    try:
        response = _response(reply, environ)
        handed_over = hand_over(response, session_id, reply.file, environ)
        if handed_over is not None:
            response.close()
            return handed_over
        return response
    except BaseException:
        reply.file.close()
        raise


class _WholeFile(FileWrapper):
    """The blocks of a file; raises where it became shorter while it was sent.

    The client would take the next answer on the connection for the rest: better it is closed.
    """

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.file, BLOCK_BYTES)
        self._length = reply.length

    def __next__(self) -> bytes:
        block: bytes = self.file.read(self.buffer_size)
        if not block and self.file.tell() < self._length:
            raise ConnectionResetError(errno.ECONNRESET, "the reply became shorter")
        if not block:
            raise StopIteration
        return block


def _response(reply: Reply, environ: dict[str, Any]) -> Response:
    response = Response(
        _WholeFile(reply),
        mimetype="application/octet-stream",
        headers={
            "Cache-Control": "private",
            "X-Content-Type-Options": "nosniff",  # an application's text is no page of ours
            "Content-Disposition": "attachment",
        },
        direct_passthrough=True,
    )
    response.content_length = reply.length
    response.last_modified = modified = datetime.fromtimestamp(int(reply.modified), UTC)
    response.set_etag(reply.tag)
    try:
        response.make_conditional(
            _with_strict_range(environ, reply, modified),
            accept_ranges=True,
            complete_length=reply.length,
        )
    except RequestedRangeNotSatisfiable:
        response.close()
        return Response(status=416, headers={"Content-Range": f"bytes */{reply.length}"})
    if response.status_code == 412:  # Werkzeug would send the reply with it
        response.close()
        return Response(status=412)
    return response


def _with_strict_range(environ: dict[str, Any], reply: Reply, modified: datetime) -> dict[str, Any]:
    """The request without the Range that RFC 9110 14.2 has ignored, so that the whole is sent.

    A range of another unit or for another method, several ranges, a wrong one, and one whose
    If-Range is not exactly this reply: Werkzeug calls some of them unsatisfiable, others right.
    """
    wanted = {key: value for key, value in environ.items() if key not in _RANGE_FIELDS}
    found = _SINGLE_RANGE.fullmatch(environ.get("HTTP_RANGE", ""))
    if (
        found is None
        or environ["REQUEST_METHOD"] != "GET"
        or not _is_same(environ, reply, modified)
    ):
        return wanted
    first, last, suffix = found.groups()
    if suffix is not None:
        start = reply.length - min(int(suffix), reply.length)  # none at all is unsatisfiable
        return {**wanted, "HTTP_RANGE": f"bytes={start}-"}
    if last and int(last) < int(first):
        return wanted
    return {**wanted, "HTTP_RANGE": f"bytes={first}-{last}"}


def _is_same(environ: dict[str, Any], reply: Reply, modified: datetime) -> bool:
    """Whether If-Range, where it came, names exactly this reply [RFC 9110] 13.1.5."""
    text = environ.get("HTTP_IF_RANGE", "").strip()
    if not text:
        return True
    return text == quote_etag(reply.tag) or parse_date(text) == modified
