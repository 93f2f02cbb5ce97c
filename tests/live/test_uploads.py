"""Uploads to a running server, by the clients that exist."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests

from bits_server.cli.greeting import greeting
from bits_server.settings import Settings, VirtualDirectory
from tests.conftest import ServerMaker
from tests.support.bits_client import PROTOCOL, BitsClient, assert_refused, assert_success
from tests.support.live_server import LiveServer
from tests.support.tools import require_tool
from tests.support.wire import WireSender

THIRTEEN_MB = 13 << 20


def test_fragments_of_any_size(wire: WireSender, folder: Path) -> None:
    content = os.urandom(3_000_001)
    client = BitsClient(wire)
    assert_success(client.create())
    first = content[:5120]
    for start, size in ((0, 5120), (5120, 1 << 20), (5120 + (1 << 20), 10), (0, 5120)):
        assert client.fragment(content[start : start + size], start, len(content)).status == 200
    assert (folder / "BITS-Sessions" / client.session_id / "request").read_bytes()[:5120] == first
    received = 5120 + (1 << 20) + 10
    client.send_all(content, 1_500_000, start=received)
    assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == content


def test_a_fragment_of_13_mb(wire: WireSender, folder: Path) -> None:
    content = os.urandom(2 * THIRTEEN_MB)
    BitsClient(wire).upload(content, THIRTEEN_MB)
    assert (folder / "f.bin").read_bytes() == content


def test_an_empty_file(wire: WireSender, folder: Path) -> None:
    for name, content_range in (("a", "bytes 0--1/0"), ("b", "bytes */0")):
        client = BitsClient(wire, f"/upload/{name}")
        assert_success(client.create())
        answer = client.fragment(b"", 0, 0, Content_Range=content_range)
        assert_success(answer)
        assert answer["BITS-Received-Content-Range"] == "0"
        assert_success(client.close())
        assert (folder / name).read_bytes() == b""


def test_a_post_with_the_override_header_gets_201(wire: WireSender, folder: Path) -> None:
    client = BitsClient(wire)
    client.method = "POST"
    override = {"X_HTTP_Method_Override": "BITS_POST"}
    created = client.create(**override)
    assert_success(created, status=201)
    assert_success(client.fragment(b"abc", 0, 3, **override))
    assert_success(client.ping(**override))
    assert_success(client.close(**override))
    assert (folder / "f.bin").read_bytes() == b"abc"


def test_content_length_may_be_missing_where_there_is_no_body(
    wire: WireSender, folder: Path
) -> None:
    client = BitsClient(wire)
    assert_success(client.create(Content_Length=None))
    assert_success(client.fragment(b"abc", 0, 3))
    assert_success(client.ping(Content_Length=None))
    assert_success(client.close(Content_Length=None))
    cancelled = BitsClient(wire, "/upload/other")
    assert_success(cancelled.create(Content_Length=None))
    assert_success(cancelled.cancel(Content_Length=None))
    assert (folder / "f.bin").read_bytes() == b"abc"


def test_names_and_values_are_compared_without_regard_to_case(
    wire: WireSender, folder: Path
) -> None:
    client = BitsClient(wire)
    assert_success(client.packet("CREATE-SESSION", {"bits-supported-protocols": PROTOCOL}, b"", {}))
    created = client.create(BITS_Supported_Protocols=f"{{0}}, {PROTOCOL.upper()}")
    assert created["BITS-Protocol"] == PROTOCOL
    client.session_id = client.session_id.lower()
    answer = client.fragment(b"abc", 0, 3, Content_Range="BYTES 0-2/3")
    assert_success(answer)
    assert answer["BITS-Session-Id"] == client.session_id
    assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == b"abc"


def test_an_authorization_of_64_kb_passes(wire: WireSender) -> None:
    for kilobytes in (2, 12, 40, 64):
        value = "Negotiate " + "A" * (kilobytes * 1024 - 10)
        assert_success(BitsClient(wire).ping(Authorization=value))


def test_a_chunked_fragment(wire: WireSender, folder: Path, live_server: LiveServer) -> None:
    client = BitsClient(wire)
    assert_success(client.create())
    head = (
        "BITS_POST /upload/f.bin HTTP/1.1\r\nHost: h\r\nBITS-Packet-Type: Fragment\r\n"
        f"BITS-Session-Id: {client.session_id}\r\nTransfer-Encoding: chunked\r\n"
    )

    def send(content_range: str, *chunks: bytes) -> bytes:
        body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
        range_line = f"Content-Range: bytes {content_range}\r\n\r\n"
        return (head + range_line).encode() + body + b"0\r\n\r\n"

    content = os.urandom(2_000_000)
    answer = wire.send_bytes(send("0-999999/2000000", content[:10], content[10:1_000_000]))
    assert_success(answer)
    assert answer["BITS-Received-Content-Range"] == "1000000"
    short = wire.send_bytes(send("1000000-1999999/2000000", content[1_000_000:1_500_000]))
    assert_refused(short, 400, "0x80070057", client.session_id)
    received = int(short["BITS-Received-Content-Range"])
    assert 1_000_000 <= received <= 1_500_000
    rest = content[received:]
    long = wire.send_bytes(send(f"{received}-1999999/2000000", rest, b"and more"))
    assert_refused(long, 400, "0x80070057", client.session_id)
    if live_server.is_proxied:  # nginx knows the length by then: refused before a byte is kept
        assert long["BITS-Received-Content-Range"] == str(received)
        assert_success(wire.send_bytes(send(f"{received}-1999999/2000000", rest)))
    else:
        assert long["BITS-Received-Content-Range"] == "2000000"
    assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == content


def test_expect_100_continue(live_server: LiveServer) -> None:
    """A .NET client waits for leave before it sends the body."""
    with live_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        connection = sender.connect()
        connection.sendall(
            b"BITS_POST /upload/f.bin HTTP/1.1\r\nHost: h\r\nBITS-Packet-Type: Fragment\r\n"
            b"BITS-Session-Id: " + client.session_id.encode() + b"\r\nExpect: 100-continue\r\n"
            b"Content-Range: bytes 0-2/3\r\nContent-Length: 3\r\n\r\n"
        )
        assert connection.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert_success(sender.read_answer())
        assert_success(client.close())


def test_http_1_0_from_a_proxy(live_server: LiveServer, folder: Path) -> None:
    with live_server.sender(is_kept=False) as sender:
        client = BitsClient(sender)

        def send(kind: str, fields: str, body: bytes = b"") -> None:
            head = (
                f"BITS_POST /upload/f.bin HTTP/1.0\r\nBITS-Packet-Type: {kind}\r\n{fields}"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            answer = sender.send_bytes(head.encode() + body)
            assert_success(answer)
            client.session_id = answer.get("BITS-Session-Id") or ""

        send("Create-Session", f"BITS-Supported-Protocols: {PROTOCOL}\r\n")
        session = f"BITS-Session-Id: {client.session_id}\r\n"
        send("Fragment", f"{session}Content-Range: bytes 0-3/4\r\n", b"data")
        send("Close-Session", session)
    assert (folder / "f.bin").read_bytes() == b"data"


@pytest.mark.parametrize("case", ["416", "500"])
def test_a_refused_fragment_of_13_mb_can_be_sent_whole_and_the_connection_goes_on(
    live_server: LiveServer, case: str
) -> None:
    with live_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        body = bytes(THIRTEEN_MB)
        if case == "416":
            answer = client.fragment(body, 1, THIRTEEN_MB + 1)
            assert_refused(answer, 416, None, client.session_id)
            assert answer["BITS-Received-Content-Range"] == "0"
        else:
            session_id, client.session_id = client.session_id, "{" + "0" * 36 + "}"
            answer = client.fragment(body, 0, THIRTEEN_MB)
            assert_refused(answer, 500, "0x8020001F", client.session_id)
            client.session_id = session_id
        assert_success(client.fragment(b"abc", 0, 3))
        assert_success(client.close())
        assert sender.connections == 1


@pytest.fixture
def small_fragments(folder: Path, tmp_path: Path) -> dict[str, Any]:
    """For a server that takes fragments of up to 1 MiB."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        'maximum_fragment_size = "1MiB"\n'
    )
    return {"options": ["--settings", str(settings)], "log_file": tmp_path / "server.log"}


