"""Through which proxy a URL is reached: one that was named, one of the environment, or none."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit, urlunsplit

from requests.utils import get_environ_proxies, select_proxy, should_bypass_proxies

from bits_server.client.credentials import Credentials
from bits_server.client.errors import WINHTTP_UNRECOGNIZED_SCHEME, Fatal
from bits_server.client.jobs import Settings


def proxy_for(url: str, settings: Settings) -> str | None:
    """The URL of the proxy, or None.

    ``settings.proxy``: None is that of the environment (https_proxy, http_proxy, all_proxy and
    no_proxy, in small or capital letters), an empty text none at all; ``settings.no_proxy``: names,
    domains and networks that are reached without the one that is named.
    """
    if settings.proxy == "":
        return None
    exceptions = ",".join(settings.no_proxy) or None
    if settings.proxy is None:
        return select_proxy(url, get_environ_proxies(url, no_proxy=exceptions))
    # An empty no_proxy would be looked for in the environment.
    if should_bypass_proxies(url, no_proxy=exceptions or "none.invalid"):
        return None
    return settings.proxy if "://" in settings.proxy else f"http://{settings.proxy}"


def without_login(proxy: str) -> str:
    """The same for the eyes."""
    parts = urlsplit(proxy)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def login_in(proxy: str) -> Credentials | None:
    """The user and password of a URL from the environment, where it has them."""
    parts = urlsplit(proxy)
    if parts.username is None or parts.password is None:
        return None
    return Credentials(unquote(parts.username), unquote(parts.password))


def refuse_other_schemes(proxy: str) -> None:
    """Raises Fatal."""
    scheme = urlsplit(proxy).scheme
    if scheme not in ("http", "https"):
        raise Fatal(
            WINHTTP_UNRECOGNIZED_SCHEME,
            f"the proxy {without_login(proxy)} speaks {scheme}, and only HTTP proxies can be used: "
            'name one with --proxy, or "none"',
        )
