"""The file that goes up: as it was when the job was made, or not at all.

The rule of this file: a byte is sent only of a file whose size and time are those of the job.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Self

from bits_server.client.bandwidth import JobLimiter, Stop
from bits_server.client.errors import (
    BG_E_LOCAL_FILE_CHANGED,
    ERROR_ACCESS_DENIED,
    ERROR_FILE_NOT_FOUND,
    ERROR_READ_FAULT,
    Fatal,
)
from bits_server.client.jobs import ErrorContext, LocalFile

BLOCK_BYTES = 1 << 20  # read and sent at once; the library's 16 KiB cost twice the processor time


def describe(path: str) -> LocalFile:
    """The file as it is now. Raises OSError, also where it is no regular file."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):  # a pipe or a device has neither a size nor an end
        raise OSError(errno.EINVAL, "is no regular file, whose size is known and stays", path)
    return LocalFile(os.path.abspath(path), status.st_size, status.st_mtime_ns)


class OpenFile:
    """The file of a job, opened for reading."""

    def __init__(self, file: LocalFile) -> None:
        """Raises Fatal where it is gone, cannot be read, or has changed."""
        self._file = file
        try:
            # Not waiting, for it may have become a pipe; of a regular file it means nothing.
            self._fd = os.open(file.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            raise _fatal(ERROR_FILE_NOT_FOUND, f"{file.path} is not there any more") from None
        except OSError as error:
            raise _fatal(
                ERROR_ACCESS_DENIED, f"{file.path} cannot be read: {error.strerror}"
            ) from None
        try:
            self.check()
            self._stream = io.FileIO(self._fd, "rb")
        except BaseException:
            os.close(self._fd)
            raise
        self._block = memoryview(bytearray(min(BLOCK_BYTES, file.size)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def check(self) -> None:
        """Raise Fatal where the file, or what has its name now, is another."""
        try:
            now = os.stat(self._file.path)
        except OSError:
            now = None
        opened = os.fstat(self._fd)
        for each in (now, opened):
            if (
                each is None
                or not stat.S_ISREG(each.st_mode)
                or (each.st_size, each.st_mtime_ns) != (self._file.size, self._file.mtime_ns)
            ):
                raise _fatal(
                    BG_E_LOCAL_FILE_CHANGED,
                    f"{self._file.path} has changed since the job was made: make a new job",
                )

    def fragment(
        self, first: int, size: int, limiter: JobLimiter, stop: Stop, sent: Callable[[int], None]
    ) -> Fragment:
        """``size`` bytes from ``first`` on. ``sent`` is told how far they were read."""
        source = _Source(self._stream, self._block, self.check)
        return Fragment(source, first, size, limiter, stop, sent)


@dataclass(frozen=True)
class _Source:
    """``block``: where all that is read goes, one block after the other: a new one for each costs
    a third more processor time. ``check`` raises Fatal where the file has changed."""

    stream: io.FileIO
    block: memoryview
    check: Callable[[], None]


class Fragment:
    """A part of the file as the body of a request: read as it is sent, and as fast as allowed."""

    def __init__(
        self,
        source: _Source,
        first: int,
        size: int,
        limiter: JobLimiter,
        stop: Stop,
        sent: Callable[[int], None],
    ) -> None:
        self._source = source
        self._sent = sent
        self._first = first
        self._size = size
        self._limiter = limiter
        self._stop = stop
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[memoryview | bytes]:
        """What requests knows a stream by."""
        return iter(self.read, b"")

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = base + offset
        return self._at

    def read(self, size: int = -1, /) -> memoryview | bytes:
        """Good until the next call. Raises Stopped, and Fatal where the file has become shorter."""
        left = self._size - self._at
        if left <= 0:
            return b""
        source = self._source
        most = len(source.block) if size < 0 else min(size, len(source.block))
        wanted = self._limiter.piece(min(left, most))
        self._limiter.take(wanted, self._stop)
        try:
            source.stream.seek(self._first + self._at)
            read = source.stream.readinto(source.block[:wanted])
        except OSError as error:
            raise _fatal(ERROR_READ_FAULT, f"the file cannot be read: {error.strerror}") from None
        if not read:
            raise _fatal(BG_E_LOCAL_FILE_CHANGED, "the file has become shorter: make a new job")
        self._at += read
        if self._at >= self._size:
            source.check()  # before the last bytes go
        self._sent(self._first + self._at)
        return source.block[:read]


def _fatal(hresult: int, text: str) -> Fatal:
    return Fatal(hresult, text, context=ErrorContext.LOCAL_FILE)