def test_a_413_arrives_after_60_mib_and_the_connection_goes_on(
    make_server: ServerMaker, small_fragments: dict[str, Any]
) -> None:
    with make_server(**small_fragments) as server, server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        answer = client.fragment(bytes(60 << 20), 0, 60 << 20)
        assert_refused(answer, 413, None, client.session_id)
        assert_success(client.fragment(bytes(1 << 20), 0, 60 << 20))
        assert sender.connections == 1


def test_an_answer_before_the_end_of_a_huge_body_says_that_the_connection_ends(
    small_fragments: dict[str, Any],
) -> None:
    """128 MiB are read; what is still to come is cut off. (nginx would refuse the fragment.)"""
    length = 200 << 20
    with LiveServer(**small_fragments) as server, server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        connection = sender.connect()
        head = client.fragment_head(length)
        connection.sendall(head)
        for _ in range(128):
            connection.sendall(bytes(1 << 20))
        connection.sendall(bytes(1 << 14))
        answer = sender.read_answer()
        assert_refused(answer, 413, None, client.session_id)
        assert answer["Connection"] == "close"
        sender.close()
        assert_success(client.fragment(b"abc", 0, 3))


def test_bytes_that_came_before_the_connection_broke_may_stay(direct_server: LiveServer) -> None:
    content = os.urandom(3 << 20)
    with direct_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        head = client.fragment_head(len(content))
        connection = sender.connect()
        connection.sendall(head + content[: 2 << 20])
        connection.shutdown(socket.SHUT_WR)  # as a client that vanishes in mid-body
        cut = sender.read_answer()
        assert_refused(cut, 400, "0x80070057", client.session_id)
        assert cut["Connection"] == "close"
        received = int(cut["BITS-Received-Content-Range"])
        assert received == 2 << 20
        sender.close()
        assert_success(client.fragment(content[received:], received, len(content)))
        assert_success(client.close())


