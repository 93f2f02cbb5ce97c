"""Whose keys a keytab has, as ``klist -k`` lists them: for checks and messages.

The rule of this file: names and numbers come out of it, and never a key. The format is MIT's, of
version 2, which ``ktpass``, ``kadmin``, ``ktutil`` and Samba write.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_MAGIC = b"\x05\x02"
_LENGTH = struct.Struct(">i")
_SHORT = struct.Struct(">H")
# Behind the name: its type, when the key was made, the low byte of its version, its kind.
_REST = struct.Struct(">IIBH")


@dataclass(frozen=True, slots=True)
class KeytabEntry:
    """One key. ``principal`` is like ``HTTP/host@REALM``, ``version`` the kvno."""

    principal: str
    version: int

    def __str__(self) -> str:
        return f"{self.principal} (kvno {self.version})"


def read_keytab(path: str) -> list[KeytabEntry]:
    """The keys of a file, without repeats. Raises OSError; ValueError for what is no keytab."""
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] != _MAGIC:
        raise ValueError("is no keytab")
    try:
        return list(dict.fromkeys(_entries(content)))
    except struct.error as error:
        raise ValueError("is a keytab that is damaged or cut off") from error


def _entries(content: bytes) -> list[KeytabEntry]:
    entries = []
    at = len(_MAGIC)
    while at < len(content):
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if length == 0:
            break  # the rest is unused
        if length > 0:
            entries.append(_entry(content[at : at + length]))
        at += abs(length)  # negative: where an entry was removed
    return entries


def _entry(block: bytes) -> KeytabEntry:
    (count,) = _SHORT.unpack_from(block)
    at = _SHORT.size
    texts = []
    for _ in range(count + 1):
        text, at = _counted(block, at)
        texts.append(text.decode(errors="backslashreplace"))
    _, _, version, _ = _REST.unpack_from(block, at)
    _, at = _counted(block, at + _REST.size)
    if len(block) - at >= _LENGTH.size:  # versions over 255 are written once more
        version = _LENGTH.unpack_from(block, at)[0] or version
    realm, *components = texts
    return KeytabEntry(f"{'/'.join(components)}@{realm}", version)


def _counted(block: bytes, at: int) -> tuple[bytes, int]:
    """Bytes with their number before them, and where they end."""
    (length,) = _SHORT.unpack_from(block, at)
    at += _SHORT.size
    if at + length > len(block):
        raise struct.error
    return block[at : at + length], at + length
