"""The destination URL as the client knows it, from what came with the request.

The rule of this file: the result is printable ASCII and can be a header field. The path keeps the
client's own spelling where the WSGI server tells it, for it is what a server application compares.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from werkzeug.wsgi import get_host

from bits_server.settings import VirtualDirectory

_SAFE = "%/:=&?~#+!$,;'@()*[]"  # what may stand in a URL as it is
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?]*")  # of a request target in absolute form


def original_url(environ: dict[str, Any], directory: VirtualDirectory) -> str:
    """In full, query string included; built on ``public_url`` where that is set."""
    path = _path_as_sent(environ)
    query = environ.get("QUERY_STRING") or ""
    if directory.public_url is None:
        scheme = environ.get("wsgi.url_scheme", "http")
        url = f"{scheme}://{quote(get_host(environ), safe=_SAFE)}{path}"
    else:
        below = _below(directory.url, path)
        url = f"{directory.public_url.rstrip('/')}{below}"
    return url + (f"?{quote(query.encode('latin-1'), safe=_SAFE)}" if query else "")


def _path_as_sent(environ: dict[str, Any]) -> str:
    """Percent-encoded; the raw one only where it is what the WSGI server decoded."""
    decoded = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).encode("latin-1")
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI") or ""
    raw_path = quote(_ORIGIN.sub("", raw, count=1).partition("?")[0].encode("latin-1"), safe=_SAFE)
    return raw_path if unquote_to_bytes(raw_path) == decoded else quote(decoded)


def _below(prefix: str, path: str) -> str:
    """What of a path follows the URL of its virtual directory, its slash included."""
    segments = path.split("/")
    count = len(prefix.rstrip("/").split("/"))
    if unquote_to_bytes("/".join(segments[:count])) == prefix.rstrip("/").encode():
        return "/" + "/".join(segments[count:])
    return quote(unquote_to_bytes(path)[len(prefix.rstrip("/").encode()) :])