def test_other_methods_are_told_which_there_are(wire: WireSender) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "POST", "PROPFIND"):
        answer = wire.send(method, "/upload/f.bin", [("Content-Length", "0")])
        assert answer.status == 405
        assert answer["Allow"] == "BITS_POST, POST, OPTIONS"
    options = wire.send("OPTIONS", "/upload/f.bin")
    assert options.status == 200
    assert options["Allow"] == "BITS_POST, POST, OPTIONS"
    assert not [name for name in options.headers if name.startswith("access-control-")]
    assert wire.send("GET", "/elsewhere").status == 404


def test_an_upload_with_requests(live_server: LiveServer, folder: Path) -> None:
    url = f"{live_server.url}/upload/with%20requests.bin"
    content = os.urandom(300_000)
    with requests.Session() as http:
        created = http.request(
            "BITS_POST",
            url,
            headers={"BITS-Packet-Type": "Create-Session", "BITS-Supported-Protocols": PROTOCOL},
        )
        assert created.status_code == 200
        session = {"BITS-Session-Id": created.headers["BITS-Session-Id"]}
        for start in range(0, len(content), 100_000):
            content_range = f"bytes {start}-{start + 99_999}/{len(content)}"
            fields = {"BITS-Packet-Type": "Fragment", "Content-Range": content_range, **session}
            body = content[start : start + 100_000]
            assert http.request("BITS_POST", url, headers=fields, data=body).status_code == 200
        closing = {"BITS-Packet-Type": "Close-Session", **session}
        assert http.request("BITS_POST", url, headers=closing).status_code == 200
    assert (folder / "with requests.bin").read_bytes() == content


def test_the_curl_commands_that_serve_prints(
    live_server: LiveServer, folder: Path, tmp_path: Path
) -> None:
    require_tool("curl")
    settings = Settings((VirtualDirectory(url="/upload", path=str(folder)),))
    printed = greeting(settings, [live_server.address])
    commands = printed[printed.index("  printf ") :]
    script = "set -euo pipefail\n" + commands
    for status in ("200 OK", "400 Bad Request"):  # the second time there is no session
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count(f"HTTP/1.1 {status}") == 2
        assert (folder / "hello.txt").read_bytes() == b"hello, BITS"
    assert "Create-Session refused with 403" in live_server.log
