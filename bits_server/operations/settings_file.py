"""The settings file, TOML: read into Settings, and printed again with every default.

The rule of this file: what is tabular is a table. ``DIRECTORY_KEYS`` and ``SERVER_KEYS`` say which
keys there are, how each is read and printed; an unknown key, a wrong type and a value that makes
no sense are refused with file, table and key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from bits_server.operations import values
from bits_server.settings import (
    Checksum,
    Durability,
    LogFormat,
    LogLevel,
    NotificationHeader,
    NotificationType,
    NotifyAt,
    Settings,
    SettingsError,
    VirtualDirectory,
)

ENVIRONMENT_VARIABLE = "BITS_SERVER_SETTINGS"

HIDDEN = "(not shown)"
SERVER = "[server]"
DEFAULTS = "[defaults]"


@dataclass(frozen=True, slots=True)
class Key:
    """How the value of a key is read from what TOML gives, and printed as TOML.

    ``read`` raises ValueError or TypeError with a text that says what to write instead.
    """

    read: Callable[[Any], Any]
    show: Callable[[Any], str]
    is_inherited: bool = True


def _expect(kind: type, name: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"must be {name}, not {value!r}")
        return value

    return read


def _text_list(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f'must be a list of texts, like ["127.0.0.1:8080"], not {value!r}')
    return tuple(value)


def _from_text(read: Callable[[str], Any]) -> Callable[[Any], Any]:
    as_text = _expect(str, "a text in quotes")
    return lambda value: read(as_text(value))


def _size(value: Any) -> int:
    return value if type(value) is int else int(_from_text(values.read_size)(value))


def _size_or_none(value: Any) -> int | None:
    return None if value == "none" else _size(value)


def _duration(value: Any) -> int:
    return value if type(value) is int else int(_from_text(values.read_duration)(value))


def _one_of(kind: type[Enum]) -> Key:
    def read(text: str) -> Enum:
        try:
            return kind(text)
        except ValueError as error:
            choice = ", ".join(f'"{each.value}"' for each in kind)
            raise ValueError(f"{text!r} must be one of {choice}") from error

    return Key(_from_text(read), _quoted(lambda member: str(member.value)))


def _headers(value: Any) -> tuple[NotificationHeader, ...]:
    if not isinstance(value, dict):
        raise TypeError('must be a table like { "X-Key" = { env = "KEY" } }')
    return tuple(_header(name, given) for name, given in value.items())


def _header(name: str, given: Any) -> NotificationHeader:
    """A value may come from elsewhere, so that a settings file need not be a secret."""
    if isinstance(given, str):
        return NotificationHeader(name, given)
    match given:
        case {"env": str(variable), **rest} if not rest:
            if (value := os.environ.get(variable)) is None:
                raise ValueError(f"{name}: the environment has no variable {variable}")
            return NotificationHeader(name, value, f"{{ env = {_quote(variable)} }}")
        case {"file": str(file), **rest} if not rest:
            try:
                with open(file, encoding="latin-1") as opened:
                    value = opened.read().rstrip("\r\n")
            except OSError as error:
                raise ValueError(f"{name}: {file} cannot be read: {error.strerror}") from error
            return NotificationHeader(name, value, f"{{ file = {_quote(file)} }}")
    raise TypeError(f'{name} must be a text, {{ env = "NAME" }} or {{ file = "/path" }}')


def _show_headers(headers: tuple[NotificationHeader, ...]) -> str:
    shown = (f"{_quote(each.name)} = {each.source or _quote(HIDDEN)}" for each in headers)
    return "{ " + ", ".join(shown) + " }" if headers else "{}"


def _quote(text: str) -> str:
    """A basic string of TOML."""
    escaped = "".join(
        f"\\u{ord(character):04x}" if ord(character) < 32 or ord(character) == 127 else character
        for character in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{escaped}"'


def _quoted(show: Callable[[Any], str]) -> Callable[[Any], str]:
    return lambda value: _quote(show(value))


TEXT = Key(_expect(str, "a text in quotes"), _quote)
TRUTH = Key(_expect(bool, "true or false"), lambda value: "true" if value else "false")
NUMBER = Key(_expect(int, "a whole number"), str)
TEXTS = Key(_text_list, lambda items: "[" + ", ".join(_quote(item) for item in items) + "]")
SIZE = Key(_size, _quoted(values.print_size))
SIZE_OR_NONE = Key(
    _size_or_none, _quoted(lambda size: "none" if size is None else values.print_size(size))
)
DURATION = Key(_duration, _quoted(values.print_duration))
MODE = Key(_from_text(values.read_mode), _quoted(values.print_mode))
HEADERS = Key(_headers, _show_headers)

SERVER_KEYS: dict[str, Key] = {
    "bind": TEXTS,
    "workers": NUMBER,
    "threads": NUMBER,
    "trusted_proxies": TEXTS,
    "metrics_bind": TEXT,
    "log_level": _one_of(LogLevel),
    "log_format": _one_of(LogFormat),
    "log_file": TEXT,
}

DIRECTORY_KEYS: dict[str, Key] = {
    "url": Key(TEXT.read, TEXT.show, is_inherited=False),
    "path": Key(TEXT.read, TEXT.show, is_inherited=False),
    "public_url": Key(TEXT.read, TEXT.show, is_inherited=False),
    "upload_enabled": Key(TRUTH.read, TRUTH.show, is_inherited=False),
    "allow_overwrites": TRUTH,
    "create_folders": TRUTH,
    "maximum_upload_size": SIZE_OR_NONE,
    "maximum_fragment_size": SIZE,
    "file_mode": MODE,
    "session_mode": MODE,
    "session_group": TEXT,
    "host_id": TEXT,
    "host_id_fallback_timeout": DURATION,
    "durability": _one_of(Durability),
    "session_timeout": DURATION,
    "cleanup_interval": DURATION,
    "notification_type": _one_of(NotificationType),
    "notification_url": TEXT,
    "notify_at": _one_of(NotifyAt),
    "notification_timeout": DURATION,
    "notification_headers": HEADERS,
    "notification_ca_file": TEXT,
    "maximum_reply_size": SIZE,
    "session_limit": NUMBER,
    "session_limit_per_address": NUMBER,
    "sessions_total": NUMBER,
    "minimum_free_space": SIZE,
    "quota": SIZE_OR_NONE,
    "quota_per_user": SIZE_OR_NONE,
    "checksum": _one_of(Checksum),
}


def load_settings(file: str) -> Settings:
    """Read a settings file. Raises SettingsError, which names file, table and key."""
    try:
        with open(file, "rb") as opened:
            found = tomllib.load(opened)
    except OSError as error:
        raise SettingsError("", f"cannot be read: {error.strerror}", file=file) from error
    except (ValueError, RecursionError) as error:  # besides its own, of what is too much for it
        raise SettingsError("", f"is not TOML: {error}", file=file) from error
    try:
        return settings_from(found)
    except SettingsError as error:
        error.file = file
        raise


def file_named_by_environment() -> str:
    """The settings file that BITS_SERVER_SETTINGS names. Raises SettingsError."""
    file = os.environ.get(ENVIRONMENT_VARIABLE)
    if not file:
        raise SettingsError(
            ENVIRONMENT_VARIABLE, "set this environment variable to the path of the settings file"
        )
    return file


def settings_from(found: Mapping[str, Any]) -> Settings:
    """Settings from what TOML gives. Raises SettingsError with table and key."""
    for table in found:
        if table not in ("server", "defaults", "virtual_directory"):
            raise SettingsError(
                table, "is unknown; there are [server], [defaults] and [[virtual_directory]]"
            )
    server = _read_table(found.get("server", {}), SERVER_KEYS, SERVER)
    inherited = {name: key for name, key in DIRECTORY_KEYS.items() if key.is_inherited}
    defaults = _read_table(found.get("defaults", {}), inherited, DEFAULTS)
    tables = found.get("virtual_directory", [])
    if not isinstance(tables, list):
        raise SettingsError(
            "virtual_directory", "is written [[virtual_directory]], twice bracketed"
        )
    directories = [
        _directory(table, defaults, f"[[virtual_directory]] number {number}")
        for number, table in enumerate(tables, 1)
    ]
    return Settings(virtual_directories=tuple(directories), **server)


def show_settings(settings: Settings) -> str:
    """All settings, defaults included, as a file that ``load_settings`` reads to the same."""
    lines = [SERVER, *_show(settings, SERVER_KEYS)]
    for directory in settings.virtual_directories:
        lines += ["", "[[virtual_directory]]", *_show(directory, DIRECTORY_KEYS)]
    return "\n".join(lines) + "\n"


def _directory(found: Any, defaults: dict[str, Any], table: str) -> VirtualDirectory:
    own = _read_table(found, DIRECTORY_KEYS, table)
    for needed in ("url", "path"):
        if needed not in own:
            raise SettingsError(needed, "is missing", table=table)
    try:
        return VirtualDirectory(**{**defaults, **own})
    except SettingsError as error:
        error.table = table if error.key in own else DEFAULTS
        raise


def _read_table(found: Any, keys: Mapping[str, Key], table: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise SettingsError("", "must be a table", table=table)
    result = {}
    for name, value in found.items():
        if name not in keys:
            raise SettingsError(
                name, f"is unknown here; the keys are {', '.join(keys)}", table=table
            )
        try:
            result[name] = keys[name].read(value)
        except (TypeError, ValueError) as error:
            raise SettingsError(name, str(error), table=table) from error
    return result


def _show(subject: Settings | VirtualDirectory, keys: Mapping[str, Key]) -> list[str]:
    lines = []
    for name, key in keys.items():
        value = getattr(subject, name)
        if value is not None or key is SIZE_OR_NONE:
            lines.append(f"{name} = {key.show(value)}")
    return lines
