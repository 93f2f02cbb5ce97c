"""What a person sees instead of a page that is not for him: what is wrong, and what to do.

The rule of this file: it stands by itself, for whoever is refused gets no file of ours. Its style
is allowed by its hash, and nothing of the request is in it.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus

from werkzeug.wrappers import Response

from bits_server.web.pages.page_files import FILES, PROTECTION, protected

_STYLE = (FILES / "refused.css").read_text(encoding="utf-8")
_STYLE_HASH = b64encode(sha256(_STYLE.encode()).digest()).decode()
_POLICY = PROTECTION["Content-Security-Policy"].replace(
    "style-src 'self'", f"style-src 'sha256-{_STYLE_HASH}'"
)

# All words of this page, in English: by status what is wrong, and what to do about it.
_TEXTS = {
    401: (
        "You are not signed in",
        "Load this page again, and sign in. If that does not help, ask those who run the server.",
    ),
    403: (
        "This page is not for you",
        "You may not see it, or not by this address. Ask those who run the server.",
    ),
    503: ("The server has too much to do", "Wait a minute, and load this page again."),
}
_OTHER = (
    "This did not work",
    "Load this page again in a while. If that does not help, tell those who run the server.",
)


def refused_page(status: int) -> Response:
    """A whole page that says why there is no other. An empty answer looks like a defect."""
    title, remedy = _TEXTS.get(status, _OTHER)
    document = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{title}</h1>\n<p>{remedy}</p>\n<p class="faint">{status} '
        f"{HTTPStatus(status).phrase}</p>\n</main>\n</body>\n</html>\n"
    )
    response = protected(Response(document, status=status, content_type="text/html; charset=utf-8"))
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-store"
    return response
