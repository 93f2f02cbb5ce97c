"""The fast receive path: a body straight from gunicorn's socket into a buffer that is used again.

The rule of this file: it is taken only where gunicorn's reader is exactly the one known here, in
class and attributes, over plain TCP or a unix socket; TLS keeps decrypted bytes of its own. Between
two reads gunicorn's reader is right about what is left of the body: whoever goes on with the
connection finds the next request where it begins.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import termios
import time
from array import array
from contextlib import suppress
from io import BytesIO
from typing import Any

BUFFER_BYTES = 2 << 20  # a huge page
GRACE_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 512  # on the average of a request, after the grace

# Those that nobody uses; the one used last comes first: it is in the processor's cache. There are
# never more than packets were taken in at once.
_buffers: list[memoryview] = []


class TooSlow(OSError):
    """The client sends, but so little that it only holds a thread."""


# By name: gunicorn is not imported here, and a socket of gevent or TLS is another. An attribute
# more may be a place where bytes are kept.
_KNOWN_BODY = ("gunicorn.http.body", "Body", {"reader", "buf", "failed"})
_KNOWN_READER = ("gunicorn.http.body", "LengthReader", {"unreader", "length"})
_KNOWN_UNREADER = ("gunicorn.http.unreader", "SocketUnreader", {"sock", "mxchunk", "buf"})


class SocketInput:
    """In place of ``wsgi.input``, for one request whose body has a known length."""

    def __init__(self, body: Any) -> None:
        """``body``: gunicorn's, as ``socket_input`` has examined it."""
        self._body = body
        self._reader = body.reader
        self._unreader = body.reader.unreader
        self._failure: OSError | None = None
        self._buffer: memoryview | None = None
        self._began = time.monotonic()
        self._received = 0

    def read(self, size: int) -> memoryview:
        """The next ``size`` bytes of the body, at most 2 MiB; the next read overwrites them.

        Fewer only where the client fell silent or is gone: the next read raises the OSError, or
        gives none. The caller asks for no more than the body has.
        """
        if self._failure is not None:
            raise self._failure
        if self._buffer is None:
            self._buffer = _free_buffer()
        block = self._buffer[:size]
        filled = self._take_read_ahead(block)
        while filled < size:
            try:
                received = _receive(self._unreader.sock, block[filled:])
            except OSError as error:
                self._body.failed = True  # gunicorn's word for: close this connection
                if not filled:
                    raise
                self._failure = error
                break
            if not received:
                break
            self._reader.length -= received
            filled += received
            self._received += received
            if self._is_too_slow():
                self._body.failed = True
                self._failure = TooSlow(
                    f"the client sent {self._received} bytes in {GRACE_SECONDS:.0f} s and more"
                )
                break
        return block[:filled]

    def release(self) -> None:
        """The last block is not needed any more."""
        if self._buffer is not None:
            _buffers.append(self._buffer)
            self._buffer = None

    def is_here(self, size: int) -> bool:
        """Whether the next ``size`` bytes can be read without waiting for the client."""
        size -= self._unreader.buf.getbuffer().nbytes
        return size <= 0 or size <= _waiting_bytes(self._unreader.sock)

    def _is_too_slow(self) -> bool:
        """A byte now and then is no silence, and would hold a thread for days."""
        seconds = time.monotonic() - self._began
        return seconds > GRACE_SECONDS and self._received < SLOWEST_BYTES_PER_SECOND * seconds

    def _take_read_ahead(self, block: memoryview) -> int:
        """What came with the head, and was read with it. Behind it may be the next request."""
        ahead: int = min(self._unreader.buf.getbuffer().nbytes, len(block))
        if ahead:
            block[:ahead] = self._reader.read(ahead)
        return ahead


def _free_buffer() -> memoryview:
    try:
        return _buffers.pop()  # in one step: to look first would be a race without the GIL
    except IndexError:
        return _new_buffer()


def _new_buffer() -> memoryview:
    """In one huge page, where the kernel has one: half a thousand small ones cost time to find."""
    pages = mmap.mmap(-1, BUFFER_BYTES, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel without huge pages
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)


def socket_input(environ: dict[str, Any], length: int) -> SocketInput | None:
    """The fast path for a body of ``length`` bytes that nobody has read from; None: not here."""
    body: Any = environ["wsgi.input"]
    connection = environ.get("gunicorn.socket")
    is_known = (
        environ.get("SERVER_PROTOCOL") == "HTTP/1.1"
        and _is_known(body, *_KNOWN_BODY)
        and _is_known(body.reader, *_KNOWN_READER)
        and _is_known(body.reader.unreader, *_KNOWN_UNREADER)
        and type(body.reader.unreader.buf) is BytesIO
        and _names(connection) == ("socket", "socket")
        and connection is body.reader.unreader.sock
    )
    if not is_known or body.failed or body.reader.length != length:
        return None
    return SocketInput(body)


def _receive(connection: socket.socket, block: memoryview) -> int:
    """As ``recv_into``, but without a poll where bytes are waiting. Raises OSError."""
    try:
        return os.readv(connection.fileno(), [block])
    except BlockingIOError:
        return connection.recv_into(block)


def _waiting_bytes(connection: socket.socket) -> int:
    """How many bytes the kernel has of a connection."""
    count = array("i", [0])
    fcntl.ioctl(connection, termios.FIONREAD, count)
    return count[0]


def _is_known(thing: object, module: str, name: str, attributes: set[str]) -> bool:
    return _names(thing) == (module, name) and getattr(thing, "__dict__", {}).keys() == attributes


def _names(thing: object) -> tuple[str, str]:
    cls = type(thing)
    return cls.__module__, cls.__qualname__
