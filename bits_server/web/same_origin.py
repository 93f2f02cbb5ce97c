"""Whether a request was made by a page of ours, or by no browser at all.

The rule of this file: a browser lends its user's credentials to requests of any page that he looks
at, and says which one it was. Programs say nothing, and are believed: they have no credentials but
their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from werkzeug.wsgi import get_host

from bits_server.protocol.errors import AccessDenied

_OURS = ("same-origin", "none")  # none: the user himself, in the address bar
_DEFAULT_PORTS = {"http": 80, "https": 443}


class ForeignOrigin(AccessDenied):
    """A page of another origin had the user's browser send this [Fetch Metadata]."""

    remedy = (
        "If it was your own page: let the proxy in front hand on Host and be one of "
        "trusted_proxies, or set public_url."
    )


def refuse_foreign_origin(environ: Mapping[str, Any], public_url: str | None = None) -> None:
    """Raise ForeignOrigin, or return. ``environ`` is as the trusted proxies have it.

    Browsers send Sec-Fetch-Site over TLS and to localhost only; elsewhere Origin has to do.
    """
    site = environ.get("HTTP_SEC_FETCH_SITE")
    origin = environ.get("HTTP_ORIGIN")
    if site is not None:
        if site.strip().lower() not in _OURS:
            raise ForeignOrigin(f"a page of {(origin or 'elsewhere')[:200]!r} sent this ({site!r})")
    elif origin is not None and _normal(origin) not in _own_origins(environ, public_url):
        raise ForeignOrigin(f"a page of {origin[:200]!r} sent this, and we are another origin")


def _own_origins(environ: Mapping[str, Any], public_url: str | None) -> set[str]:
    host = get_host(dict(environ))
    own = {_normal(f"{environ.get('wsgi.url_scheme', 'http')}://{host}")} if host else set()
    return own | ({_normal(public_url)} if public_url else set())


def _normal(url: str) -> str:
    """Scheme, host and port in one spelling; a text that is no origin is like no other."""
    try:
        parts = urlsplit(url.strip().lower())
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return url
    return f"{parts.scheme}://{parts.hostname or ''}:{port}"
