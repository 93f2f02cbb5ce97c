"""What a scheme of authentication must offer; ``authenticator`` asks them one after the other.

The rule of this file: interfaces and their values only. ``environ`` is that of WSGI as the trusted
proxies have it: ``wsgi.url_scheme`` is ``https`` where the client's connection is encrypted, and
``REMOTE_ADDR`` is the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sends a request. ``user`` is as in session records, logs and settings.

    ``answer_fields``: names and values of what the answer must carry, such as the last token of
    Negotiate.
    """

    user: str
    answer_fields: tuple[tuple[str, str], ...] = ()


class CredentialsRefused(Exception):
    """Credentials of a scheme came, and are not right. The message is for the log, without them.

    ``user``: whose they claim to be, where that is known. ``is_failure``: whether it counts as a
    guess, so that more of them slow the address down.
    """

    def __init__(self, message: str, user: str = "", is_failure: bool = True) -> None:
        super().__init__(message)
        self.user = user
        self.is_failure = is_failure


class Scheme(Protocol):
    """One way to find out who sends a request. Used by several threads at once."""

    def challenges(self, environ: Mapping[str, Any]) -> Sequence[str]:
        """Values of WWW-Authenticate for this request; none where it has no challenge."""

    def is_remembered(self, environ: Mapping[str, Any]) -> bool:
        """Whether these very credentials were right not long ago. Quick."""

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        """Who it is; None where no credentials of this scheme came.

        Raises CredentialsRefused, and BitsError where the scheme itself is out of order.
        """
