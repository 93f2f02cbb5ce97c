"""The body of a request as blocks of bytes, from ``wsgi.input`` or the fast ``socket_input``.

The rule of this file: memory does not depend on the size of the body, nobody reads past its end,
and nobody waits for ever. ``read(0)`` is never called: some servers take it for a disconnect.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bits_server.protocol.errors import MalformedPacket, ServiceUnavailable
from bits_server.web.socket_input import BUFFER_BYTES, SocketInput, TooSlow, socket_input

BLOCK_BYTES = 1 << 20  # measured: 64 KiB reads cost more than twice the CPU
SILENCE_SECONDS = 60.0  # a client that sends nothing for so long is gone
DRAIN_SECONDS = 300.0
# Where the server's own reader takes a block, nobody sees how it comes along: 1 KiB/s at least.
BLOCK_SECONDS = 1024.0


class RequestBody:
    """The body of one request. ``has_failed``: where it ends is not known any more.

    ``read_bytes``: so far; ``read_seconds``: the time in which they were waited for.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        self._input = environ["wsgi.input"]
        self._is_chunked = is_delivered_chunked(environ)
        self._remaining = 0 if self._is_chunked else _content_length(environ)
        self._block_bytes = BLOCK_BYTES
        self._ended = not self._is_chunked and self._remaining == 0
        self.has_failed = False
        self.read_bytes = 0
        self.read_seconds = 0.0
        self._connection = None if self._ended else _limit_silence(environ)
        if not self._ended and not self._is_chunked:
            self._input = socket_input(environ, self._remaining) or self._input
        if isinstance(self._input, SocketInput):
            self._block_bytes = BUFFER_BYTES

    def is_here(self) -> bool:
        """Whether all of it can be read without waiting for the client."""
        if self._ended:
            return True
        return isinstance(self._input, SocketInput) and self._input.is_here(self._remaining)

    def blocks(self, length: int) -> Iterator[memoryview]:
        """The body in pieces of up to 2 MiB, ``length`` bytes in all; each until the next comes.

        Raises MalformedPacket where the body is shorter or longer, after what came in order has
        been yielded; ServiceUnavailable where the client fell silent, or sends too slowly.
        """
        wanted = length
        while wanted:
            block = self._read(min(self._block_bytes, wanted))
            if not block:
                raise MalformedPacket(f"the body ended {wanted} bytes early")
            wanted -= len(block)
            yield memoryview(block)
        if not self._ended and self._read(1):
            raise MalformedPacket(f"the body is longer than the {length} bytes of its range")

    def drain(self, limit: int) -> bool:
        """Read and throw away the rest, up to ``limit`` bytes and for some minutes.

        Returns whether the end was reached: only then can the connection go on.
        """
        if not self._ended:
            with self._cut_off_after(DRAIN_SECONDS):
                self._throw_away(limit)
        if isinstance(self._input, SocketInput):
            self._input.release()
        return self._ended and not self.has_failed

    def _throw_away(self, limit: int) -> None:
        deadline = time.monotonic() + DRAIN_SECONDS
        while not self._ended and limit > 0 and time.monotonic() <= deadline:
            try:
                limit -= len(self._read(min(self._block_bytes, limit)))
            except (MalformedPacket, ServiceUnavailable):
                return

    @contextmanager
    def _cut_off_after(self, seconds: float) -> Iterator[None]:
        """A client may drip: a byte now and then is no silence, and one block could take days."""
        if self._connection is None:
            yield
            return
        timer = threading.Timer(seconds, _stop_receiving, [self._connection])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _read(self, size: int) -> bytes | memoryview:
        """Up to ``size`` bytes, none at the end."""
        if self._ended:
            return b""
        if not self._is_chunked:
            size = min(size, self._remaining)
        began = time.monotonic()
        try:
            block = self._read_in_time(size)
        except TooSlow as error:
            self.has_failed = True
            raise ServiceUnavailable(str(error)) from error
        except TimeoutError as error:
            self.has_failed = True
            raise ServiceUnavailable(
                f"the client sent nothing for {SILENCE_SECONDS:.0f} s"
            ) from error
        except Exception as error:  # each WSGI server has its own types for a broken body
            self.has_failed = True
            raise MalformedPacket(f"the body could not be read: {error!r}") from error
        finally:
            self.read_seconds += time.monotonic() - began
        self._count(len(block))
        return block

    def _read_in_time(self, size: int) -> bytes | memoryview:
        if isinstance(self._input, SocketInput):
            return self._input.read(size)  # which looks at its watch itself
        with self._cut_off_after(BLOCK_SECONDS):
            block: bytes = self._input.read(size)
        return block

    def _count(self, received: int) -> None:
        self.read_bytes += received
        if self._is_chunked:
            self._ended = received == 0
            return
        self._remaining -= received
        self._ended = self._remaining == 0
        if received == 0 and not self._ended:
            self._ended = self.has_failed = True  # the connection broke


def is_delivered_chunked(environ: dict[str, Any]) -> bool:
    """Whether a chunked body came, and the server decodes it and tells its end."""
    return bool(environ.get("HTTP_TRANSFER_ENCODING") and environ.get("wsgi.input_terminated"))


def _content_length(environ: dict[str, Any]) -> int:
    text = environ.get("CONTENT_LENGTH") or ""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 20
    return int(text) if is_number else 0  # what is none is refused with the other headers


def _stop_receiving(connection: socket.socket) -> None:
    with suppress(OSError):  # it has just ended
        # Not by its own method: that of a TLS socket would have the answer sent in the clear.
        socket.socket.shutdown(connection, socket.SHUT_RD)


def _limit_silence(environ: dict[str, Any]) -> socket.socket | None:
    """The client's socket, which waits for a limited time from now on.

    gunicorn waits without limit, which would give a thread to each client that vanished. It takes
    the limit off again before the next request. A socket that carries several HTTP/2 streams is not
    ours to set.
    """
    connection: socket.socket | None = environ.get("gunicorn.socket")
    if connection is None or environ.get("SERVER_PROTOCOL") not in ("HTTP/1.0", "HTTP/1.1"):
        return None
    connection.settimeout(SILENCE_SECONDS)
    return connection
