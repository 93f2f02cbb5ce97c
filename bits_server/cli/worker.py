"""gunicorn's threaded worker, and what it needs so that no client can hold it.

The rule of this file: a client that stands still costs one thread for a limited time, and the main
thread of the worker, which all connections share, waits for nobody. A thread whose client goes on
at once stays with it: the way by the main thread costs more than a small packet. What a client sent
that is no request is repeated to nobody: it may hold a password.
"""

from __future__ import annotations

import ctypes
import logging
import re
import select
import socket
import ssl
import time
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from bits_server.cli.embedded_server import EmbeddedServer

HEAD_SECONDS = 60.0  # for all of a request's head, however slowly it drips
SEND_SECONDS = 60.0  # for an answer, which a client may leave unread
STAY_MILLISECONDS = 5  # a client on the same network has its next packet here before that
LINGER_SECONDS = 2.0  # as gunicorn, between our end of a connection and the client's
LINGER_BYTES = 64 << 10

_log = logging.getLogger("bits_server")

_OURS = (
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
    errors.ConfigurationProblem,
)
_REFUSALS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.LimitRequestLine, 414, "URI Too Long"),
    (errors.LimitRequestHeaders, 431, "Request Header Fields Too Large"),
    (errors.ExpectationFailed, 417, "Expectation Failed"),
    (errors.UnsupportedTransferCoding, 501, "Not Implemented"),
    (errors.ParseException, 400, "Bad Request"),
)


_M_ARENA_MAX = -8  # of malloc.h


def share_one_arena() -> None:
    """Have all threads to come take memory from one place.

    glibc gives each a place of its own, which keeps what the largest of its requests have needed. A
    worker with 8 threads grew from 46 to 76 MB over 43 000 odd requests, and went on growing; so it
    stays at 56 MB from the 6 000th on. Threads of Python hardly ever want memory at one moment.
    """
    with suppress(OSError, AttributeError):  # another library of C, which does not do that
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class BitsWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn brings no types
    """The worker of ``bits-server serve``."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # Connections whose head is awaited, and those that wait for the client's end: since when.
        self._heads: dict[Any, float] = {}
        self._lingering: dict[Any, float] = {}
        # Connections that wait for a thread, and those with which one stays for a moment.
        self._queued: set[Any] = set()
        self._stayed_with: set[Any] = set()

    def init_process(self) -> None:
        """The first thing in the process of a worker."""
        share_one_arena()
        super().init_process()

    def enqueue_req(self, conn: Any) -> None:
        """On the main thread: there is something to read."""
        self._queued.add(conn)
        super().enqueue_req(conn)

    def handle(self, conn: Any) -> Any:
        """Serve a connection, in a thread of the pool, as long as one packet follows another."""
        self._queued.discard(conn)
        if not conn.initialized and isinstance(self.app, EmbeddedServer):
            tls = self.app.tls_for(conn.sock)
            if tls is not None:
                conn.cfg = _OverTls(self.cfg, tls)
        while True:
            self._heads[conn] = time.monotonic()
            try:
                outcome = super().handle(conn)
            finally:
                self._heads.pop(conn, None)
            # True: the connection is kept; all else is for the main thread.
            if outcome is not True or not self._goes_on(conn):
                return outcome

    def handle_request(self, req: Any, conn: Any) -> Any:
        """The head has come; serve the request."""
        self._heads.pop(conn, None)
        conn.sock.settimeout(SEND_SECONDS)  # gunicorn takes it off before the next request
        return super().handle_request(req, conn)

    def _goes_on(self, conn: Any) -> bool:
        """Whether the next request is here, or comes at once. Half of the threads wait for none."""
        if not self.alive or self._queued:
            return False
        if conn.parser.unreader.buf.getbuffer().nbytes:
            return True
        if isinstance(conn.sock, ssl.SSLSocket) and conn.sock.pending():
            return True  # decrypted already: no poll would tell
        if len(self._stayed_with) >= self.cfg.threads // 2:
            return False
        self._stayed_with.add(conn)
        try:
            poller = select.poll()
            poller.register(conn.sock, select.POLLIN)
            return bool(poller.poll(STAY_MILLISECONDS))
        finally:
            self._stayed_with.discard(conn)

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        """Whether the connection goes on, once the answer was sent.

        What is left of the body is read and may be no body: gunicorn would send a second answer.
        """
        try:
            return super()._keepalive_after(conn, keepalive)
        except errors.ParseException:
            return False

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer what is no request.

        gunicorn would print the line that it cannot read, in its log and in the answer: that of an
        Authorization without its colon, for instance.
        """
        found = next((each for each in _REFUSALS if isinstance(exc, each[0])), None)
        if found is None or isinstance(exc, _OURS):
            super().handle_error(req, client, addr, exc)
            return
        _, status, reason = found
        what = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(exc).__name__).lower()
        who = addr[0] if isinstance(addr, tuple) else ""
        _log.warning("what %s sent is no request (%s): %d", who or "a proxy", what, status)
        with suppress(OSError):  # the client is gone
            util.write_error(client, status, reason, reason)

    def finish_request(self, conn: Any, fs: Future[Any]) -> None:
        """On the main thread, after a request.

        gunicorn lingers here for up to 2 s with each connection that ends; enough clients that do
        not close would keep it from its sign of life, and the worker would be killed.
        """
        if fs.cancelled() or fs.exception() is not None or fs.result():
            super().finish_request(conn, fs)
            return
        self._lingering[conn] = time.monotonic()
        try:
            conn.sock.setblocking(False)
            if isinstance(conn.sock, ssl.SSLSocket):
                _say_that_it_ends(conn.sock)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, EVENT_READ, partial(self._linger, conn))
        except (OSError, ValueError):  # it is closed already
            self._end(conn)

    def notify(self) -> None:
        """The sign of life, every second from the main thread; end what is overdue."""
        super().notify()
        now = time.monotonic()
        for conn, since in list(self._heads.items()):
            if now - since > HEAD_SECONDS:
                with suppress(OSError):  # it has just been closed
                    conn.sock.shutdown(socket.SHUT_RDWR)
        for conn, since in list(self._lingering.items()):
            if now - since > LINGER_SECONDS:
                self._end(conn)

    def _linger(self, conn: Any, sock: socket.socket) -> None:
        """Take what still comes: unread bytes would have the kernel cut the answer short."""
        try:
            is_over = not sock.recv(LINGER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            is_over = True
        if is_over:
            self._end(conn)

    def _end(self, conn: Any) -> None:
        del self._lingering[conn]
        with suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()


def _say_that_it_ends(connection: ssl.SSLSocket) -> None:
    """TLS has a word for it; without it a client cannot tell an end from a cut."""
    with suppress(OSError, ValueError):  # an SSLError is an OSError: nobody waits for the answer
        connection.unwrap()


class _OverTls:
    """gunicorn's settings, for a connection that speaks TLS where others do not.

    gunicorn itself has TLS at all addresses or at none, and reads the key for each connection.
    """

    is_ssl = True

    def __init__(self, cfg: Any, context: ssl.SSLContext) -> None:
        self._cfg = cfg
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cfg, name)

    def ssl_context(self, _cfg: Any, _make: Any) -> ssl.SSLContext:
        return self._context
