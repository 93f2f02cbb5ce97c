"""Which settings a command is meant to use, from its arguments; and what it says of wrong ones."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import click

from bits_server.app import check_environment
from bits_server.operations.settings_file import load_settings
from bits_server.settings import Settings, SettingsError, VirtualDirectory

P = ParamSpec("P")


def explained(command: Callable[P, None]) -> Callable[P, None]:
    """Print a SettingsError as one message, and end with status 1."""

    @wraps(command)
    def wrapped(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            command(*arguments, **options)
        except SettingsError as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@contextmanager
def errors_of(file: str | None) -> Iterator[None]:
    """A SettingsError in here is about ``file``."""
    try:
        yield
    except SettingsError as error:
        error.file = file or ""
        raise


def usable(settings: Settings, file: str | None) -> Settings:
    """The settings, where this machine has what they name. Raises SettingsError."""
    with errors_of(file):
        check_environment(settings)
    return settings


def settings_of(folder: str | None, file: str | None, url: str | None) -> Settings:
    """From the command line alone, or from a settings file. Raises SettingsError, UsageError."""
    if file is not None:
        if folder is not None or url is not None:
            raise click.UsageError("FOLDER and --url are for a server without --settings.")
        return load_settings(file)
    if folder is None:
        raise click.UsageError("Name the FOLDER that receives the files, or give --settings FILE.")
    return Settings((VirtualDirectory(url=url or "/upload", path=os.path.abspath(folder)),))
