"""The files of the pages, as the package has them: HTML, CSS, ES modules and pictures.

The rule of this file: nothing of a request becomes part of what is sent, a name is looked up and
never opened, and each answer forbids what the pages do not need. The pages keep to that: no inline
script or style, nothing from elsewhere, and text becomes text only (``require-trusted-types-for``
refuses a page that would make HTML of it).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from werkzeug.wrappers import Response

FILES = Path(__file__).parent / "files"

PROTECTION = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
            "base-uri 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    ),
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not no-referrer: a browser could then call our own page's packets of unknown origin.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


class PageFiles:
    """All files of the pages, read once."""

    def __init__(self, folder: Path = FILES) -> None:
        self._files = {
            file.name: (file.read_bytes(), _TYPES[file.suffix])
            for file in sorted(folder.iterdir())
            if file.suffix in _TYPES
        }

    def names(self) -> tuple[str, ...]:
        return tuple(self._files)

    def answer(self, name: str, environ: dict[str, Any]) -> Response:
        """The file of this name, for GET and HEAD; 404 where there is none."""
        if name not in self._files:
            return protected(Response(status=404))
        content, kind = self._files[name]
        response = protected(Response(content, content_type=f"{kind}; charset=utf-8"))
        # Asked for each time and sent when it has changed: a new version is seen at once.
        response.headers["Cache-Control"] = "private, no-cache"
        response.set_etag(hashlib.sha256(content).hexdigest()[:32])
        response.make_conditional(environ)
        return response


def json_answer(value: Any, *, status: int = 200) -> Response:
    """What a page's script asks for. It comes from no cache, and goes into none."""
    content = json.dumps(value, separators=(",", ":"))
    response = protected(Response(content, status=status, content_type="application/json"))
    response.headers["Cache-Control"] = "no-store"
    return response


def protected(response: Response) -> Response:
    """``response`` with the header fields that each answer for a page carries."""
    response.headers.extend(PROTECTION)
    return response
