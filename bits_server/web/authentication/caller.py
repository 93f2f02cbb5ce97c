"""Who sends one request, found out once: at the first question, and never when nobody asks."""

from __future__ import annotations

from typing import Any

from bits_server.protocol.errors import AuthenticationRequired, BitsError
from bits_server.sessions.manager import Uploader
from bits_server.web.authentication.authenticator import ANONYMOUS, Authenticator
from bits_server.web.authentication.interface import Identity


class Caller:
    """The sender of the request that ``environ`` is."""

    def __init__(self, environ: dict[str, Any], authenticator: Authenticator | None) -> None:
        """``authenticator``: None where the request is for no virtual directory."""
        self._environ = environ
        self._authenticator = authenticator
        self._identity: Identity | None = None
        self._error: BitsError | None = None
        self.client_address: str = environ.get("REMOTE_ADDR") or ""

    def uploader(self) -> Uploader:
        """Raises what ``Authenticator.identify`` raises."""
        return Uploader(self.identity().user, self.client_address)

    def identity(self) -> Identity:
        """Raises what ``Authenticator.identify`` raises, each time the same."""
        if self._error is not None:
            raise self._error
        if self._identity is None:
            try:
                self._identity = self._find()
            except BitsError as error:
                self._error = error
                raise
        return self._identity

    @property
    def answer_fields(self) -> tuple[tuple[str, str], ...]:
        """What the answer must carry because of who it is."""
        return self._identity.answer_fields if self._identity is not None else ()

    @property
    def known_user(self) -> str:
        """For the log: who it is, or claims to be, as far as somebody asked."""
        if self._identity is not None:
            return self._identity.user
        return self._error.user if isinstance(self._error, AuthenticationRequired) else ""

    def _find(self) -> Identity:
        if self._authenticator is None:
            return ANONYMOUS
        return self._authenticator.identify(self._environ)
