"""The name of a session: a GUID in braces, compared without regard to case [MC-BUP] 2.2.1."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from bits_server.protocol.errors import SessionNotFound

_GUID_IN_BRACES = re.compile(
    r"\{[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SessionId:
    """A session id. ``text``: as IIS prints it, in braces and upper case, and ``str()`` too."""

    text: str

    def __str__(self) -> str:
        return self.text

    @classmethod
    def new(cls) -> SessionId:
        """One that nobody has, and nobody guesses: it is a capability."""
        return cls(f"{{{uuid.uuid4()}}}".upper())

    @classmethod
    def parse(cls, text: str) -> SessionId:
        """Read an id from a header field, a path or a folder's name.

        Raises SessionNotFound where ``text`` is no GUID in braces: no session has such a name.
        """
        if not _GUID_IN_BRACES.fullmatch(text):
            raise SessionNotFound(f"{text[:80]!r} is no session id: a GUID in braces was expected")
        return cls(text.upper())
