"""Who may send this request: asks the schemes in their order, then looks at ``allow``.

The rule of this file: a request is known, or it is refused with all challenges in their order; what
the schemes cannot do on this connection is refused for good, so that no client asks its user for a
password that nobody would look at.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from bits_server.protocol.errors import AuthenticationRequired, TooManyFailures, UserNotAllowed
from bits_server.web.authentication.access import Access
from bits_server.web.authentication.interface import CredentialsRefused, Identity, Scheme
from bits_server.web.authentication.proxy_identity import NOT_BELIEVED, SECRET_FIELD
from bits_server.web.authentication.throttle import Throttle

ANONYMOUS = Identity("")

_NOT_TAKEN = {
    "ntlm": "NTLM",
    "digest": "Digest",
}


class Authenticator:
    """For one virtual directory. Without schemes everybody is welcome, and nobody has a name."""

    def __init__(
        self, schemes: Sequence[Scheme], access: Access, throttle: Throttle | None = None
    ) -> None:
        self._schemes = tuple(schemes)
        self._access = access
        self._throttle = throttle or Throttle()

    def identify(self, environ: dict[str, Any]) -> Identity:
        """Who it is, and may upload.

        Raises AuthenticationRequired (401), UserNotAllowed (403), TooManyFailures (503).
        """
        if not self._schemes:
            return ANONYMOUS
        address = environ.get("REMOTE_ADDR") or ""
        with self._slowed_down(address, environ):
            try:
                found = (scheme.identify(environ) for scheme in self._schemes)
                identity = next((each for each in found if each is not None), None)
            except CredentialsRefused as error:
                raise self._refusal(environ, self._counted(error, address), error.user) from error
        if identity is None:
            raise self._refusal(environ, _without_identity(environ))
        self._access.refuse(identity.user)
        return identity

    @contextmanager
    def _slowed_down(self, address: str, environ: dict[str, Any]) -> Iterator[None]:
        if "HTTP_AUTHORIZATION" not in environ:
            yield
            return
        with self._throttle.turn(address) as wait:
            if wait and not any(scheme.is_remembered(environ) for scheme in self._schemes):
                raise TooManyFailures(
                    f"wrong credentials came again and again from {address or 'there'}: "
                    f"none are looked at for {math.ceil(wait)} s",
                    math.ceil(wait),
                )
            yield

    def _counted(self, error: CredentialsRefused, address: str) -> str:
        if not error.is_failure:
            return str(error)
        count = self._throttle.add(address)
        return f"{error} (failure {count} from {address or 'there'} within minutes)"

    def _refusal(
        self, environ: dict[str, Any], message: str, user: str = ""
    ) -> AuthenticationRequired | UserNotAllowed:
        challenges = [each for scheme in self._schemes for each in scheme.challenges(environ)]
        if not challenges:
            return UserNotAllowed(
                f"{message}; no scheme can ask for credentials on this connection"
            )
        has_credentials = "HTTP_AUTHORIZATION" in environ
        return AuthenticationRequired(message, challenges, user=user, is_first=not has_credentials)


def _without_identity(environ: dict[str, Any]) -> str:
    """Why no scheme knows the request: for the log, without the credentials."""
    field = environ.get(NOT_BELIEVED)
    if field:
        return (
            f"{field} came, and is not believed: let the proxy come over a unix socket, or send "
            f"{SECRET_FIELD} as proxy_secret has it"
        )
    scheme, space, _ = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if not scheme:
        return "no credentials came"
    if not space:  # it may be the secret itself
        return "Authorization came, and names no scheme"
    name = _NOT_TAKEN.get(scheme.lower())
    if name is not None:
        return (
            f"the client sent {name}, which this server does not take: "
            "use Negotiate (Kerberos), or Basic over TLS"
        )
    return f"the client sent credentials of a scheme that is not in authentication: {scheme[:20]!r}"
