"""The settings file, TOML: read into Settings, and printed again with every default.

The rule of this file: what is tabular is a table. ``DIRECTORY_KEYS`` and ``SERVER_KEYS`` say which
keys there are, how each is read and printed; an unknown key, a wrong type and a value that makes
no sense are refused with file, table and key.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from typing import Any

from bits_server.operations.setting_kinds import (
    DURATION,
    HEADERS,
    MODE,
    NUMBER,
    SECRET,
    SIZE,
    SIZE_OR_NONE,
    TEXT,
    TEXTS,
    TRUTH,
    Key,
    one_of,
    some_of,
)
from bits_server.settings import (
    Authentication,
    Checksum,
    Durability,
    LogFormat,
    LogLevel,
    NotificationType,
    NotifyAt,
    Settings,
    SettingsError,
    VirtualDirectory,
)

ENVIRONMENT_VARIABLE = "BITS_SERVER_SETTINGS"

SERVER = "[server]"
DEFAULTS = "[defaults]"


SERVER_KEYS: dict[str, Key] = {
    "bind": TEXTS,
    "workers": NUMBER,
    "threads": NUMBER,
    "trusted_proxies": TEXTS,
    "tls_certificate": TEXT,
    "tls_key": TEXT,
    "metrics_bind": TEXT,
    "sessions_page": TRUTH,
    "administrators": TEXTS,
    "log_level": one_of(LogLevel),
    "log_format": one_of(LogFormat),
    "log_file": TEXT,
}

DIRECTORY_KEYS: dict[str, Key] = {
    "url": Key(TEXT.read, TEXT.show, is_inherited=False),
    "path": Key(TEXT.read, TEXT.show, is_inherited=False),
    "public_url": Key(TEXT.read, TEXT.show, is_inherited=False),
    "upload_enabled": Key(TRUTH.read, TRUTH.show, is_inherited=False),
    "upload_page": TRUTH,
    "allow_overwrites": TRUTH,
    "create_folders": TRUTH,
    "maximum_upload_size": SIZE_OR_NONE,
    "maximum_fragment_size": SIZE,
    "file_mode": MODE,
    "session_mode": MODE,
    "session_group": TEXT,
    "host_id": TEXT,
    "host_id_fallback_timeout": DURATION,
    "durability": one_of(Durability),
    "session_timeout": DURATION,
    "cleanup_interval": DURATION,
    "notification_type": one_of(NotificationType),
    "notification_url": TEXT,
    "notify_at": one_of(NotifyAt),
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
    "checksum": one_of(Checksum),
    "authentication": some_of(Authentication),
    "htpasswd_file": TEXT,
    "basic_without_tls": TRUTH,
    "allow": TEXTS,
    "groups_file": TEXT,
    "user_header": TEXT,
    "certificate_header": TEXT,
    "proxy_secret": SECRET,
    "keytab": TEXT,
    "kerberos_realm": TEXT,
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
        is_inherited = error.key in defaults and error.key not in own
        error.table = DEFAULTS if is_inherited else table
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
