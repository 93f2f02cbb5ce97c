"""The one translator from exceptions to members of the family, and so to Acks."""

from __future__ import annotations

import errno

from bits_server.protocol.errors import (
    BitsError,
    DiskFull,
    EntityTooLarge,
    MalformedPacket,
    UnexpectedFailure,
)

_OF_OS: dict[int, tuple[type[BitsError], str]] = {
    errno.ENOSPC: (DiskFull, "the disk is full: make room, the upload goes on then"),
    errno.EDQUOT: (DiskFull, "the quota of the service's user is used up"),
    errno.EFBIG: (EntityTooLarge, "the file system takes no files of this size"),
    errno.ENAMETOOLONG: (MalformedPacket, "the file system takes no names of this length"),
}


def to_bits_error(error: Exception) -> BitsError:
    """The member of the family that answers ``error``; it has ``error`` as its cause."""
    if isinstance(error, BitsError):
        return error
    if isinstance(error, OSError) and error.errno in _OF_OS:
        kind, remedy = _OF_OS[error.errno]
        answer: BitsError = kind(f"{remedy} ({error})")
    else:
        answer = UnexpectedFailure(f"{type(error).__name__}: {error}")
    answer.__cause__ = error
    return answer
