"""Bytes into a real server over real connections, in pieces, with and without an end.

The rule of this file: a server that is silent for long after the client has said its last word
holds a thread, and that is a finding as much as a wrong answer.
"""

from __future__ import annotations

import itertools
import random
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.fuzz.corpus import seeds
from tests.fuzz.invariants import HELD, HELD_FILE, THREADS, Finding, Site, check_answers
from tests.support.certificates import make_certificate
from tests.support.live_server import LiveServer
from tests.support.proxied_server import ProxiedServer
from tests.support.resources import Resources, of_process
from tests.support.waiting import wait_until

SILENCE_SECONDS = 0.25  # of the server, which waits for more of a request
PATIENCE_SECONDS = 10.0  # with a server that has nothing to wait for
LAST = b"GET /last HTTP/1.1\r\nHost: bits.test\r\nConnection: close\r\n\r\n"


# Waits for its body in a thread, and says so.
HOLDING = (
    f"BITS_POST /upload/{HELD_FILE} HTTP/1.1\r\nHost: bits.test\r\nBITS-Packet-Type: Fragment\r\n"
    f"BITS-Session-Id: {HELD}\r\nContent-Range: bytes 0-4/5\r\nContent-Length: 5\r\n"
    "Expect: 100-continue\r\nConnection: close\r\n\r\n"
).encode()


class Target:
    """A real server with one worker, which nothing may end. Used by several threads at once."""

    def __init__(self, site: Site, server: LiveServer) -> None:
        self._site, self._server = site, server
        self.is_proxied = server.is_proxied
        self._lock = threading.Lock()
        assert b"HTTP/1.1 200" in self.raw(seeds()["ping.http"])
        (self._worker,) = server.workers()
        self.check_threads()  # each has its buffer from now on

    def send(self, data: bytes, chance: random.Random) -> int:
        """How many answers came. Raises Finding."""
        self._site.open_sessions()
        return send_raw(self._server.address, data, chance, is_nginx=self.is_proxied)

    def raw(self, data: bytes) -> bytes:
        """All that comes back, with the answer to a last request if the server goes on so long."""
        self._site.open_sessions()
        with socket.create_connection(self._server.address, timeout=10) as connection:
            connection.sendall(data + LAST)
            with suppress(ConnectionResetError):
                return b"".join(iter(lambda: connection.recv(1 << 16), b""))
            return b""

    def destinations(self) -> list[str]:
        """Of the sessions that there are."""
        return self._site.destinations()

    def resources(self) -> Resources:
        """Of its worker."""
        return of_process(self._worker)

    def check_worker(self) -> None:
        """Raise Finding where another has taken its place."""
        with self._lock:
            before = self._worker
            if self._server.workers() == [before]:
                return
            wait_until(lambda: self._server.workers() not in ([], [before]))
            (self._worker,) = self._server.workers()
        raise Finding(f"the worker was lost: {before}")

    def check_threads(self) -> None:
        """Raise Finding where not every thread can take a request: something holds one."""
        self._site.open_sessions()
        with ExitStack() as opened:
            connections = [opened.enter_context(self._connect()) for _ in range(THREADS)]
            for connection in connections:
                connection.settimeout(PATIENCE_SECONDS)
                connection.sendall(HOLDING)
            for number, connection in enumerate(connections):
                try:
                    said = connection.recv(1 << 16)
                except OSError as error:
                    held = THREADS - number
                    raise Finding(f"{held} of {THREADS} threads are held: {error!r}") from error
                if not said.startswith(b"HTTP/1.1 100"):
                    raise Finding(f"a good request was answered {said[:200]!r}")
            for connection in connections:
                connection.sendall(b"hello")
            for connection in connections:
                while connection.recv(1 << 16):
                    pass

    def _connect(self) -> socket.socket:
        """To the server itself, and not to nginx."""
        if not isinstance(self._server, ProxiedServer):
            return socket.create_connection(self._server.address, timeout=PATIENCE_SECONDS)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self._server.socket_path))
        return connection

    def check_all(self) -> None:
        """Besides, that nothing was written outside, and nothing failed that nobody foresaw."""
        self.check_worker()
        self.check_threads()
        self._site.check_outside()
        log = self._server.log
        if "Traceback" in log:
            raise Finding(log[log.index("Traceback") - 300 :][:4000])


@contextmanager
def serving(*, through_nginx: bool, program: str = "") -> Iterator[Target]:
    """A server of its own. ``program``: Python that is run in place of ``bits-server``."""
    with Site.made() as site, tempfile.TemporaryDirectory() as folder:
        options, log_file = ["--settings", str(site.settings_file)], Path(folder) / "log"
        log_file.touch()
        command = [sys.executable, "-c", program, "serve", "--bind", "fd://{fd}", *options]
        server = (
            ProxiedServer(
                options=options, log_file=log_file, certificate=make_certificate(Path(folder))
            )
            if through_nginx
            else LiveServer(
                options=options, command=command if program else None, log_file=log_file
            )
        )
        with server:
            yield Target(site, server)


def send_raw(address: Any, data: bytes, chance: random.Random, *, is_nginx: bool = False) -> int:
    """Send ``data``; how many answers came. Raises Finding for what is no answer of HTTP.

    ``is_nginx``: it speaks HTTP/0.9 and HTTP/2 too, so that not every answer has our form.
    """
    with socket.create_connection(address, timeout=PATIENCE_SECONDS) as connection:
        is_ended = chance.random() < 0.8
        if is_ended and is_nginx:  # which would not wait for our answer after an end
            data += LAST
        try:
            for piece in _pieces(data, chance):
                connection.sendall(piece)
            if is_ended and not is_nginx:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.settimeout(SILENCE_SECONDS)
        except OSError:
            pass  # the server has ended the connection already
        received = b""
        try:
            while block := connection.recv(1 << 16):
                received += block
        except TimeoutError:
            if is_ended and not is_nginx:
                raise Finding("the server holds a connection that its client has ended") from None
            received = _whole(received)  # what came may be cut: only whole answers are looked at
        except OSError:
            received = _whole(received)
    return check_answers(received, is_loose=is_nginx or b"HEAD" in data)


def _pieces(data: bytes, chance: random.Random) -> Iterator[bytes]:
    """In some, with a rest between them now and then, so that the server reads them one by one."""
    rest = chance.choice([0, 0, 0.002, 0.01])
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 0, 1, 3])))
    edges = [0, *cuts, len(data)]
    for first, last in itertools.pairwise(edges):
        yield data[first:last]
        if rest and last < len(data):
            time.sleep(rest)


def _whole(received: bytes) -> bytes:
    """Without a last answer that may be cut."""
    last = received.rfind(b"HTTP/1.")
    tail = received[last:] if last >= 0 else b""
    is_plain = b"\r\n\r\n" in tail and b"content-length: 0\r\n" in tail.lower()
    return received if is_plain else received[: max(last, 0)]
