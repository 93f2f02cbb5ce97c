"""The file ``response`` in a session's folder: the reply of the server application.

The rule of this file: by reference the application made it, as another user perhaps, so it is
opened without following links and only if it is a regular file with no other name.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from bits_server.storage.disk import new_file, open_regular, remove_file
from bits_server.storage.interface import Reply, ReplyUnusable

RESPONSE = "response"
_UNFINISHED = "response.new"
_MODE = 0o600
_LATEST = 253_402_300_799  # the end of the year 9999: the application sets what time it likes


@contextmanager
def new(folder: int, *, sync: bool) -> Iterator[BinaryIO]:
    """A file that becomes the reply when the context is left without error."""
    _remove(_UNFINISHED, folder)
    try:
        with os.fdopen(new_file(_UNFINISHED, folder, _MODE), "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.rename(_UNFINISHED, RESPONSE, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        remove_file(_UNFINISHED, folder)
        raise
    if sync:
        os.fsync(folder)


def discard(folder: int) -> None:
    """Remove whatever stands where the reply is expected."""
    _remove(RESPONSE, folder)


def open_reply(folder: int) -> Reply | None:
    """The reply, if there is one. Raises ReplyUnusable."""
    try:
        file, status = open_regular(RESPONSE, folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReplyUnusable(
            f"the reply cannot be read by user {os.geteuid()}, who serves it: {error.strerror}"
        ) from error
    if status.st_nlink > 1:
        file.close()
        raise ReplyUnusable("the reply has another name too, and so may be somebody else's file")
    tag = f"{status.st_ino:x}-{status.st_size:x}-{status.st_mtime_ns:x}"
    modified = min(max(status.st_mtime, 0), _LATEST)
    return Reply(file, status.st_size, modified, tag)


def _remove(name: str, folder: int) -> None:
    try:
        remove_file(name, folder)
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=folder)
