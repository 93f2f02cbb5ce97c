"""What is printed: nothing in it moves the cursor, whoever made up the name or the answer.

The rule of this file: all text for people goes through ``say`` or ``Failure``.
"""

from __future__ import annotations

import click

from bits_server.client.errors import name_of
from bits_server.client.jobs import JobError

FAILED, NOT_FINISHED = 1, 3


def printable(text: str) -> str:
    """On one line, and without control characters, nor what turns the direction of writing."""
    return "".join(each if each.isprintable() else "?" for each in text)


def say(text: str, *, is_aside: bool = False) -> None:
    """Lines for people; ``is_aside``: on standard error."""
    click.echo("\n".join(map(printable, text.split("\n"))), err=is_aside)


class Failure(click.ClickException):
    """Ends the command with a sentence."""

    exit_code = FAILED

    def __init__(self, text: str) -> None:
        super().__init__("\n".join(map(printable, text.split("\n"))))


class Unfinished(Failure):
    """The same command goes on later."""

    exit_code = NOT_FINISHED


def file_failure(error: OSError, again: str = "") -> Failure:
    """For what happened to a file of the user's."""
    name = "" if error.filename is None else f"{error.filename}: "
    return Failure(f"{name}{error.strerror}{again}")


def size_text(size: float) -> str:
    """Bytes in words: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def duration_text(seconds: float) -> str:
    """12 s, 10 min, 3 h."""
    for unit, length, most in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 72 * 3600)):
        if seconds < most:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def error_text(error: JobError) -> str:
    """The error with its number, name and remedy."""
    return f"0x{error.hresult:08X} {name_of(error.hresult)}: {error.text}"
