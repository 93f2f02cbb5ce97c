"""URLs that a server has named: whether they can be used, and whose they are."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

Origin = tuple[str, str, int | None]
_PORTS = {"http": 80, "https": 443}


def is_usable(url: str) -> bool:
    """Whether it can be asked for: http or https, a host, and no user in it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
        return False
    return port != 0 and not any(sign.isspace() for sign in parts.netloc)


def joined(base: str, url: str) -> str | None:
    """``url`` as seen from ``base``, with backslashes as IIS sends them; None where it is none."""
    try:
        whole = urljoin(base, url.replace("\\", "/"))
    except ValueError:
        return None
    return whole if is_usable(whole) else None


def origin_of(url: str) -> Origin:
    """Scheme, host and port. Raises ValueError."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme)
