"""The worker of gunicorn: its threads stay with clients that go on, and share their memory."""

from __future__ import annotations

import io
import platform
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.workers.gthread import ThreadWorker

from bits_server.cli import worker
from bits_server.cli.worker import BitsWorker


class Connection:
    """As gunicorn keeps one. ``other``: the client's end."""

    def __init__(self) -> None:
        self.sock, self.other = socket.socketpair()
        self.parser = SimpleNamespace(unreader=SimpleNamespace(buf=io.BytesIO()))
        self.initialized = True


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    with made.sock, made.other:
        yield made


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What gunicorn was given to serve; each request takes what is there to read."""
    served: list[Any] = []

    def handle(_: ThreadWorker, conn: Any) -> bool:
        served.append(conn)
        return bool(conn.sock.recv(100)) or "nothing came"  # type: ignore[return-value]

    monkeypatch.setattr(ThreadWorker, "handle", handle)
    return served


@pytest.fixture
def it() -> Iterator[Any]:
    """The worker, with four threads that nobody started."""
    config = Config()
    config.set("threads", 4)
    made = BitsWorker(0, 0, [], SimpleNamespace(), 10, config, SimpleNamespace())
    made.tpool = SimpleNamespace(
        submit=lambda *_: SimpleNamespace(add_done_callback=lambda _callback: None)
    )
    try:
        yield made
    finally:
        made.tmp.close()


def test_the_thread_stays_for_a_request_that_comes_at_once(
    it: Any, connection: Connection, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STAY_MILLISECONDS", 30_000)
    connection.other.sendall(b"first")

    def follow() -> None:
        connection.other.sendall(b"second")
        connection.other.shutdown(socket.SHUT_WR)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        assert it.handle(connection) == "nothing came"
    finally:
        follower.join()
    assert set(served) == {connection}
    assert len(served) >= 2


def test_a_silent_client_is_left_to_the_main_thread(
    it: Any, connection: Connection, served: list[Any]
) -> None:
    connection.other.sendall(b"first")
    assert it.handle(connection) is True
    assert served == [connection]
    assert not it._stayed_with


def test_a_request_that_was_read_ahead_is_served_at_once(it: Any, connection: Connection) -> None:
    connection.parser.unreader.buf = io.BytesIO(b"BITS_POST")
    it.cfg.set("threads", 1)
    assert it._goes_on(connection)


@pytest.mark.parametrize("what", ["another waits for a thread", "it ends", "half of them stay"])
def test_the_thread_does_not_stay_where(it: Any, connection: Connection, what: str) -> None:
    connection.other.sendall(b"the next request")
    assert it._goes_on(connection)
    if what == "another waits for a thread":
        it.enqueue_req(object())
    elif what == "it ends":
        it.alive = False
    else:
        it._stayed_with |= {1, 2}
    assert not it._goes_on(connection)


@pytest.mark.usefixtures("served")
def test_a_connection_is_queued_until_a_thread_takes_it(it: Any, connection: Connection) -> None:
    connection.other.sendall(b"first")
    it.enqueue_req(connection)
    assert it._queued == {connection}
    assert it.handle(connection) is True
    assert not it._queued


def test_bytes_that_tls_has_decrypted_already_are_a_request(
    it: Any, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_socket(
        connection.sock, server_side=True, do_handshake_on_connect=False
    )
    with tls:
        connection.sock = tls
        assert not it._goes_on(connection)
        monkeypatch.setattr(ssl.SSLSocket, "pending", lambda _: 5)
        assert it._goes_on(connection)


def test_a_worker_shares_one_arena_before_it_has_threads(
    it: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr(worker, "share_one_arena", lambda: done.append("one arena"))
    monkeypatch.setattr(ThreadWorker, "init_process", lambda _: done.append("threads"))
    it.init_process()
    assert done == ["one arena", "threads"]


# Each thread takes what is too large for Python's own memory, all at the same time.
COUNT_ARENAS = """
import ctypes, sys, threading
from bits_server.cli.worker import share_one_arena
if sys.argv[1] == "shared":
    share_one_arena()
barrier = threading.Barrier(8)
def take():
    barrier.wait()
    held = bytearray(60_000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
@pytest.mark.parametrize(("how", "is_one"), [("shared", True), ("as glibc likes", False)])
def test_threads_take_memory_from_one_place(how: str, is_one: bool) -> None:
    command = [sys.executable, "-c", COUNT_ARENAS, how]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) is is_one
