"""Which of the schemes that a server offers is taken, and how.

The rule of this file: the strongest first, Negotiate, then Digest, then Basic; Basic only over an
encrypted connection, or where it was asked for by name. What was refused is not tried again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from bits_server.client.credentials import Passwords

SCHEMES = ("negotiate", "digest", "basic")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')  # a realm may be called anything
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9-]*)(?=\s+[^=,\s]|\s*(?:,|$))")


def offered(values: Sequence[str]) -> list[str]:
    """The schemes that the values of WWW-Authenticate name, in small letters."""
    bare = [_QUOTED.sub('""', value) for value in values]
    return [match.lower() for value in bare for match in _SCHEME.findall(value)]


class Login:
    """One after the other, what could be tried at a server. ``why_not``: what was left out."""

    def __init__(self, url: str, passwords: Passwords | None, scheme: str | None) -> None:
        """``passwords``: None for a host that gets none, which the server has only named.

        ``scheme``: the only one to take, or None for the best that is offered."""
        self._url = url
        self._passwords = passwords
        self._scheme = scheme
        self.why_not: list[str] = []

    def attempts(self, values: Sequence[str]) -> Iterator[AuthBase]:
        """For an answer 401 with these challenges."""
        schemes = offered(values)
        wanted = [self._scheme] if self._scheme else SCHEMES
        if not set(wanted) & set(schemes):
            self.why_not.append(f"it offers {', '.join(schemes) or 'no scheme'}")
        for scheme in wanted:
            if scheme in schemes and (made := self._made(scheme)) is not None:
                yield made

    def refused(self, auth: AuthBase) -> None:
        """It was tried, and did not help."""
        if isinstance(auth, (HTTPBasicAuth, HTTPDigestAuth)):
            reason = "the user or password is wrong"
        else:
            reason = "no Kerberos ticket was good for it: see klist, and log in with kinit"
        if reason not in self.why_not:
            self.why_not.append(reason)

    def _made(self, scheme: str) -> AuthBase | None:
        if scheme == "negotiate":
            return self._negotiate()
        if scheme == "basic" and not self._may_send_passwords():
            self.why_not.append(
                "a password is not sent over a connection that everybody on the way can read: "
                "use https, or ask for basic by name"
            )
            return None
        if self._passwords is None:
            self.why_not.append(
                "it is another host than that of the upload, which gets no password"
            )
            return None
        credentials = self._passwords.for_server(self._url)
        if credentials is None:
            self.why_not.append(f"there are no user and password for {scheme}")
            return None
        if scheme == "digest":
            return HTTPDigestAuth(credentials.user, credentials.password)
        # As text, requests would send Latin-1, which not every password has [RFC 7617].
        return HTTPBasicAuth(credentials.user.encode(), credentials.password.encode())

    def _negotiate(self) -> AuthBase | None:
        try:
            from requests_gssapi import OPTIONAL, HTTPSPNEGOAuth
        except ImportError:
            self.why_not.append("negotiate needs requests-gssapi: install bits-client[negotiate]")
            return None
        # A ticket in each packet: ours and others want it so behind a proxy.
        auth: AuthBase = HTTPSPNEGOAuth(mutual_authentication=OPTIONAL, opportunistic_auth=True)
        return auth

    def _may_send_passwords(self) -> bool:
        parts = urlsplit(self._url)
        if parts.scheme == "https" or self._scheme == "basic":
            return True
        try:
            return ip_address(parts.hostname or "").is_loopback
        except ValueError:
            return parts.hostname == "localhost"
