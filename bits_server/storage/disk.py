"""The few things done to files that must be done the same way everywhere.

The rule of this file: an error of write, fsync or close is never lost; names are relative to the
descriptor of an open folder, and links are not followed.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import BinaryIO

from bits_server.storage.interface import Buffer

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in a file's place holds nobody up
# A link, a folder, a socket or a pipe: what opening a file says of them.
NO_FILE = frozenset({errno.ELOOP, errno.EISDIR, errno.ENXIO})
LARGEST_FILE_BYTES = 1 << 17  # of those that are read as a whole; ours have less, by far
SMALL_FILE_BYTES = 2048  # a session.json with room to spare; a larger buffer costs more than it


@dataclass(frozen=True, slots=True)
class DiskRules:
    """How files are made. Modes are those of files; a folder's follows from them.

    ``file_mode``: of published files; ``session_mode``, ``session_group`` (a numeric group, None:
    the process's): of what is in a session's folder. ``sync_on_close``: see ``durability`` in the
    settings; ``sync_each_fragment`` includes it.
    """

    file_mode: int = 0o640
    session_mode: int = 0o600
    session_group: int | None = None
    sync_on_close: bool = True
    sync_each_fragment: bool = False


def folder_mode(mode_of_files: int) -> int:
    """Whoever may read the files may enter their folder."""
    return mode_of_files | (mode_of_files & 0o444) >> 2


def session_folder_mode(mode_of_files: int) -> int:
    """As ``folder_mode``, but only the server opens the folder: who can open it can lock it."""
    return folder_mode(mode_of_files) & ~0o044


def write_all(fd: int, block: Buffer, at: int) -> None:
    """Write the whole block at an offset; a full disk leaves a prefix of it, and raises."""
    view = memoryview(block)
    while view:
        written = os.pwrite(fd, view, at)
        view = view[written:]
        at += written


def read_file(name: str, folder: int | None = None) -> bytes:
    """The content of a small file, in an open folder or by its path.

    Raises OSError; for one that is not small too.
    """
    fd = os.open(name, os.O_RDONLY | FILE, dir_fd=folder)
    try:
        content = os.read(fd, SMALL_FILE_BYTES)
        if len(content) < SMALL_FILE_BYTES:
            return content  # without having asked how long it is
        content += os.read(fd, LARGEST_FILE_BYTES)
        if len(content) > LARGEST_FILE_BYTES:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
        return content
    finally:
        os.close(fd)


def open_regular(name: str, folder: int) -> tuple[BinaryIO, os.stat_result]:
    """Open a file that somebody else may have put there, to be read, and only if it is a file.

    Raises OSError: for a link, a folder and a pipe too, whose opening would wait for a writer.
    """
    fd = os.open(name, os.O_RDONLY | FILE, dir_fd=folder)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        return os.fdopen(fd, "rb"), status
    except BaseException:
        os.close(fd)
        raise


def replace_file(name: str, content: bytes, folder: int, mode: int, *, sync: bool) -> None:
    """Give the file new content, all or nothing; where that fails the old one stays."""
    temporary = name + ".new"
    try:
        fd = new_file(temporary, folder, mode)
        try:
            write_all(fd, content, 0)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        remove_file(temporary, folder)
        raise
    if sync:
        os.fsync(folder)


def new_file(name: str, folder: int, mode: int) -> int:
    """A file to be written. What a crash, or a stranger, left under the name goes, untouched."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | FILE
    try:
        return os.open(name, flags, mode, dir_fd=folder)
    except FileExistsError:
        remove_file(name, folder)
        return os.open(name, flags, mode, dir_fd=folder)


def remove_file(name: str, folder: int) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
