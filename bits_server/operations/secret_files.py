"""Files that hold secrets, or decide who may upload, and that too many can read or change.

The rule of this file: nothing is refused and nothing is read; the administrator is told at start,
with what to type. A group may read: that of the service is how it comes to read at all. Whoever may
change a folder can put another file in the place of one that he may not even read.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from bits_server.settings import Settings

_OTHERS_READ = stat.S_IROTH
_OTHERS_CHANGE = stat.S_IWGRP | stat.S_IWOTH


def complaints(settings: Settings, file: str | None = None) -> list[str]:
    """One sentence for each file. ``file``: where the settings were read from, if anywhere."""
    found: dict[str, bool] = {}  # whether it is a secret too, or must only not be changed
    for path, is_secret in _files(settings, file):
        found[path] = found.get(path, False) or is_secret
    said = [_complaint(path, is_secret) for path, is_secret in found.items()]
    folders = dict.fromkeys(each for path in found for each in _folders(path))
    said += [_complaint_of_folder(folder) for folder in folders]
    return [each for each in said if each]


def _files(settings: Settings, file: str | None) -> Iterator[tuple[str, bool]]:
    has_literals = False
    yield settings.tls_key, True
    yield settings.tls_certificate, not settings.tls_key
    for directory in settings.virtual_directories:
        yield directory.htpasswd_file or "", True
        yield directory.keytab or "", True
        yield directory.groups_file or "", False
        yield directory.notification_ca_file or "", False
        secrets = [*directory.notification_headers]
        shared = directory.proxy_secret
        for source in (*(each.source for each in secrets), *([shared.source] if shared else [])):
            has_literals = has_literals or not source
        yield from ((each.file, True) for each in secrets)
        if shared:
            yield shared.file, True
    yield file or "", has_literals


def _complaint(path: str, is_secret: bool) -> str:
    try:
        status = os.stat(path) if path else None
    except OSError:
        return ""  # whoever reads it says so
    if status is None:
        return ""
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to {_name_of(status.st_uid)}, who can change it: chown root {path}"
    if mode & _OTHERS_CHANGE:
        return f"{path} can be changed by others than its owner: chmod go-w {path}"
    if is_secret and mode & _OTHERS_READ:
        return f"{path} holds secrets, and everybody can read it: chmod o-r {path}"
    return ""


def _folders(path: str) -> list[str]:
    """Those that lead to a file, by the name of the settings and by where it really is."""
    if not path:
        return []
    named = Path(os.path.abspath(path)).parents
    return [str(each) for each in (*named, *Path(os.path.realpath(path)).parents)]


def _complaint_of_folder(folder: str) -> str:
    try:
        status = os.stat(folder)
    except OSError:
        return ""
    what = f"in the folder {folder} a file that decides who may upload, or holds secrets,"
    if status.st_uid not in (0, os.geteuid()):
        return f"{what} can be replaced by {_name_of(status.st_uid)}: chown root {folder}"
    is_sticky = status.st_mode & stat.S_ISVTX  # as /tmp: each his own files only
    if status.st_mode & _OTHERS_CHANGE and not is_sticky:
        return f"{what} can be replaced by others: chmod go-w {folder}"
    return ""


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"the user {user}"
