"""The name of a session: a GUID in braces, compared without regard to case [MC-BUP] 2.2.1."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass

from bits_server.protocol.errors import SessionNotFound

_GUID_IN_BRACES = re.compile(
    r"\{[0-9A-F]{8}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{4}-[0-9A-F]{12}\}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SessionId:
    """A session id. ``text``: as IIS prints it, in braces and upper case, and ``str()`` too.

    It becomes the name of a folder. Raises SessionNotFound where ``text`` is anything else.
    """

    text: str

    def __post_init__(self) -> None:
        if not _GUID_IN_BRACES.fullmatch(self.text):
            said = f"{self.text[:80]!r} is no session id: a GUID in braces was expected"
            raise SessionNotFound(said)

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
        # Of other letters upper() makes two, or others: a ligature would become hexadecimal digits.
        return cls(text.upper() if text.isascii() else text)
