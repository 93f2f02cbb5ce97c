"""Proxy-Authorization: Negotiate, Digest or Basic, whatever the proxy asks for and can be had.

The rule of this file: nothing is sent to a proxy before it has asked; each request and each tunnel
gets a value of its own, because tickets and Digest are good for one.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import re
import secrets
import ssl
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Protocol
from urllib.parse import urlsplit

from requests.utils import parse_dict_header

from bits_server.client.credentials import Credentials
from bits_server.client.login import offered

PROBE_SECONDS = 30.0
_DIGEST = re.compile(r"(?:^|,)\s*Digest\s+(.*?)(?=,\s*[A-Za-z-]+\s+[A-Za-z-]+=|$)", re.I)
_HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}

FindCredentials = Callable[[], Credentials | None]


class _Scheme(Protocol):
    name: str

    def value(self, method: str, target: str) -> str | None: ...


class ProxyLogin:
    """Of one job, for the one proxy that it uses."""

    def __init__(self) -> None:
        self._scheme: _Scheme | None = None
        self._refused: set[str] = set()

    def value(self, method: str, target: str) -> str | None:
        """The field for one request; None where the proxy has not asked, or nothing helps."""
        return None if self._scheme is None else self._scheme.value(method, target)

    def challenged(self, values: Sequence[str], proxy: str, credentials: FindCredentials) -> bool:
        """The proxy answered 407 with these challenges: whether there is something to try now."""
        if self._scheme is not None and self._scheme.name != "digest":
            self._refused.add(self._scheme.name)
        self._scheme = None
        for name in ("negotiate", "digest", "basic"):
            if name in offered(values) and name not in self._refused:
                self._scheme = _made(name, values, proxy, credentials)
                if self._scheme is not None:
                    return True
        return False


def _made(
    name: str, values: Sequence[str], proxy: str, credentials: FindCredentials
) -> _Scheme | None:
    if name == "negotiate":
        scheme = _Negotiate(urlsplit(proxy).hostname or "")
        return scheme if scheme.value("", "") else None
    known = credentials()
    if known is None:
        return None
    return _Basic(known) if name == "basic" else _digest(values, known)


class _Basic:
    name = "basic"

    def __init__(self, credentials: Credentials) -> None:
        login = f"{credentials.user}:{credentials.password}".encode()
        self._value = f"Basic {base64.b64encode(login).decode()}"

    def value(self, method: str, target: str) -> str:  # noqa: ARG002
        return self._value


class _Negotiate:
    """A ticket of who has logged in to the realm, for the service HTTP on the proxy's host."""

    name = "negotiate"

    def __init__(self, host: str) -> None:
        self._host = host

    def value(self, method: str, target: str) -> str | None:  # noqa: ARG002
        try:
            import gssapi
        except ImportError:
            return None
        try:
            name = gssapi.Name(f"HTTP@{self._host}", gssapi.NameType.hostbased_service)
            spnego = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
            token = gssapi.SecurityContext(name=name, mech=spnego, usage="initiate").step()
        except gssapi.raw.GSSError:
            return None  # no ticket, or none for this host
        return f"Negotiate {base64.b64encode(token).decode()}"


def _digest(values: Sequence[str], credentials: Credentials) -> _Scheme | None:
    """The first Digest challenge that can be answered [RFC 7616]."""
    for value in values:
        for text in _DIGEST.findall(value):
            words = {name.lower(): word for name, word in parse_dict_header(text).items()}  # type: ignore[no-untyped-call]
            algorithm = str(words.get("algorithm") or "MD5").upper()
            qop = words.get("qop")
            is_known = algorithm.removesuffix("-SESS") in _HASHES and words.get("nonce")
            if is_known and (qop is None or "auth" in re.split(r"[\s,]+", qop)):
                return _Digest({**words, "algorithm": algorithm}, credentials)
    return None


class _Digest:
    name = "digest"

    def __init__(self, words: dict[str, str], credentials: Credentials) -> None:
        self._words = words
        self._credentials = credentials
        self._count = 0

    def value(self, method: str, target: str) -> str:
        words, user = self._words, self._credentials.user
        self._count += 1
        count, own = f"{self._count:08x}", secrets.token_hex(16)
        realm, nonce, algorithm = words.get("realm", ""), words["nonce"], words["algorithm"]
        secret = self._hash(f"{user}:{realm}:{self._credentials.password}")
        if algorithm.endswith("-SESS"):
            secret = self._hash(f"{secret}:{nonce}:{own}")
        asked = self._hash(f"{method}:{target}")
        has_qop = words.get("qop") is not None
        between = f"{nonce}:{count}:{own}:auth" if has_qop else nonce
        fields = [
            f'username="{_quoted(user)}"',
            f'realm="{_quoted(realm)}"',
            f'nonce="{_quoted(nonce)}"',
            f'uri="{target}"',
            f'response="{self._hash(f"{secret}:{between}:{asked}")}"',
            f"algorithm={algorithm}",
        ]
        if words.get("opaque"):
            fields.append(f'opaque="{_quoted(words["opaque"])}"')
        if has_qop:
            fields += ["qop=auth", f"nc={count}", f'cnonce="{own}"']
        return f"Digest {', '.join(fields)}"

    def _hash(self, text: str) -> str:
        name = _HASHES[self._words["algorithm"].removesuffix("-SESS")]
        return hashlib.new(name, text.encode()).hexdigest()


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def challenges_of(proxy: str, target: str, ca_file: str | None) -> list[str]:
    """What a proxy asks for that refused a tunnel to HOST:PORT: the library does not say.

    Nothing where it cannot be asked.
    """
    parts = urlsplit(proxy)
    host, port = parts.hostname or "", parts.port
    try:
        connection = (
            http.client.HTTPSConnection(
                host,
                port,
                timeout=PROBE_SECONDS,
                context=ssl.create_default_context(cafile=ca_file),
            )
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
        )
        with closing(connection):
            connection.request("CONNECT", target, headers={"Host": target})
            response = connection.getresponse()
            return response.headers.get_all("Proxy-Authenticate") or []
    except (OSError, http.client.HTTPException):
        return []
