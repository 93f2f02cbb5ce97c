"""Who of those that are known may upload: ``allow`` of the settings."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bits_server.protocol.errors import ServiceUnavailable, UserNotAllowed
from bits_server.settings.authentication import EVERYONE, GROUP_MARK
from bits_server.web.authentication.watched_file import WatchedFile

Groups = dict[str, frozenset[str]]

_MEMBER = re.compile(r'"([^"]*)"|(\S+)')


def parse_groups(text: str) -> Groups:
    """The groups of a file as Apache has it, ``group: user user``; names may stand in quotes.

    Raises ValueError, which names the line.
    """
    groups: dict[str, frozenset[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, members = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"line {number} is not like: group: user user")
        found = frozenset(quoted or plain for quoted, plain in _MEMBER.findall(members))
        groups[name.strip()] = groups.get(name.strip(), frozenset()) | found
    return groups


class Access:
    """Users and groups that may upload."""

    def __init__(self, allow: Sequence[str], groups_file: str | None = None) -> None:
        """``allow`` as in the settings. Reads nothing yet."""
        self._is_for_all = EVERYONE in allow
        self._users = frozenset(name for name in allow if not name.startswith(GROUP_MARK))
        self._groups = tuple(name[1:] for name in allow if name.startswith(GROUP_MARK))
        self._file = WatchedFile(groups_file, parse_groups) if groups_file else None

    def read(self) -> None:
        """See whether the groups can be read. Raises OSError, ValueError."""
        if self._file is not None:
            self._file.content()

    def refuse(self, user: str) -> None:
        """Raise UserNotAllowed, or return."""
        if self._is_for_all or user in self._users:
            return
        unknown: list[str] = []
        if self._groups and self._file is not None:
            try:
                groups = self._file.content()
            except (OSError, ValueError) as error:
                raise ServiceUnavailable(
                    f"groups_file {self._file.path} cannot be read: {error}"
                ) from error
            if any(user in groups.get(name, ()) for name in self._groups):
                return
            unknown = [name for name in self._groups if name not in groups]
        hint = f"; groups_file has no group {', '.join(map(repr, unknown))}" if unknown else ""
        raise UserNotAllowed(f"the user {user!r} is not among those that allow names{hint}")
