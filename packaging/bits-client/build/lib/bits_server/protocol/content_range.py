"""Content-Range of a Fragment [MC-BUP] 2.2.6: which bytes of the request entity it brings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from bits_server.protocol.errors import MalformedPacket

MAXIMUM_TOTAL = 2**64 - 1  # offsets are 64-bit numbers [MC-BUP] 2.2.6

_BYTES = r"bytes[ \t]+"
_RANGE = re.compile(_BYTES + r"([0-9]{1,20})-([0-9]{1,20})/([0-9]{1,20})", re.ASCII | re.IGNORECASE)
_EMPTY = re.compile(_BYTES + r"(?:0--1|\*)/0", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Bytes ``first`` to ``last``, inclusive as on the wire, of a request entity of ``total``.

    The empty file is ``ContentRange(0, -1, 0)``. Raises MalformedPacket where the three do not
    make a range.
    """

    first: int
    last: int
    total: int

    def __post_init__(self) -> None:
        if (self.first, self.last, self.total) == (0, -1, 0):
            return
        if not 0 <= self.first <= self.last < self.total <= MAXIMUM_TOTAL:
            raise MalformedPacket(f"Content-Range {self} is no range of bytes")

    def __str__(self) -> str:
        return f"bytes {self.first}-{self.last}/{self.total}"

    @property
    def length(self) -> int:
        """How many bytes the Fragment brings."""
        return self.last - self.first + 1

    @property
    def ends_entity(self) -> bool:
        """Whether the last byte of the request entity is in this Fragment."""
        return self.last + 1 == self.total

    @property
    def is_whole(self) -> bool:
        """Whether the Fragment is all of the request entity."""
        return self.first == 0 and self.ends_entity

    @classmethod
    def parse(cls, text: str) -> ContentRange:
        """Read ``bytes FIRST-LAST/TOTAL``; ``bytes 0--1/0`` and ``bytes */0`` name an empty file.

        Raises MalformedPacket.
        """
        if found := _RANGE.fullmatch(text):
            return cls(*(int(number) for number in found.groups()))
        if _EMPTY.fullmatch(text):
            return cls(0, -1, 0)
        raise MalformedPacket(
            f"Content-Range {text[:80]!r} is not of the form 'bytes FIRST-LAST/TOTAL'"
        )
