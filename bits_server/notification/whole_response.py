"""The answer of a server application, read strictly and within limits.

The rule of this file: http.client reads what it can, and forgives the rest. Here what could be read
in two ways is no answer: a field that gets lost might be the one that says where the file is to go.
Lines have a limit together, so that neither heads nor what stands between chunks have no end.
"""

from __future__ import annotations

import re
import socket
from email.errors import (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)
from http.client import HTTPException, HTTPResponse, IncompleteRead
from io import BufferedReader
from typing import Any

LARGEST_HEAD_BYTES = 1 << 16  # with the interim answers before it; or of lines between chunks

_SWITCHING_PROTOCOLS = 101  # the one interim answer that no other follows
_DEFECTS = (
    FirstHeaderLineIsContinuationDefect,
    InvalidHeaderDefect,
    MisplacedEnvelopeHeaderDefect,
    MissingHeaderBodySeparatorDefect,
)


class WholeResponse(HTTPResponse):
    """An answer whose head ends with an empty line; http.client takes the end of file for one."""

    def __init__(self, connection: socket.socket, *options: Any, **named: Any) -> None:
        super().__init__(connection, *options, **named)
        self._lines = _Lines(self.fp.detach())
        self.fp = self._lines

    def begin(self) -> None:
        """Read the head, without the interim ones before it [RFC 9110] 15.2."""
        self._begin()
        while 100 <= self.status <= 199 and self.status != _SWITCHING_PROTOCOLS:
            self.headers = self.msg = None  # type: ignore[assignment] # or it counts as begun
            self._begin()
        if any(isinstance(defect, _DEFECTS) for defect in self.headers.defects):
            raise HTTPException("a line of the header is no field")
        self._refuse_doubtful_length()

    def _begin(self) -> None:
        super().begin()
        if self._lines.last not in (b"\r\n", b"\n"):
            raise IncompleteRead(self._lines.last)

    def _refuse_doubtful_length(self) -> None:
        codings = self.headers.get_all("transfer-encoding", [])
        if codings and (len(codings) > 1 or codings[0].lower() != "chunked"):
            raise HTTPException("a Transfer-Encoding other than chunked")
        lengths = {each.strip() for each in self.headers.get_all("content-length", [])}
        if len(lengths) > 1 or not all(re.fullmatch("[0-9]{1,18}", each) for each in lengths):
            raise HTTPException("a Content-Length that is none, or two")


class _Lines(BufferedReader):
    """A reader that remembers its last line, and limits what is read by lines at a stretch."""

    last = b""
    _left = LARGEST_HEAD_BYTES

    def readline(self, size: int | None = -1, /) -> bytes:
        self.last = super().readline(size)
        self._left -= len(self.last)
        if self._left < 0:
            raise HTTPException(f"more than {LARGEST_HEAD_BYTES} bytes of head, or between chunks")
        if b"\r" in self.last.removesuffix(b"\r\n") or b"\0" in self.last:
            raise HTTPException("a line with a carriage return or a NUL in it")
        return self.last

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:  # a chunk of -1 bytes would be all that ever comes
            raise HTTPException("a chunk of less than no bytes")
        self._left = LARGEST_HEAD_BYTES
        return super().read(size)
