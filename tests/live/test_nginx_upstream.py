"""What nginx sends to the server behind it, byte for byte: a raw socket listens in its place."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from bits_server.settings import Settings, VirtualDirectory
from tests.notification.raw_application import RawApplication, read_request
from tests.support.certificates import Certificate
from tests.support.nginx import Nginx
from tests.support.wire import WireSender

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
MEBIBYTE = 1 << 20
FORGED = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Proto", "gopher"),
    ("X-Forwarded-Host", "elsewhere.example"),
    ("X-Remote-User", "root"),
    ("X-Client-Subject", "CN=root"),
    ("X-Proxy-Secret", "guessed"),
    ("X-Accel-Prefix", "/etc"),
    ("Connection", "keep-alive, X-Kept"),
]

Received = tuple[str, list[tuple[str, str]], bytes]


class Upstream:
    """``requests``: those that came, each with the number of its connection."""

    def __init__(self, folder: Path, answered: int) -> None:
        """``answered``: so many are answered; in place of one more the connection ends."""
        self.path = folder / "socket"
        self.requests: list[tuple[int, Received]] = []
        self._answered = answered
        self.application = RawApplication(self._serve, path=self.path)

    def _serve(self, connection: socket.socket) -> None:
        with suppress(ConnectionError):  # nginx closes it at the end
            while True:
                request = read_request(connection)
                self.requests.append((self.application.connections, request))
                if len(self.requests) > self._answered:
                    return
                connection.sendall(OK)


@contextmanager
def behind_nginx(
    certificate: Certificate, *, answered: int = 100
) -> Iterator[tuple[Nginx, Upstream]]:
    settings = Settings((VirtualDirectory("/upload", "/srv/uploads"),))
    with tempfile.TemporaryDirectory(prefix="bits-") as folder:
        upstream = Upstream(Path(folder), answered)
        with upstream.application:
            upstream.path.chmod(0o666)
            with Nginx(settings, upstream.path, Path(folder), certificate) as nginx:
                yield nginx, upstream


def packet(sender: WireSender, target: str, body: bytes = b"", *fields: tuple[str, str]) -> int:
    length = ("Content-Length", str(len(body)))
    return sender.send("BITS_POST", target, [*fields, length], body).status


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_packet_arrives_as_it_was_sent_with_nothing_of_who_it_is_but_nginxs_word(
    certificate: Certificate, is_encrypted: bool
) -> None:
    target = "/upload/a%20b//%C3%A4%2F..;x?%3F&y=/z"
    tls = certificate.trusting() if is_encrypted else None
    with behind_nginx(certificate) as (nginx, upstream):
        address = nginx.tls_address if is_encrypted else nginx.address
        host = "files.example.com:8443"
        with WireSender(address, tls=tls, source="127.0.0.5", host=host) as sender:
            assert packet(sender, target, b"hello", *FORGED, ("BITS-Session-Id", "{x}")) == 200
        ((_, (start, fields, body)),) = upstream.requests
    assert start == f"BITS_POST {target} HTTP/1.1"
    assert body == b"hello"
    assert sorted((name.lower(), value) for name, value in fields) == [
        ("bits-session-id", "{x}"),
        ("content-length", "5"),
        ("host", host),
        ("x-accel-prefix", "/_bits_replies/upload"),
        ("x-forwarded-for", "127.0.0.5"),
        ("x-forwarded-host", host),
        ("x-forwarded-proto", "https" if is_encrypted else "http"),
    ]


def test_connections_to_the_server_are_kept_and_shared(certificate: Certificate) -> None:
    with behind_nginx(certificate) as (nginx, upstream), WireSender(nginx.address) as sender:
        for number in range(5):
            assert packet(sender, f"/upload/{number}") == 200
        assert [connection for connection, _ in upstream.requests] == [1] * 5


def test_a_packet_that_got_no_answer_is_not_sent_again(certificate: Certificate) -> None:
    """Not even where the connection was kept from before: whether to repeat is for the client."""
    with (
        behind_nginx(certificate, answered=1) as (nginx, upstream),
        WireSender(nginx.address) as sender,
    ):
        assert packet(sender, "/upload/first") == 200
        assert packet(sender, "/upload/second") == 502
        starts = [start for _, (start, *_) in upstream.requests]
    assert starts == [f"BITS_POST /upload/{name} HTTP/1.1" for name in ("first", "second")]


def test_a_body_of_a_mebibyte_waits_in_memory_and_a_larger_one_on_the_disk(
    certificate: Certificate,
) -> None:
    """(nginx gives a quarter more where the whole body then fits.)"""
    waits = "a client request body is buffered to a temporary file"
    with behind_nginx(certificate) as (nginx, upstream), WireSender(nginx.address) as sender:
        for length, expected in ((MEBIBYTE, 0), (2 * MEBIBYTE, 1)):
            content = os.urandom(length)
            assert packet(sender, "/upload/f", content) == 200
            assert nginx.log.count(waits) == expected
            assert upstream.requests[-1][1][2] == content
