"""What the settings say of addresses, and what of it is refused."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from bits_server.settings.refusals import require

UNIX = "unix"  # whoever reaches a unix socket of ours

LARGEST_DESCRIPTOR = 1 << 20
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_BIND = re.compile(r"(?:[A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}|unix:.+|fd://[0-9]+")


def is_host(text: str) -> bool:
    """Whether it is like host or host:port."""
    found = _HOST.fullmatch(text)
    return found is not None and int(found["port"] or 0) < 1 << 16


def check_bind(key: str, address: str) -> None:
    require(
        bool(_BIND.fullmatch(address)) and _has_possible_port(address),
        key,
        f"{address!r} is none of HOST:PORT, unix:PATH, fd://NUMBER",
        table="[server]",
    )


def _has_possible_port(address: str) -> bool:
    if address.startswith("unix:"):
        return "\0" not in address
    if address.startswith("fd:"):
        return int(address.removeprefix("fd://")) < LARGEST_DESCRIPTOR
    return int(address.rpartition(":")[2]) < 1 << 16


def check_url(url: str) -> None:
    require(
        url == "/" or bool(re.fullmatch(r"(?:/[^/\\?#%\x00-\x1f\x7f\ud800-\udfff]+)+", url)),
        "url",
        f"{url!r} must be a path such as '/upload': it starts with a slash, does not end with one, "
        "and is written decoded",
    )
    segments = url.split("/")
    require(
        not any(part in (".", "..") or part.casefold() == "bits-sessions" for part in segments),
        "url",
        f"{url!r} must not contain '.', '..' or BITS-Sessions",
    )


def refuse_credentials(key: str, url: str, remedy: str) -> None:
    """Raise SettingsError where a URL has some: it is logged, shown and told. Repeats nothing."""
    host = url.replace("\\", "/").partition("//")[2].partition("/")[0]
    require("@" not in host, key, f"must have no credentials: {remedy}")


def check_public_url(public_url: str) -> None:
    refuse_credentials("public_url", public_url, "every client is told it")
    try:
        parts = urlsplit(public_url)
        is_usable = bool(re.fullmatch(r"[!-~]+", public_url))
        is_usable = is_usable and bool(parts.scheme in ("http", "https") and parts.hostname)
        is_usable = is_usable and not (parts.query or parts.fragment or parts.port == 0)
    except ValueError:
        is_usable = False
    require(
        is_usable,
        "public_url",
        f"{public_url!r} must be like 'https://files.example.com/upload': the virtual directory "
        "as clients know it, percent-encoded",
    )


def check_proxy(proxy: str) -> None:
    try:
        is_usable = proxy == UNIX or bool(ipaddress.ip_network(proxy))
    except ValueError:
        is_usable = False
    require(
        is_usable,
        "trusted_proxies",
        f"{proxy!r} must be 'unix', an IP address or a network such as '10.0.0.0/8'",
        table="[server]",
    )


def check_tls(certificate: str, key: str) -> None:
    """Raise SettingsError where no TLS could be spoken with these files."""
    for name, path in (("tls_certificate", certificate), ("tls_key", key)):
        require(
            path == "" or path.startswith("/"),
            name,
            "must be an absolute path, starting with /, or empty",
            table="[server]",
        )
    require(
        bool(certificate) or not key,
        "tls_certificate",
        "is missing, and must be given where tls_key is",
        table="[server]",
    )
