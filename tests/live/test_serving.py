"""How the server starts, what it says, and how it ends."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import pytest

from bits_server.web.socket_input import BUFFER_BYTES
from tests.conftest import ServerMaker
from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.server_application import ServerApplication
from tests.support.tools import require_tool
from tests.support.waiting import is_listening, wait_until
from tests.support.wire import WireSender

CONFIG = Path(__file__).parent.parent.parent / "config"


def test_gunicorn_with_our_configuration_and_the_settings_of_the_environment(
    make_server: ServerMaker, folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[[virtual_directory]]\nurl = "/in"\npath = "{folder}"\n')
    command = [sys.executable, "-m", "gunicorn", "-c", str(CONFIG / "gunicorn.conf.py")]
    with (
        make_server(
            command=[*command, "--bind", "fd://{fd}", "bits_server.wsgi:application"],
            environment={"BITS_SERVER_SETTINGS": str(settings)},
            log_file=tmp_path / "server.log",
        ) as server,
        server.sender() as sender,
    ):
        client = BitsClient(sender, "/in/f")
        assert_success(client.ping(Authorization="A" * 40_960))
        client.upload(b"content")
    assert (folder / "f").read_bytes() == b"content"


def test_the_greeting_names_what_is_served(direct_server: LiveServer, folder: Path) -> None:
    with direct_server.sender() as sender:
        assert_success(BitsClient(sender).ping())
    assert f"/upload -> {folder}" in direct_server.log
    assert "Start-BitsTransfer" in direct_server.log
    assert f"URL={direct_server.url}/upload/hello.txt" in direct_server.log


def test_a_packet_under_way_finishes_when_the_server_is_told_to_end(
    direct_server: LiveServer, folder: Path
) -> None:
    """The rest of the Fragment is sent only after SIGTERM has been taken note of."""
    with direct_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        content = os.urandom(2 * BUFFER_BYTES)
        head = client.fragment_head(len(content))
        connection = sender.connect()
        connection.sendall(head + content[:BUFFER_BYTES])
        request = folder / "BITS-Sessions" / client.session_id / "request"
        wait_until(lambda: request.exists() and request.stat().st_size == BUFFER_BYTES)
        process = direct_server.terminate()
        try:
            wait_until(lambda: "Handling signal: term" in direct_server.log)
            connection.sendall(content[BUFFER_BYTES:])
            answer = sender.read_answer()
        finally:
            assert process.wait(30) == 0
        assert_success(answer)
        assert answer["BITS-Received-Content-Range"] == str(len(content))
    direct_server.start()
    with direct_server.sender() as sender:
        again = BitsClient(sender)
        again.session_id = client.session_id
        assert_success(again.close())
    assert (folder / "f.bin").read_bytes() == content


@pytest.mark.parametrize("spelling", ["%66.bin", "./f.bin", "f.bin?query=1"])
def test_the_target_of_a_request_is_decoded_once(wire: WireSender, spelling: str) -> None:
    answer = BitsClient(wire, f"/upload/{spelling}").create()
    assert answer.status == (400 if spelling.startswith(".") else 200)


def test_sessions_are_private_while_the_upload_lasts(live_server: LiveServer, folder: Path) -> None:
    with live_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        assert_success(client.fragment(b"abc", 0, 3))
        session = folder / "BITS-Sessions" / client.session_id
        assert session.stat().st_mode & 0o777 == 0o700
        assert (session / "request").stat().st_mode & 0o777 == 0o600
        assert (session / "session.json").stat().st_mode & 0o777 == 0o600
        assert_success(client.close())
    assert (folder / "f.bin").stat().st_mode & 0o777 == 0o640
    assert re.search(r"session closed: /upload 'f\.bin', total 3 bytes", live_server.log)


def test_the_server_removes_abandoned_sessions_by_itself(folder: Path, tmp_path: Path) -> None:
    """Two workers, one clean-up: each session is logged once."""
    settings, log_file = tmp_path / "settings.toml", tmp_path / "server.log"
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        'session_timeout = "1h"\ncleanup_interval = "2s"\n'
    )
    options = ["--settings", str(settings)]
    with LiveServer(options=options, log_file=log_file) as server, server.sender() as sender:
        abandoned, complete, alive = (BitsClient(sender, f"/upload/{name}") for name in "abc")
        for client, total in ((abandoned, 9), (complete, 3), (alive, 9)):
            assert_success(client.create())
            assert_success(client.fragment(b"abc", 0, total))
        for client in (abandoned, complete):
            for part in (folder / "BITS-Sessions" / client.session_id).iterdir():
                os.utime(part, (1, 1))
        wait_until(lambda: len(list((folder / "BITS-Sessions").glob("{*"))) == 1)
        assert_success(alive.fragment(b"defghi", 3, 9))
        assert_success(alive.close())
        assert abandoned.fragment(b"def", 3, 9).status == 500
    for client, level in ((abandoned, "INFO"), (complete, "WARNING")):
        expired = f"{level} {client.session_id} session expired and removed"
        assert server.log.count(expired) == 1
    assert not (folder / "b").exists()


def test_the_socket_of_systemd_is_taken_in_place_of_bind(folder: Path, tmp_path: Path) -> None:
    """By systemd's own tool, which starts the server when the first packet comes."""
    activate = require_tool("systemd-socket-activate")
    with tempfile.TemporaryDirectory() as short:
        path = Path(short) / "socket"
        command = [sys.executable, "-m", "bits_server", "serve", "--bind", "192.0.2.1:1"]
        with open(tmp_path / "server.log", "wb") as log:
            server = subprocess.Popen(
                [activate, f"--listen={path}", *command, str(folder)], stdout=log, stderr=log
            )
        try:
            wait_until(lambda: is_listening(str(path)))
            with WireSender(str(path)) as sender:
                BitsClient(sender).upload(b"content")
        finally:
            server.terminate()
            assert server.wait(30) == 0
        assert path.exists(), "the socket is systemd's to remove"
    assert (folder / "f.bin").read_bytes() == b"content"


