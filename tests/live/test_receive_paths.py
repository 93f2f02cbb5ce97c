"""Uploads over real connections by the fast path, and by each road that falls back from it."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler
from wsgiref.simple_server import make_server as make_wsgiref

import pytest
import werkzeug.serving

from bits_server import Settings, VirtualDirectory, create_app
from tests.support.bits_client import BitsClient, assert_success
from tests.support.certificates import make_certificate
from tests.support.live_server import LiveServer
from tests.support.waiting import wait_until
from tests.support.wire import WireSender

ROOT = Path(__file__).parents[2]
CONTENT = os.urandom((3 << 20) + 5)


@contextmanager
def telling_server(
    folder: Path, scratch: Path, *options: str, bind: str = "fd://{fd}"
) -> Iterator[LiveServer]:
    """gunicorn with our configuration, whose log says the path of each Fragment."""
    settings = scratch / "settings.toml"
    settings.write_text(f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n')
    config = str(ROOT / "config" / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", config, "--bind", bind, *options]
    environment = {"BITS_SERVER_SETTINGS": str(settings), "PYTHONPATH": str(ROOT)}
    with LiveServer(
        command=[*command, "tests.support.told_path:application"],
        environment=environment,
        log_file=scratch / "server.log",
    ) as server:
        yield server


def paths_of(server: LiveServer) -> list[str]:
    mark = "receive path: "
    return [line[len(mark) :] for line in server.log.splitlines() if line.startswith(mark)]


def test_fragments_of_a_kept_connection_take_the_fast_path(folder: Path, tmp_path: Path) -> None:
    with telling_server(folder, tmp_path) as server, server.sender() as sender:
        for name in "ab":
            BitsClient(sender, f"/upload/{name}").upload(CONTENT, 1 << 20)
            assert (folder / name).read_bytes() == CONTENT
        assert sender.connections == 1
        assert paths_of(server) == ["fast"] * 8


def test_a_unix_socket_takes_the_fast_path(folder: Path, tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with (
        telling_server(folder, tmp_path, bind=f"unix:{address}") as server,
        WireSender(address) as sender,
    ):
        wait_until(lambda: "Listening at" in server.log)
        BitsClient(sender).upload(CONTENT)
        assert paths_of(server) == ["fast"] * 4
    assert (folder / "f.bin").read_bytes() == CONTENT


def test_requests_that_come_together_are_answered_one_after_the_other(
    folder: Path, tmp_path: Path
) -> None:
    """What was read ahead of the first body is longer than that body."""
    with telling_server(folder, tmp_path) as server, server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        both = b""
        for first, body in ((0, b"abc"), (3, b"defgh")):
            head = client.fragment_head(8).replace(b"Content-Length: 8", b"Content-Length: %d")
            head = head.replace(b"bytes 0-7/8", b"bytes %d-%d/8")
            both += head % (first, first + len(body) - 1, len(body)) + body
        answer = sender.send_bytes(both)
        assert_success(answer)
        assert answer["BITS-Received-Content-Range"] == "3"
        assert sender.read_answer()["BITS-Received-Content-Range"] == "8"
        assert_success(client.close())
        assert sender.connections == 1
        assert paths_of(server) == ["fast", "fast"]
    assert (folder / "f.bin").read_bytes() == b"abcdefgh"


def test_the_bytes_of_a_connection_that_breaks_in_mid_fragment_are_kept(
    folder: Path, tmp_path: Path
) -> None:
    came = (2 << 20) + 12_345
    with telling_server(folder, tmp_path) as server, server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        with socket.create_connection(server.address) as broken:
            broken.sendall(client.fragment_head(len(CONTENT)) + CONTENT[:came])
            broken.shutdown(socket.SHUT_WR)
            assert broken.recv(12) == b"HTTP/1.1 400"
        assert paths_of(server) == ["fast"]
        assert_success(client.fragment(CONTENT[came:], came, len(CONTENT)))
        assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == CONTENT


FRAMINGS = {
    "chunked": (
        b"BITS_POST %s HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        b"%x\r\n" % len(CONTENT) + CONTENT + b"\r\n0\r\n\r\n",
    ),
    "HTTP/1.0": (
        b"BITS_POST %%s HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: %d\r\n"
        % len(CONTENT),
        CONTENT,
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS)
def test_other_framing_falls_back(folder: Path, tmp_path: Path, framing: str) -> None:
    begin, body = FRAMINGS[framing]
    with telling_server(folder, tmp_path) as server, server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        fields = (
            f"Host: bits.test\r\nBITS-Packet-Type: Fragment\r\nBITS-Session-Id: {client.session_id}"
            f"\r\nContent-Range: bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}\r\n\r\n"
        )
        head = begin % client.target.encode() + fields.encode()
        assert_success(sender.send_bytes(head + body))
        assert_success(client.close())
        assert sender.connections == 1
        assert paths_of(server) == ["reference"]
    assert (folder / "f.bin").read_bytes() == CONTENT


class TlsSender(WireSender):
    """A connection with TLS, which trusts one authority."""

    def __init__(self, address: Any, authority: Path) -> None:
        super().__init__(address)
        self._context = ssl.create_default_context(cafile=authority)

    def connect(self) -> socket.socket:
        if self._socket is None:
            self._socket = self._context.wrap_socket(super().connect(), server_hostname="localhost")
        return self._socket


def test_tls_falls_back(folder: Path, tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    options = ("--certfile", str(made.certificate), "--keyfile", str(made.key))
    with (
        telling_server(folder, tmp_path, *options) as server,
        TlsSender(server.address, made.authority) as sender,
    ):
        BitsClient(sender).upload(CONTENT)
        assert sender.connections == 1
        assert paths_of(server) == ["reference"] * 4
    assert (folder / "f.bin").read_bytes() == CONTENT


class QuietHandler(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def wsgiref_server(app: Any) -> Any:
    return make_wsgiref("127.0.0.1", 0, app, handler_class=QuietHandler)


def werkzeug_server(app: Any) -> Any:
    return werkzeug.serving.make_server("127.0.0.1", 0, app, threaded=True)


@pytest.mark.parametrize("make", [wsgiref_server, werkzeug_server])
def test_another_wsgi_server_falls_back(folder: Path, make: Callable[[Any], Any]) -> None:
    app = create_app(Settings((VirtualDirectory("/upload", str(folder)),)), clean_up=False)
    server = make(app)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with WireSender(server.server_address, is_kept=False) as sender:
            BitsClient(sender).upload(CONTENT)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (folder / "f.bin").read_bytes() == CONTENT
