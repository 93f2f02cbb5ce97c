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
from bits_server.web import request_body, socket_input
request_body.DRAIN_SECONDS = request_body.BLOCK_SECONDS = socket_input.GRACE_SECONDS = 1.0
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


def drip(connections: list[socket.socket], piece: bytes = b"1") -> list[bytes]:
    """Send a little now and then, until there is an answer, or an end; the beginnings of those."""
    answers = []
    for connection in connections:
        connection.settimeout(0.1)
        for _ in range(300):  # half a minute; without a limit it would be for ever
            with suppress(ConnectionError):
                connection.sendall(piece)
            try:
                answers.append(connection.recv(12))
            except TimeoutError:
                continue
            break
    return answers


@pytest.mark.parametrize("piece", [b"1", bytes(4096)], ids=["too slow", "not too slow"])
def test_a_refused_body_that_drips_is_read_for_a_limited_time(
    server: LiveServer, connections: list[socket.socket], piece: bytes
) -> None:
    """Also where one block of it would take minutes."""
    client = BitsClient(server.sender())
    client.session_id = "{01234567-89AB-CDEF-0123-456789ABCDEF}"
    for connection in connections:
        connection.sendall(client.fragment_head(64 << 20))
    assert drip(connections, piece) == [b"HTTP/1.1 500"] * THREADS
    with server.sender() as sender:
        assert_success(BitsClient(sender).ping())


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_fragment_that_drips_is_taken_for_a_limited_time(
    server: LiveServer, is_chunked: bool
) -> None:
    """Straight from the socket, or by gunicorn's own reader; what came straight is not lost."""
    with ExitStack() as opened:
        client = BitsClient(opened.enter_context(server.sender()))
        assert_success(client.create())
        head = client.fragment_head(1 << 20)
        if is_chunked:
            head = head.replace(b"Content-Length: 1048576", b"Transfer-Encoding: chunked")
            head += b"100000\r\n"
        connections = []
        for _ in range(THREADS):
            connection = socket.create_connection(server.address)
            connections.append(opened.enter_context(connection))
            connection.sendall(head)
        status = b"HTTP/1.1 400" if is_chunked else b"HTTP/1.1 503"
        assert drip(connections) == [status] * THREADS
        assert_success(client.ping())
        kept = client.fragment(b"x", 1 << 19, 1 << 20)["BITS-Received-Content-Range"]
        assert is_chunked or int(kept) > 0
    assert is_chunked or "the client sent" in server.log


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
