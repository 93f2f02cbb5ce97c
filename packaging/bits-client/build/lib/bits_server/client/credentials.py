"""Who the client says it is: to the server and to the proxy, separately.

The rule of this file: a password comes from the environment, a netrc file or a prompt, stays in
memory, and is printed nowhere. It is looked for only when somebody asks for it.
"""

from __future__ import annotations

import netrc
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

# Asks a person: (question, whether the answer must not be seen) -> the answer.
Prompt = Callable[[str, bool], str]


@dataclass(frozen=True)
class Credentials:
    """A user and his password."""

    user: str
    password: str = field(repr=False)


class Passwords(Protocol):
    """Where credentials are found."""

    def for_server(self, url: str) -> Credentials | None:
        """What to log in with at that URL, or None."""

    def for_proxy(self, url: str) -> Credentials | None:
        """What to log in with at a proxy, whose URL it is, or None."""


class NetrcUnusable(Exception):
    """The netrc file cannot be read, or others can read it."""


class KnownPasswords:
    """The environment first, then the netrc file, then whoever sits there."""

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        *,
        netrc_file: str | None = None,
        prompt: Prompt | None = None,
    ) -> None:
        """``environment``: with BITS_CLIENT_USER, BITS_CLIENT_PASSWORD, BITS_CLIENT_PROXY_USER
        and BITS_CLIENT_PROXY_PASSWORD, if any. ``netrc_file``: a path, or None for none.
        """
        self._environment = environment or {}
        self._netrc_file = netrc_file
        self._prompt = prompt
        self._answered: dict[tuple[str, str], Credentials | None] = {}

    def for_server(self, url: str) -> Credentials | None:
        return self._found("", url)

    def for_proxy(self, url: str) -> Credentials | None:
        return self._found("PROXY_", url)

    def _found(self, kind: str, url: str) -> Credentials | None:
        host = urlsplit(url).hostname or ""
        if (kind, host) not in self._answered:
            self._answered[kind, host] = self._look_for(kind, host)
        return self._answered[kind, host]

    def _look_for(self, kind: str, host: str) -> Credentials | None:
        user = self._environment.get(f"BITS_CLIENT_{kind}USER")
        password = self._environment.get(f"BITS_CLIENT_{kind}PASSWORD")
        if user is not None and password is not None:
            return Credentials(user, password)
        if self._netrc_file is not None and (found := _in_netrc(self._netrc_file, host)):
            return found
        if self._prompt is None:
            return None
        what = f"the proxy {host}" if kind else host
        user = user or self._prompt(f"User for {what}", False)
        return Credentials(user, self._prompt(f"Password of {user} for {what}", True))


def netrc_of(environment: Mapping[str, str]) -> str | None:
    """The netrc file to look into: NETRC, or .netrc in the home folder; None without one."""
    path = environment.get("NETRC") or str(Path.home() / ".netrc")
    return path if os.path.exists(path) else None


def _in_netrc(path: str, host: str) -> Credentials | None:
    """Raises NetrcUnusable."""
    try:
        if os.stat(path).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise NetrcUnusable(f"{path} holds passwords and is open to others: chmod 600 {path}")
        found = netrc.netrc(path).authenticators(host)
    except (OSError, UnicodeDecodeError) as error:
        raise NetrcUnusable(f"{path} cannot be read: {type(error).__name__}") from None
    except netrc.NetrcParseError as error:
        raise NetrcUnusable(f"{path}, line {error.lineno}: {error.msg}") from None
    if found is None or not found[0]:
        return None
    return Credentials(found[0], found[2] or "")
