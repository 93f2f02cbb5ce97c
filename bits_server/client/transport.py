"""HTTP, by requests: one connection that is kept, a body from the file, time limits.

The rule of this file: nothing of the environment is looked at here and no redirect is followed;
every failure comes out as one of ``errors``, and no text of one tells a password.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

from bits_server.client.answers import Answer
from bits_server.client.credentials import NetrcUnusable, Passwords
from bits_server.client.errors import (
    ERROR_ACCESS_DENIED,
    Fatal,
)
from bits_server.client.jobs import ErrorContext, Settings
from bits_server.client.login import Login
from bits_server.client.proxies import proxy_for, with_login
from bits_server.client.transport_failures import failure_of
from bits_server.client.whole_heads import WholeHeads
from bits_server.version import VERSION

REQUEST_SECONDS = 120.0  # [MC-BUP] 3.1.2.1; for each piece that is sent
RESPONSE_SECONDS = 300.0  # [MC-BUP] 3.1.2.2
MOST_OF_A_BODY = 1 << 16
BLOCK_BYTES = 1 << 20  # read from the file and sent at once; 16 KiB cost twice the processor time


class Body(Protocol):
    """What is sent with a packet: it has a length, and can be read again from its beginning."""

    def __len__(self) -> int: ...

    def read(self, size: int = ..., /) -> bytes: ...

    def seek(self, offset: int, /) -> int: ...


class Transport:
    """The connections of one job. ``with Transport(...) as transport: ...``"""

    def __init__(
        self,
        settings: Settings,
        passwords: Passwords,
        *,
        timeouts: tuple[float, float] = (REQUEST_SECONDS, RESPONSE_SECONDS),
    ) -> None:
        self._settings = settings
        self._passwords = passwords
        self._timeouts = timeouts
        self._auths: dict[tuple[str, str], AuthBase] = {}
        self._proxy_logins: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {"User-Agent": f"bits-client/{VERSION}", "Accept": "*/*", "Accept-Encoding": "identity"}
        )
        for prefix in ("http://", "https://"):
            self._session.mount(prefix, WholeHeads(BLOCK_BYTES))
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

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None
    ) -> Answer:
        """One packet. Raises Transient, Fatal, or what reading ``body`` raises.

        ``body`` has a length and can be rewound: it is sent again where credentials are wanted.
        """
        with closing(self._request(method, url, headers, body)) as response:
            with self._translated(url):
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
        place = _place_of(url)
        response = self._once(method, url, headers, body, self._auths.get(place))
        if response.status_code != 401:
            return response
        login = Login(url, self._passwords, self._settings.auth)
        tried = self._auths.pop(place, None)
        values = response.raw.headers.getlist("WWW-Authenticate")
        with _told_of_netrc():
            for auth in login.attempts(values):
                if type(auth) is type(tried):
                    continue  # it has been refused just now
                response.close()
                if body is not None:
                    body.seek(0)
                response = self._once(method, url, headers, body, auth)
                if response.status_code != 401:
                    self._auths[place] = auth
                    return response
        response.close()
        reasons = "; ".join(login.why_not) or "the user or password is wrong"
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
        try:
            response = self._through(proxy, method, url, headers, body, auth)
        except Fatal as error:
            if error.error.http_status != 407 or not self._log_in_at(proxy):
                raise
        else:
            if response.status_code != 407 or not self._log_in_at(proxy):
                return response
            response.close()
        if body is not None:
            body.seek(0)
        return self._through(proxy, method, url, headers, body, auth)

    def _through(
        self,
        proxy: str | None,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None,
        auth: AuthBase | None,
    ) -> requests.Response:
        told = self._proxy_logins.get(proxy, proxy) if proxy else None
        with self._translated(url):
            return self._session.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                auth=auth,
                proxies={"http": told, "https": told} if told else {},
                timeout=self._timeouts,
                allow_redirects=False,
                stream=True,
            )

    def _log_in_at(self, proxy: str | None) -> bool:
        """The proxy has asked for it: whether there is something new to try."""
        if proxy is None or proxy in self._proxy_logins:
            return False
        with _told_of_netrc():
            told = with_login(proxy, self._passwords.for_proxy(proxy))
        self._proxy_logins[proxy] = told
        return told != proxy

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        try:
            yield
        except requests.RequestException as error:
            raise failure_of(error, url, proxy_for(url, self._settings)) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise failure_of(error, url, proxy_for(url, self._settings)) from None


def _place_of(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


@contextmanager
def _told_of_netrc() -> Iterator[None]:
    try:
        yield
    except NetrcUnusable as error:
        raise Fatal(ERROR_ACCESS_DENIED, str(error), context=ErrorContext.LOCAL_FILE) from None
