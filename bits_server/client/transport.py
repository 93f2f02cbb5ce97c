"""HTTP, by requests: one connection that is kept, a body from the file, time limits.

The rule of this file: nothing of the environment is looked at here and no redirect is followed;
every failure comes out as one of ``errors``, and no text of one tells a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from bits_server.client.addresses import Origin, origin_of
from bits_server.client.answers import Answer
from bits_server.client.credentials import NetrcUnusable, Passwords
from bits_server.client.errors import (
    ERROR_ACCESS_DENIED,
    Fatal,
)
from bits_server.client.jobs import ErrorContext, Settings
from bits_server.client.local_file import BLOCK_BYTES
from bits_server.client.login import SCHEMES, Login
from bits_server.client.open_lines import OpenLines
from bits_server.client.proxies import login_in, proxy_for, refuse_other_schemes, without_login
from bits_server.client.proxy_login import ProxyLogin, challenges_of
from bits_server.client.tls_files import check_tls_files
from bits_server.client.transport_failures import failure_of
from bits_server.client.whole_heads import WholeHeads
from bits_server.version import VERSION

MOST_OF_A_BODY = 1 << 16


@dataclass(frozen=True)
class TimeLimits:
    """In seconds. ``sending``: for each piece; ``answer``: for the whole of one but a reply, and
    for each piece of that."""

    connecting: float = 30.0
    sending: float = 120.0  # [MC-BUP] 3.1.2.1
    answer: float = 300.0  # [MC-BUP] 3.1.2.2


USUAL_LIMITS = TimeLimits()


class Body(Protocol):
    """What is sent with a packet: it has a length, and can be read again from its beginning."""

    def __len__(self) -> int: ...

    def read(self, size: int = ..., /) -> bytes | memoryview: ...

    def seek(self, offset: int, /) -> int: ...


class Transport:
    """The connections of one job, which are ``lines``. ``with Transport(...) as transport: ...``"""

    def __init__(
        self, settings: Settings, passwords: Passwords, *, limits: TimeLimits = USUAL_LIMITS
    ) -> None:
        self._settings = settings
        self._passwords = passwords
        self._timeouts = (limits.connecting, limits.answer)
        self.lines = OpenLines(limits.sending, limits.answer)
        self._auths: dict[Origin, AuthBase] = {}
        self._trusted: set[Origin] = set()
        self._proxy_login = ProxyLogin()
        self._proxy_tries = 0
        self._has_checked_files = False
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {"User-Agent": f"bits-client/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, WholeHeads(BLOCK_BYTES, self._proxy_login, self.lines))
        self._session.verify = settings.ca_file or True
        if settings.client_certificate:
            certificate, key = settings.client_certificate, settings.client_key
            self._session.cert = (certificate, key) if key else certificate

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._session.close()

    def trust(self, url: str) -> None:
        """What answers there may be told user and password; nobody else is."""
        self._trusted.add(origin_of(url))

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Answer:
        """One packet. Raises Transient, Fatal, or what reading ``body`` raises.

        ``body`` has a length and can be rewound: it is sent again where credentials are wanted.
        """
        with closing(self._request(method, url, headers, body)) as response:
            with self._translated(url), self.lines.awaiting():
                # So that the connection can be used again; a page of errors is nobody's business.
                response.raw.read(MOST_OF_A_BODY, decode_content=False)
            return Answer(response.status_code, response.headers)

    @contextmanager
    def download(self, url: str, headers: Mapping[str, str]) -> Iterator[requests.Response]:
        """GET, with the body still to be read by ``blocks_of``."""
        response = self._request("GET", url, headers, None)
        try:
            yield response
        finally:
            response.close()

    def blocks_of(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it comes. Raises Transient where it does not come whole."""
        with self._translated(response.url or ""):
            # As it comes: what came before a connection broke is kept.
            while block := response.raw.read1(BLOCK_BYTES, decode_content=False):
                yield block

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> requests.Response:
        place = origin_of(url)
        if place[0] == "https" and not self._has_checked_files:
            check_tls_files(self._settings)
            self._has_checked_files = True
        response = self._once(method, url, headers, body, self._auths.get(place))
        if response.status_code != 401:
            return response
        passwords = self._passwords if place in self._trusted else None
        login = Login(url, passwords, self._settings.auth)
        tried = self._auths.pop(place, None)
        values = response.raw.headers.getlist("WWW-Authenticate")
        with _told_of_netrc():
            for auth in login.attempts(values):
                if type(auth) is type(tried):
                    login.refused(auth)  # just now
                    continue
                response.close()
                if body is not None:
                    body.seek(0)
                response = self._once(method, url, headers, body, auth)
                if response.status_code != 401:
                    self._auths[place] = auth
                    return response
                login.refused(auth)
        response.close()
        reasons = "; ".join(login.why_not)
        raise Fatal(
            0x80190191,
            f"the server wants somebody to log in, and nobody could: {reasons}",
            context=ErrorContext.REMOTE_FILE,
            http_status=401,
        )

    def _once(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        auth: AuthBase | None,
    ) -> requests.Response:
        proxy = proxy_for(url, self._settings)
        if proxy is not None:
            refuse_other_schemes(proxy)
        self._proxy_tries = 0
        while True:
            try:
                response = self._through(proxy, method, url, headers, body, auth)
            except Fatal as error:
                if error.error.http_status != 407 or not self._tunnel_is_refused(proxy, url):
                    raise
            else:
                if response.status_code != 407 or not self._is_asked(proxy, response):
                    return response
                response.close()
            if body is not None:
                body.seek(0)

    def _through(
        self,
        proxy: str | None,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        auth: AuthBase | None,
    ) -> requests.Response:
        # Without its login: requests would send that before it is asked for, and as Latin-1.
        named = without_login(proxy) if proxy else ""
        with self._translated(url):
            return self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,  # type: ignore[arg-type] # a memoryview is sent as bytes are
                auth=auth,
                proxies={"http": named, "https": named} if named else {},
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
            )

    def _tunnel_is_refused(self, proxy: str | None, url: str) -> bool:
        parts = urlsplit(url)
        if proxy is None or parts.hostname is None:
            return False
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        target = f"{host}:{parts.port or 443}"
        return self._is_challenged(proxy, challenges_of(proxy, target, self._settings.ca_file))

    def _is_asked(self, proxy: str | None, response: requests.Response) -> bool:
        values = response.raw.headers.getlist("Proxy-Authenticate")
        return proxy is not None and self._is_challenged(proxy, values)

    def _is_challenged(self, proxy: str, values: list[str]) -> bool:
        """Whether there is something to try; each request tries each scheme once at most."""
        self._proxy_tries += 1
        if self._proxy_tries > len(SCHEMES):
            return False
        with _told_of_netrc():
            return self._proxy_login.challenged(
                values, proxy, lambda: login_in(proxy) or self._passwords.for_proxy(proxy)
            )

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise failure_of(error, url, proxy_for(url, self._settings)) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failure_of(error, url, proxy_for(url, self._settings)) from None


@contextmanager
def _told_of_netrc() -> Iterator[None]:
    try:
        yield
    except NetrcUnusable as error:
        raise Fatal(ERROR_ACCESS_DENIED, str(error), context=ErrorContext.LOCAL_FILE) from None
