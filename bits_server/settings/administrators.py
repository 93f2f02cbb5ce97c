"""Who sees the page of the sessions, and where they log in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

from bits_server.settings.authentication import Authentication
from bits_server.settings.refusals import SettingsError, require

Directory = TypeVar("Directory", bound=Any)

_SERVER = "[server]"


def login_of(administrators: tuple[str, ...], directories: Sequence[Directory]) -> Directory | None:
    """As there they log in: the first virtual directory that asks who somebody is, with them alone
    as those who may. Raises SettingsError.
    """
    for directory in directories if administrators else ():
        if directory.authentication != (Authentication.ANONYMOUS,):
            made: Directory = replace(directory, allow=administrators)
            return made
    return None


def check_sessions_page(
    administrators: tuple[str, ...],
    directories: Sequence[Any],
    *,
    sessions_page: bool,
    metrics_bind: str,
) -> None:
    """Raise SettingsError where the page could be seen by nobody, or by the wrong ones."""
    require(
        not sessions_page or bool(metrics_bind),
        "sessions_page",
        "must have metrics_bind, where the page is shown then; or name administrators",
        table=_SERVER,
    )
    try:
        login = login_of(administrators, directories)
    except SettingsError as error:
        raise SettingsError(
            "administrators", f"cannot be what allow could not be: {error}", table=_SERVER
        ) from error
    require(
        login is not None or not administrators,
        "administrators",
        "must have a virtual directory with authentication: as there they log in",
        table=_SERVER,
    )
