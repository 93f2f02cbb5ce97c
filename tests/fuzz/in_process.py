"""Bytes into gunicorn's parser and our application, in this process: quick, and watched closely."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.errors import NoMoreData, ParseException
from gunicorn.http.parser import RequestParser

from bits_server.app import create_app
from bits_server.cli.embedded_server import GUNICORN_SETTINGS
from bits_server.operations.settings_file import load_settings
from tests.fuzz.invariants import Finding, Site, check_answers
from tests.fuzz.watch import watching
from tests.support.resources import of_process

MOST_REQUESTS = 8  # of one connection
_CLIENT, _SERVER = ("192.0.2.1", 50_000), ("bits.test", 80)
_BROKEN_OFF = (StopIteration, NoMoreData, OSError)
WARM_AFTER = 1000  # inputs: by then all has been made that is ever needed
MOST_MEGABYTES = 32  # more than then


class InProcess:
    """The application behind gunicorn's parser, at the end of a socket pair."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._app = create_app(load_settings(str(site.settings_file)), clean_up=False)
        self._config = Config()
        for name in ("limit_request_field_size", "limit_request_line"):
            self._config.set(name, GUNICORN_SETTINGS[name])
        self._failures = _Failures()
        self._log = logging.getLogger("bits_server")
        self._log.propagate = False
        self._inputs = 0
        self._warm_megabytes = 0.0

    def feed(self, data: bytes) -> int:
        """All of ``data``, and then the end; how many requests there were. Raises Finding."""
        self._log.handlers[:] = [self._failures]  # alone: that of pytest keeps all lines in memory
        self.site.open_sessions()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # More than what fits would wait for somebody who reads, who is nobody but us.
            for end in (ours, theirs):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 21)
            theirs.settimeout(5)
            theirs.sendall(data[: 1 << 18])
            theirs.shutdown(socket.SHUT_WR)
            with watching(self.site.root) as touched:
                count = self._serve(ours)
            ours.shutdown(socket.SHUT_WR)
            raw = b"".join(iter(lambda: theirs.recv(1 << 16), b""))
        check_answers(raw, is_loose=b"HEAD" in data)
        if touched:
            raise Finding(f"touched outside: {touched[:5]}")
        if self._failures.found:
            raise Finding(f"an unforeseen failure: {self._failures.found.pop()}")
        self._inputs += 1
        if self._inputs == WARM_AFTER:
            self._warm_megabytes = of_process(os.getpid()).megabytes
        return count

    def check_all(self) -> None:
        """Raise Finding where something was written outside, or memory has grown."""
        self.site.check_outside()
        if self._inputs < WARM_AFTER:
            return
        grown = of_process(os.getpid()).megabytes - self._warm_megabytes
        if grown > MOST_MEGABYTES:
            self._warm_megabytes += grown  # told once
            raise Finding(f"memory has grown by {grown:.0f} MB over {self._inputs} inputs")

    def _serve(self, connection: socket.socket) -> int:
        parser = RequestParser(self._config, connection, _CLIENT)
        for count in range(MOST_REQUESTS):
            try:
                request = next(parser)
            except (*_BROKEN_OFF, ParseException):
                return count
            response, environ = wsgi.create(request, connection, _CLIENT, _SERVER, self._config)
            # Whatever the application lets out is a fault of its own: it answers all errors itself.
            parts = self._app(environ, response.start_response)
            try:
                for part in parts:
                    response.write(part)
                response.close()
                close = getattr(parts, "close", None)
                if close is not None:
                    close()
                if response.should_close() or not parser.finish_body(deadline=None):
                    return count + 1
            except (*_BROKEN_OFF, ParseException):  # of a body that nobody read, as our worker
                return count + 1
        return MOST_REQUESTS


class _Failures(logging.Handler):
    """What was answered with a 500 that nobody foresaw: the log has it as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter().format(record))


@contextmanager
def in_process() -> Iterator[InProcess]:
    """With a site of its own."""
    log = logging.getLogger("bits_server")
    handlers, propagates = list(log.handlers), log.propagate
    try:
        with Site.made() as site:
            yield InProcess(site)
    finally:
        log.handlers[:], log.propagate = handlers, propagates
