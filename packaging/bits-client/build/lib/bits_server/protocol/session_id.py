"""The name of a session: a GUID in braces, compared without regard to case [MC-BUP] 2.2.1."""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from bits_server.protocol.errors import SessionNotFound

_GUID_IN_BRACES = re.compile(
    r"\{[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}\}", re.ASCII
)


@dataclass(frozen=True, slots=True)
class SessionId:
    """A session id; ``str()`` prints it as IIS does: in braces, upper case."""

    guid: UUID

    def __str__(self) -> str:
        return f"{{{self.guid}}}".upper()

    @classmethod
    def parse(cls, text: str) -> SessionId:
        """Read an id from a header field, a path or a folder's name.

        Raises SessionNotFound where ``text`` is no GUID in braces: no session has such a name.
        """
        if not _GUID_IN_BRACES.fullmatch(text):
            raise SessionNotFound(f"{text[:80]!r} is no session id: a GUID in braces was expected")
        return cls(UUID(text[1:-1]))
