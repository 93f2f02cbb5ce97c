"""From what the libraries raise to one of our errors; the only file that knows their exceptions.

The rule of this file: the text of a library's exception is never passed on, since it may hold the
URL of a proxy with its password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import requests
import urllib3

from bits_server.client.errors import (
    ERROR_ACCESS_DENIED,
    WINHTTP_CANNOT_CONNECT,
    WINHTTP_CONNECTION_ERROR,
    WINHTTP_NAME_NOT_RESOLVED,
    WINHTTP_SECURE_FAILURE,
    WINHTTP_TIMEOUT,
    ConnectionBroken,
    Fatal,
    Stopped,
    TransferFailed,
    Transient,
    is_transient_status,
)
from bits_server.client.proxies import without_login

_KINDS: list[tuple[tuple[type[BaseException], ...], int, str]] = [
    (
        (urllib3.exceptions.NameResolutionError,),
        WINHTTP_NAME_NOT_RESOLVED,
        "this name is not known; see whether the network is there",
    ),
    (
        (requests.exceptions.ConnectTimeout, requests.exceptions.ReadTimeout, TimeoutError),
        WINHTTP_TIMEOUT,
        "no answer came in time",
    ),
    (
        (urllib3.exceptions.NewConnectionError, ConnectionRefusedError),
        WINHTTP_CANNOT_CONNECT,
        "nobody answers there; see whether the server runs",
    ),
    ((ssl.SSLError,), WINHTTP_SECURE_FAILURE, "TLS could not be agreed on"),
]
_NAME_AUTHORITY = "name the authority that signed it with --ca"
# By OpenSSL's X509_V_ERR_*.
_REMEDIES = {
    9: "see whether the clock is right",
    10: "it has to be renewed, or the clock is wrong",
    62: "the URL must have the name that stands in the certificate",
    64: "the URL must have the address, or a name, that stands in the certificate",
}
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
_NO_URL = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema)


def failure_of(error: BaseException, url: str, proxy: str | None) -> Exception:
    """What an exception means that came of a request to ``url``, through ``proxy`` if any.

    What reading the body raised comes out as it is.
    """
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, (Stopped, TransferFailed)):
            return cause
    host = urlsplit(url).netloc.rpartition("@")[2]
    if isinstance(error, requests.exceptions.ProxyError):
        return _proxy_failure(causes, without_login(proxy or ""))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Fatal(
                WINHTTP_SECURE_FAILURE,
                f"the certificate of {host} is not trusted: {cause.verify_message}; "
                f"{_REMEDIES.get(cause.verify_code, _NAME_AUTHORITY)}",
            )
    for kinds, hresult, text in _KINDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return ConnectionBroken(hresult, f"{host}: {text}")
    if isinstance(error, _NO_URL):
        return Fatal(0x80190190, "the URL is none of http or https")
    if type(error) is OSError:  # how requests tells of a file of certificates that is not there
        return Fatal(ERROR_ACCESS_DENIED, "a file of certificates or keys cannot be read")
    return ConnectionBroken(WINHTTP_CONNECTION_ERROR, f"the connection to {host} broke")


def _proxy_failure(causes: list[BaseException], proxy: str) -> Exception:
    found = next((each for cause in causes if (each := _TUNNEL.search(str(cause)))), None)
    status = int(found[1]) if found else None
    if status in (401, 407):  # some say the one where they mean the other
        return Fatal(
            0x80190197,
            f"the proxy {proxy} wants a user and password: set BITS_CLIENT_PROXY_USER and "
            "BITS_CLIENT_PROXY_PASSWORD",
            http_status=407,
        )
    if status is not None and not is_transient_status(status):
        return Fatal(
            0x80190000 + status,
            f"the proxy {proxy} does not let us through to this server: status {status}",
            http_status=status,
        )
    if status is not None:
        return Transient(
            0x80190000 + status,
            f"the proxy {proxy} does not let us through to this server now: status {status}",
            http_status=status,
        )
    for kinds, hresult, text in _KINDS:
        if any(isinstance(cause, kinds) for cause in causes):
            return ConnectionBroken(hresult, f"the proxy {proxy}: {text}")
    # The library says the same of a proxy that is away and of a line to it that broke midway.
    return ConnectionBroken(WINHTTP_CONNECTION_ERROR, f"the connection to the proxy {proxy} broke")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that it was made of."""
    seen: list[BaseException] = []
    waiting: list[object] = [error]
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or one in seen:
            continue
        seen.append(one)
        yield one
        waiting += [*one.args, one.__cause__, one.__context__, getattr(one, "reason", None)]
