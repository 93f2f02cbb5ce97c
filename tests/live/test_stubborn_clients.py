"""Clients that stand still: the server goes on with the others, and has its threads back."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from bits_server.cli import worker
from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer

THREADS = 2
LINGERERS = 20
# The real command with shorter limits: nobody is to wait for minutes.
SERVE = """
from bits_server.cli import main, worker
worker.HEAD_SECONDS = worker.SEND_SECONDS = 1.0
main()
"""
PING = (
    b"BITS_POST /upload/f HTTP/1.1\r\nHost: bits.test\r\nBITS-Packet-Type: Ping\r\n"
    b"Content-Length: 0\r\n"
)


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[LiveServer]:
    """One process with two threads."""
    command = [sys.executable, "-c", SERVE, "serve", "--bind", "fd://{fd}", str(folder)]
    with LiveServer(
        command=[*command, "--workers", "1", "--threads", str(THREADS)],
        log_file=tmp_path / "server.log",
    ) as running:
        with running.sender() as sender:
            assert_success(BitsClient(sender).ping())
        yield running


@pytest.fixture
def connections(server: LiveServer) -> Iterator[list[socket.socket]]:
    """One for each thread of the server, with room for few answers."""
    with ExitStack() as opened:
        made = []
        for _ in range(THREADS):
            connection = opened.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.settimeout(30)
            connection.connect(server.address)
            made.append(connection)
        yield made


def test_half_a_head_holds_a_thread_for_a_limited_time(
    server: LiveServer, connections: list[socket.socket]
) -> None:
    for connection in connections:
        connection.sendall(PING)  # and not the empty line that would end it
    with server.sender() as sender:
        assert_success(BitsClient(sender).ping())
    for connection in connections:
        assert connection.recv(1) == b""


def test_a_client_that_reads_no_answer_holds_a_thread_for_a_limited_time(
    server: LiveServer, connections: list[socket.socket]
) -> None:
    pings = (PING + b"\r\n") * 500
    for connection in connections:
        connection.settimeout(0.8)  # so long nothing is taken any more: the server is stuck
        with suppress(TimeoutError, ConnectionError):
            while True:
                connection.send(pings)
    with server.sender() as sender:
        assert_success(BitsClient(sender).ping())


def test_clients_that_do_not_close_cost_the_others_no_time(
    server: LiveServer, tell: Callable[[str], None]
) -> None:
    """gunicorn would wait for each, up to 2 s, and on the thread that all connections share."""
    with ExitStack() as opened:
        for _ in range(LINGERERS):
            connection = opened.enter_context(socket.create_connection(server.address, timeout=30))
            connection.sendall(PING + b"Connection: close\r\n\r\n")
        since = time.monotonic()
        with server.sender() as sender:
            assert_success(BitsClient(sender).ping())
        seconds = time.monotonic() - since
    tell(f"{seconds:.3f} s for a Ping beside {LINGERERS} clients that did not close")
    assert seconds < worker.LINGER_SECONDS, "it waited for one of them"