def test_gunicorn_believes_nobody_what_trusted_proxies_does_not(
    folder: Path, tmp_path: Path
) -> None:
    """Neither of the scheme nor of the path, whatever the environment tells gunicorn."""
    with ServerApplication() as application:
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
        )
        with (
            LiveServer(
                options=["--settings", str(settings)],
                environment={"FORWARDED_ALLOW_IPS": "*"},
                log_file=tmp_path / "server.log",
            ) as server,
            server.sender() as sender,
        ):
            client = BitsClient(sender)
            lies = {"X_Forwarded_Proto": "https", "X_Forwarded_For": "203.0.113.9"}
            assert_success(client.create(SCRIPT_NAME="/elsewhere", **lies))
            assert_success(client.fragment(b"abc", 0, 3, **lies))
        told = application.notifications[0].headers["bits-original-request-url"]
        assert told == "http://bits.test/upload/f.bin"
        assert "203.0.113.9" not in server.log


@pytest.mark.parametrize("rest", [b"zz\r\n", b"\r\n\r\n", b"-5\r\nhello\r\n0\r\n\r\n"])
def test_a_request_has_one_answer_whatever_is_left_of_its_body(
    folder: Path, tmp_path: Path, rest: bytes
) -> None:
    """A second one, about the rest, would be taken for that of the next request."""
    add_user(tmp_path / "users", "alice", "secret")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        '[server]\nadministrators = ["alice"]\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'authentication = ["basic"]\nhtpasswd_file = "{tmp_path}/users"\n'
        "basic_without_tls = true\n"
    )
    head = b"Host: bits.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    options = ["--settings", str(settings)]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        for line in (b"POST /-/sessions/act", b"GET /upload/", b"BITS_POST /upload/f"):
            with socket.create_connection(server.address, timeout=10) as connection:
                connection.sendall(line + b" HTTP/1.1\r\n" + head + rest)
                connection.shutdown(socket.SHUT_WR)
                received = b"".join(iter(partial(connection.recv, 1 << 16), b""))
            assert received.count(b"HTTP/1.1 ") == 1, received
    assert "Traceback" not in server.log
