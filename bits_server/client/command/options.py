"""What the commands have in common: options, and how their texts become values."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from bits_server.client.command.words import Failure
from bits_server.client.credentials import KnownPasswords, Prompt, netrc_of
from bits_server.client.fragment_sizes import LARGEST_BYTES, SMALLEST_BYTES
from bits_server.client.job_store import StoreUnusable
from bits_server.client.jobs import Priority, Settings
from bits_server.client.login import SCHEMES
from bits_server.client.queue import Queue

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 1 << 10, "mib": 1 << 20}
_UNITS |= {"gib": 1 << 30, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SECONDS = {"": 1.0, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Size(click.ParamType[int]):
    """A number of bytes: 500000, 500KB, 4MiB."""

    name = "size"

    def __init__(self, least: int = 1, most: int | None = None) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: Any, ctx: Any) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,15})\s*([a-zA-Z]*)", value.strip())
        if found is None or found[2].lower() not in _UNITS:
            self.fail(f"{value!r} is no size: write it like 500KB or 4MiB", param, ctx)
        size = int(found[1]) * _UNITS[found[2].lower()]
        if size < self._least or (self._most is not None and size > self._most):
            most = "" if self._most is None else f" and {self._most} at most"
            self.fail(f"{value!r} must be {self._least} bytes at least{most}", param, ctx)
        return size


class Duration(click.ParamType[float]):
    """A number of seconds: 90, 10min, 12h, 14d."""

    name = "duration"

    def __init__(self, least: float) -> None:
        self._least = least

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"([0-9]{1,9})\s*(s|min|h|d|)", value.strip())
        if found is None:
            self.fail(f"{value!r} is no duration: write it like 90s, 10min or 14d", param, ctx)
        seconds = int(found[1]) * _SECONDS[found[2]]
        if seconds < self._least:
            self.fail(f"{value!r} must be {self._least:.0f} seconds at least", param, ctx)
        return seconds


class Url(click.ParamType[str]):
    """An absolute URL of http or https, without a password in it."""

    name = "url"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if not _is_url(value):
            self.fail(f"{value!r} is no URL of http or https", param, ctx)
        if "@" in urlsplit(value).netloc:
            self.fail(
                "a user or password in the URL would stand in the list of processes: set "
                "BITS_CLIENT_USER and BITS_CLIENT_PASSWORD (BITS_CLIENT_PROXY_USER …)",
                param,
                ctx,
            )
        return str(value)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.fragment


class Proxy(Url):
    """As a URL; the scheme may be left out; "none" is no proxy."""

    name = "proxy"

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        if value in ("", "none"):
            return ""
        return super().convert(value if "://" in value else f"http://{value}", param, ctx)


_READABLE = click.Path(exists=True, dir_okay=False, readable=True, resolve_path=True)

JOB_OPTIONS: list[Decorator] = [
    click.option("--name", default="", help="What the job is called.  [default: the file's name]"),
    click.option(
        "--priority",
        type=click.Choice([each.name.lower() for each in Priority]),
        default="normal",
        show_default=True,
        help="Who goes first; low yields to all others.",
    ),
    click.option(
        "--reply",
        type=click.Path(dir_okay=False),
        help="An upload-reply job: where the server application's reply goes.",
    ),
    click.option("--limit", type=Size(), help="Bytes per second of this job, like 500KB."),
    click.option(
        "--retry-delay", type=Duration(5), default="10min", show_default=True, help="5s at least."
    ),
    click.option(
        "--no-progress-timeout",
        type=Duration(5),
        default="14d",
        show_default=True,
        help="Give up when no byte came through for so long.",
    ),
    click.option(
        "--fragment-size-limit",
        type=Size(SMALLEST_BYTES, LARGEST_BYTES),
        default=str(LARGEST_BYTES),
        help="The most that is sent in one request.  [default: 13MB]",
    ),
    click.option("--ca", "ca_file", type=_READABLE, help="Authorities to trust, as PEM."),
    click.option("--client-certificate", type=_READABLE, help="Shown to the server, as PEM."),
    click.option("--client-key", type=_READABLE, help="Its key, where that is another file."),
    click.option("--proxy", type=Proxy(), help='"none", or a URL.  [default: the environment\'s]'),
    click.option(
        "--no-proxy",
        multiple=True,
        help="A name, .domain or network that is reached without the proxy; may be repeated.",
    ),
    click.option(
        "--auth",
        type=click.Choice(SCHEMES),
        help="How to log in; basic by name also without TLS.  [default: the best that is offered]",
    ),
]


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """All of ``JOB_OPTIONS``."""
    for option in reversed(JOB_OPTIONS):
        function = option(function)
    return function


def settings_of(options: dict[str, Any]) -> Settings:
    """Takes what is a setting out of the options."""
    values = {name: options.pop(name) for name in list(options) if hasattr(Settings, name)}
    values["rate_limit"] = options.pop("limit")
    values["no_proxy"] = tuple(values["no_proxy"])
    return replace(Settings(), **values)


def priority_of(name: str) -> Priority:
    return Priority[name.upper()]


def open_queue(
    folder: Path, *, prompt: Prompt | None = None, rate_limit: int | None = None
) -> Queue:
    """``prompt``: who may be asked for passwords, if somebody is there."""
    passwords = KnownPasswords(os.environ, netrc_file=netrc_of(os.environ), prompt=prompt)
    try:
        return Queue(folder, passwords=passwords, rate_limit=rate_limit)
    except StoreUnusable as error:
        raise Failure(str(error)) from None
