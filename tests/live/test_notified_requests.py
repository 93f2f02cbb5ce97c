"""What of an uploader's request reaches the server application: nothing that he chose the place of.

A decoy listens: no request may lead a notification, or anything else, to it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerMaker
from tests.notification.raw_application import RawApplication, read_request
from tests.support.bits_client import BitsClient

OWN_FIELDS = {
    *("Host", "User-Agent", "Accept", "Accept-Encoding", "Connection", "Content-Length"),
    *("BITS-Original-Request-URL", "BITS-Session-Id", "X-Key"),
    *("BITS-Request-DataFile-Name", "BITS-Response-DataFile-Name"),
}
TARGETS = [
    "/upload/f",
    "/upload/f?%0d%0aX-Injected:%20yes%0d%0a%0d%0a",
    "/upload/f?%00%0a%c3%28",
    "/upload/f?@DECOY/",
    "/upload/f?//DECOY/",
    "/upload/f?http://DECOY/",
    "/upload/f??a=1#b",
    "/upload/f?%",
    "/upload/f?[::1",
    "/upload/f?\\\\DECOY\\share",
    "/upload/f?" + "x" * 1500,
    "/upload/@DECOY/f",
    "/upload//DECOY/f",
    "/upload/http:%2f%2fDECOY%2ff",
    "/upload/f%3Fk=v?q",
    "/upload/f%0d%0aX-Injected:%20yes",
    "/upload/../f?q",
    "http://DECOY/upload/f?q",
]
FIELDS = {
    "X-Key": "guessed",
    "X-Injected": "yes",
    "X-Forwarded-Host": "DECOY",
    "X-Forwarded-Proto": "gopher",
    "Forwarded": "host=DECOY",
    "BITS-Original-Request-URL": "http://DECOY/",
    "BITS-Request-DataFile-Name": "/etc/passwd",
    "BITS-Response-DataFile-Name": "/etc/passwd",
    "BITS-Static-Response-URL": "http://DECOY/",
    "BITS-Copy-File-To-Destination": "1",
    "BITS-Notification-URL": "http://DECOY/",
}

Seen = tuple[str, list[tuple[str, str]], bytes]


@pytest.fixture
def decoy() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_nothing_that_a_client_sends_leads_a_notification_astray(
    make_server: ServerMaker, folder: Path, tmp_path: Path, decoy: socket.socket, kind: str
) -> None:
    where = f"127.0.0.1:{decoy.getsockname()[1]}"
    seen: list[Seen] = []

    def script(connection: socket.socket) -> None:
        seen.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with RawApplication(script) as application:
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f'notification_type = "{kind}"\nnotification_headers = {{ X-Key = "right" }}\n'
            f'notification_url = "http://127.0.0.1:{application.port}/handle?a=1"\n'
        )
        options = ["--settings", str(settings)]
        with make_server(options=options, log_file=tmp_path / "log") as server:
            changes = {name: text.replace("DECOY", where) for name, text in FIELDS.items()}
            taken = 0
            for target in TARGETS:
                with server.sender() as sender:
                    client = BitsClient(sender, target.replace("DECOY", where))
                    if client.create(**changes).status == 200:
                        taken += 1
                        assert client.fragment(b"abc", 0, 3, **changes).status == 200
                        client.close(**changes)
            log = server.log
    assert len(seen) == taken >= len(TARGETS) - 8
    for start, fields, body in seen:
        method, target, version = start.split(" ")
        assert (method, version) == ("POST", "HTTP/1.1")
        assert target == "/handle?a=1" or target.startswith("/handle?a=1&")
        names = [name for name, _ in fields]
        assert len(names) == len(set(names))
        assert set(names) <= OWN_FIELDS | {"Content-Type"}
        told = dict(fields)
        assert told["Host"] == f"127.0.0.1:{application.port}"
        assert told["X-Key"] == "right"
        assert "passwd" not in start + str(fields)
        assert body == (b"abc" if kind == "by-value" else b"")
        assert told["BITS-Original-Request-URL"].startswith("http")
    with pytest.raises(BlockingIOError):
        decoy.accept()
    assert "Traceback" not in log
