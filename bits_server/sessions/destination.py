"""From the path of a destination URL to a safe path below the virtual directory.

The rule of this file: what passes here names a file below the virtual directory and nothing else,
as far as text can say; links are the store's business.
"""

from __future__ import annotations

import unicodedata

from bits_server.protocol.errors import MalformedPacket, UserNotAllowed
from bits_server.storage.interface import DestinationPath

PRIVATE_SEGMENT = "bits-sessions"
LONGEST_SEGMENT_BYTES = 255
# Windows' own limit of 260 characters for a path leaves room for fewer; to make 4 000 folders, one
# in the other, took 37 s under the session's lock.
MOST_SEGMENTS = 130


def parse_destination(path: bytes, home: tuple[str, ...] = ()) -> DestinationPath:
    """``path``: what follows the virtual directory and its slash, percent-decoded once.

    It is read as UTF-8 and decoded no further. ``home``: the folders that are the user's own, which
    come before it. Raises MalformedPacket for every name that the server refuses to make.
    """
    try:
        text = path.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedPacket("the destination is not UTF-8") from error
    segments = tuple(text.split("/"))
    if len(segments) > MOST_SEGMENTS:
        raise MalformedPacket(f"the destination is over {MOST_SEGMENTS - 1} folders deep")
    for segment in segments:
        _refuse_unsafe(segment)
    return DestinationPath(home + segments, len(home))


def refuse_impossible_home(home: tuple[str, ...]) -> None:
    """Raise UserNotAllowed where a user's name cannot be that of a folder."""
    for segment in home:
        try:
            _refuse_unsafe(segment)
            is_possible = "/" not in segment
        except (MalformedPacket, UnicodeEncodeError):
            is_possible = False
        if not is_possible:
            raise UserNotAllowed(f"no folder can have the name {segment!r}, which the path needs")


def _refuse_unsafe(segment: str) -> None:
    if segment in ("", ".", ".."):
        raise MalformedPacket(f"the destination has the segment {segment!r}; it must name a file")
    if "\\" in segment:
        raise MalformedPacket("the destination has a backslash")
    is_plain = segment.isascii() and segment.isprintable()
    if not is_plain and any(unicodedata.category(character) == "Cc" for character in segment):
        raise MalformedPacket("the destination has a control character")
    if len(segment.encode()) > LONGEST_SEGMENT_BYTES:
        raise MalformedPacket(f"a segment is over {LONGEST_SEGMENT_BYTES} bytes")
    if unicodedata.normalize("NFKC", segment).casefold() == PRIVATE_SEGMENT:
        raise MalformedPacket("the destination is in BITS-Sessions, which belongs to the server")
