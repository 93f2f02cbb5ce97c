"""The closed address, where metrics and health are told, as one more listener of gunicorn.

It cannot just be named in ``bind``: of addresses and descriptors gunicorn takes one kind, and none
of them where it was handed its sockets.
"""

from __future__ import annotations

from typing import Any

from gunicorn.config import Config
from gunicorn.sock import create_sockets

from bits_server.operations.closed_address import (
    SocketName,
    bind_of,
    came_in_at,
    name_of,
    names_of,
)
from bits_server.settings import SettingsError


class MetricsListener:
    """``bind``: as the settings have it, and from the opening on as the kernel does."""

    def __init__(self, bind: str) -> None:
        """``bind``: empty for none. Raises SettingsError."""
        self.bind = bind
        self._listener: Any = None
        # Looked at now: once it has listeners gunicorn closes the descriptors it was given.
        self._names = _names_of(bind) if bind.startswith("fd:") else None

    def open_beside(self, arbiter: Any) -> list[Any]:
        """Add the listener to those of ``arbiter``, unless it has been handed over with them.

        Returns the others. Does nothing where it is open already. Raises SettingsError.
        """
        if self.bind and self._listener not in arbiter.LISTENERS:
            self._open(arbiter)
        others = [each for each in arbiter.LISTENERS if each is not self._listener]
        if not others:
            raise _refusal("is the only socket that was handed over: none is left for uploads")
        return others

    def is_where(self, connection: Any) -> bool:
        """Whether a connection came in here."""
        return self._listener is not None and came_in_at(connection, self._names or ())

    def _open(self, arbiter: Any) -> None:
        names = _names_of(self.bind) if self._names is None else self._names
        found = [each for each in arbiter.LISTENERS if name_of(each) in names]
        if found and not (arbiter.systemd or arbiter.master_pid):
            raise _refusal("is where uploads come in")
        if not found:
            config = Config()
            config.set("bind", [self.bind])
            found = create_sockets(config, arbiter.log)
            arbiter.LISTENERS += found
        self._listener = found[0]
        self.bind = bind_of(self._listener)
        self._names = [name_of(self._listener)]


def _names_of(bind: str) -> list[SocketName]:
    try:
        return names_of(bind)
    except OSError as error:
        raise _refusal(f"{bind!r}: {error}") from error


def _refusal(problem: str) -> SettingsError:
    return SettingsError("metrics_bind", problem, table="[server]")
