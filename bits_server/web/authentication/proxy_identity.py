"""``header`` and ``certificate``: who it is, as a proxy has found out and says in a header field.

The rule of this file: the field is believed from our unix socket, or together with the secret that
the proxy and the settings share; where there is a secret it is needed on either way. In all other
cases the field is taken out of the request, and counts as if it had not come.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from bits_server.web.authentication.interface import CredentialsRefused, Identity
from bits_server.web.trusted_proxies import CAME_OVER_UNIX

SECRET_FIELD = "X-Proxy-Secret"
NOT_BELIEVED = "bits_server.not_believed"  # in the environ: the field that was taken out


class ProxyIdentity:
    """A scheme that asks nobody: the proxy did."""

    def __init__(self, field: str, secret: str | None, *, may_have_commas: bool) -> None:
        """``field``: the name of the header field. ``secret``: of the settings, if they have one.

        ``may_have_commas``: off where two values, which HTTP joins with one, would be no name.
        """
        self._field = field
        self._key = _key_of(field)
        self._secret = secret.encode() if secret else None
        self._may_have_commas = may_have_commas

    def challenges(self, environ: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002
        return ()

    def is_remembered(self, environ: Mapping[str, Any]) -> bool:
        """A proxy does not guess."""
        return self._is_believed(environ) and bool(environ.get(self._key))

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        if self._key not in environ:
            return None
        if not self._is_believed(environ):
            del environ[self._key]
            environ[NOT_BELIEVED] = self._field
            return None
        user = _as_text(environ[self._key]).strip()
        if not user:
            return None  # nginx has no certificate, or nobody logged in
        if "," in user and not self._may_have_commas:
            raise CredentialsRefused(
                f"{self._field} came with more than one value: let the proxy set it, and not add "
                "to what a client sent",
                is_failure=False,
            )
        return Identity(user)

    def _is_believed(self, environ: Mapping[str, Any]) -> bool:
        if self._secret is None:
            return bool(environ.get(CAME_OVER_UNIX))
        given = environ.get(_key_of(SECRET_FIELD), "").encode("latin-1", "replace")
        return hmac.compare_digest(given, self._secret)


def _key_of(field: str) -> str:
    return "HTTP_" + field.upper().replace("-", "_")


def _as_text(value: str) -> str:
    """WSGI has one character a byte."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
