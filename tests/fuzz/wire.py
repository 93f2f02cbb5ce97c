"""Bytes into a real server over a real connection, in pieces, with and without an end."""

from __future__ import annotations

import itertools
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.fuzz.corpus import seeds
from tests.fuzz.invariants import Finding, Site, check_answers
from tests.support.certificates import make_certificate
from tests.support.live_server import LiveServer
from tests.support.proxied_server import ProxiedServer
from tests.support.resources import Resources, of_process

SILENCE_SECONDS = 0.25  # of the server, which waits for more of a request
LAST = b"GET /last HTTP/1.1\r\nHost: bits.test\r\nConnection: close\r\n\r\n"


class Target:
    """A real server with one worker, which nothing may end."""

    def __init__(self, site: Site, server: LiveServer) -> None:
        self._site, self._server = site, server
        assert b"HTTP/1.1 200" in self.raw(seeds()["ping.http"])
        (self._worker,) = server.workers()

    def send(self, data: bytes, chance: random.Random) -> int:
        """How many answers came. Raises Finding."""
        self._site.open_sessions()
        return send_raw(self._server.address, data, chance, is_nginx=self._server.is_proxied)

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
        """Of its worker, when it has nothing to do."""
        return of_process(self._worker)

    def check_worker(self) -> None:
        """Raise Finding where another has taken its place."""
        if (workers := self._server.workers()) != [self._worker]:
            (self._worker,) = workers
            raise Finding("the worker was lost")

    def check_all(self) -> None:
        """Besides, that nothing was written outside, and nothing failed that nobody foresaw."""
        self.check_worker()
        self._site.check_outside()
        log = self._server.log
        if "Traceback" in log:
            raise Finding(log[log.index("Traceback") - 300 :][:4000])


@contextmanager
def serving(*, through_nginx: bool) -> Iterator[Target]:
    """A server of its own."""
    with Site.made() as site, tempfile.TemporaryDirectory() as folder:
        options, log_file = ["--settings", str(site.settings_file)], Path(folder) / "log"
        log_file.touch()
        server = (
            ProxiedServer(
                options=options, log_file=log_file, certificate=make_certificate(Path(folder))
            )
            if through_nginx
            else LiveServer(options=options, log_file=log_file)
        )
        with server:
            yield Target(site, server)


def send_raw(address: Any, data: bytes, chance: random.Random, *, is_nginx: bool = False) -> int:
    """Send ``data``; how many answers came. Raises Finding for what is no answer of HTTP.

    ``is_nginx``: it speaks HTTP/0.9 and HTTP/2 too, so that not every answer has our form.
    """
    with socket.create_connection(address, timeout=10) as connection:
        try:
            for piece in _pieces(data, chance):
                connection.sendall(piece)
            if chance.random() < 0.8 and not is_nginx:  # which would not wait for our answer
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.settimeout(SILENCE_SECONDS)
        except OSError:
            pass  # the server has ended the connection already
        received = b""
        try:
            while block := connection.recv(1 << 16):
                received += block
        except OSError:
            # Reset, or silent: what came before may be cut, so only whole answers are looked at.
            received = _whole(received)
    return check_answers(received, is_loose=is_nginx or b"HEAD" in data)


def _pieces(data: bytes, chance: random.Random) -> list[bytes]:
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.choice([0, 0, 0, 1, 3])))
    edges = [0, *cuts, len(data)]
    return [data[first:last] for first, last in itertools.pairwise(edges)]


def _whole(received: bytes) -> bytes:
    """Without a last answer that may be cut."""
    last = received.rfind(b"HTTP/1.")
    tail = received[last:] if last >= 0 else b""
    is_plain = b"\r\n\r\n" in tail and b"content-length: 0\r\n" in tail.lower()
    return received if is_plain else received[: max(last, 0)]
