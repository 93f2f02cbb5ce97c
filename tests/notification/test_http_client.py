"""The back-end client against applications that answer well, badly, slowly and not at all."""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bits_server.notification.http_client import HttpBackEndClient
from bits_server.protocol.errors import (
    ApplicationAnswerMalformed,
    ApplicationBroken,
    ApplicationRefused,
    ApplicationTimedOut,
    ApplicationUnreachable,
    EntityVanished,
)
from bits_server.protocol.notifications import NotificationRequest, NotificationResponse
from bits_server.version import VERSION
from tests.notification.raw_application import RawApplication, Script, read_request
from tests.support.certificates import Certificate
from tests.support.waiting import wait_until

GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
REQUEST = NotificationRequest(GUID, "http://host/upload/f.bin?a=1")
ENTITY = bytes(range(256)) * 3000
STATIC = "BITS-Static-Response-URL: https://files/reply\r\n"


def client_of(
    port: int,
    *,
    path: str = "/handle",
    scheme: str = "http",
    timeout: float = 20.0,
    headers: Iterable[tuple[str, str]] = (),
    ca_file: str | None = None,
    maximum_reply_bytes: int = 1 << 30,
) -> HttpBackEndClient:
    return HttpBackEndClient(
        f"{scheme}://127.0.0.1:{port}{path}",
        timeout=timeout,
        headers=headers,
        ca_file=ca_file,
        maximum_reply_bytes=maximum_reply_bytes,
    )


def answering(answer: str, body: bytes = b"") -> Script:
    """Read the request, send this answer, close."""

    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(answer.encode("latin-1") + b"\r\n" + body)

    return script


def notify_by_value(
    client: HttpBackEndClient, entity: bytes = ENTITY
) -> tuple[NotificationResponse, bytes]:
    kept = io.BytesIO()
    request = NotificationRequest(GUID, REQUEST.original_url, entity_length=len(entity))
    response = client.notify(request, io.BytesIO(entity), kept.write)
    return response, kept.getvalue()


def notify_by_reference(client: HttpBackEndClient) -> tuple[NotificationResponse, bytes]:
    request = NotificationRequest(
        GUID, REQUEST.original_url, request_path="/srv/größe", response_path="/srv/response"
    )
    return client.notify(request, None, None), b""


BOTH: dict[str, Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]]] = {
    "by reference": notify_by_reference,
    "by value": notify_by_value,
}
each_type = pytest.mark.parametrize("notify", BOTH.values(), ids=BOTH.keys())


class TestTheRequest:
    @pytest.fixture
    def seen(self) -> list[tuple[str, list[tuple[str, str]], bytes]]:
        return []

    @pytest.fixture
    def script(self, seen: list[tuple[str, list[tuple[str, str]], bytes]]) -> Script:
        def script(connection: socket.socket) -> None:
            seen.append(read_request(connection))
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

        return script

    def test_by_reference_it_is_a_post_without_a_body(
        self, seen: list[tuple[str, list[tuple[str, str]], bytes]], script: Script
    ) -> None:
        with RawApplication(script) as application:
            notify_by_reference(client_of(application.port, headers=[("X-Key", "größe")]))
        start, fields, body = seen[0]
        assert start == "POST /handle?a=1 HTTP/1.1"
        assert sorted(fields) == sorted(
            [
                ("Host", f"127.0.0.1:{application.port}"),
                ("User-Agent", f"bits-server/{VERSION}"),
                ("Accept", "*/*"),
                ("Accept-Encoding", "identity"),
                ("Connection", "close"),
                ("Content-Length", "0"),
                ("BITS-Original-Request-URL", REQUEST.original_url),
                ("BITS-Session-Id", GUID),
                ("BITS-Request-DataFile-Name", "/srv/größe".encode().decode("latin-1")),
                ("BITS-Response-DataFile-Name", "/srv/response"),
                ("X-Key", "größe"),
            ]
        )
        assert body == b""

    def test_by_value_the_entity_is_the_body(
        self, seen: list[tuple[str, list[tuple[str, str]], bytes]], script: Script
    ) -> None:
        with RawApplication(script) as application:
            notify_by_value(client_of(application.port, path="/?k=v"))
        start, fields, body = seen[0]
        assert start == "POST /?k=v&a=1 HTTP/1.1"
        assert body == ENTITY
        names = {name for name, _ in fields}
        assert ("Content-Length", str(len(ENTITY))) in fields
        assert "BITS-Session-Id" in names
        assert not {name for name in names if "DataFile" in name or name == "Transfer-Encoding"}

    def test_the_root_is_a_path_too(
        self, seen: list[tuple[str, list[tuple[str, str]], bytes]], script: Script
    ) -> None:
        with RawApplication(script) as application:
            notify_by_reference(client_of(application.port, path=""))
        assert seen[0][0] == "POST /?a=1 HTTP/1.1"

    def test_of_an_entity_that_grows_what_was_announced_is_sent(
        self, seen: list[tuple[str, list[tuple[str, str]], bytes]], script: Script
    ) -> None:
        with RawApplication(script) as application:
            request = NotificationRequest(GUID, "http://h/", entity_length=5)
            client_of(application.port).notify(request, io.BytesIO(b"hello and more"), None)
        assert seen[0][2] == b"hello"

    def test_an_entity_that_shrinks_is_not_taken_for_the_whole(self) -> None:
        with RawApplication(_silent) as application:
            request = NotificationRequest(GUID, "http://h/", entity_length=50)
            with pytest.raises(EntityVanished):
                client_of(application.port).notify(request, io.BytesIO(b"hello"), None)

    def test_nobody_but_the_settings_says_where_it_goes(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1/")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
        monkeypatch.setenv("HOME", str(tmp_path))
        with RawApplication(script) as application:
            notify_by_reference(client_of(application.port))
        assert application.connections == 1


class TestAnswers:
    @pytest.mark.parametrize(
        "head",
        [
            "HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n",
            "HTTP/1.1 200 OK\r\nConnection: close\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 900000\r\n",
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 900000\r\n",
        ],
    )
    def test_the_body_is_the_reply(self, head: str) -> None:
        body = bytes(900_000)
        with RawApplication(answering(head, body)) as application:
            response, reply = notify_by_value(client_of(application.port))
        assert reply == body
        assert response == NotificationResponse(200, body_length=len(body))

    def test_a_chunked_body_is_the_reply(self) -> None:
        head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
        body = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nTrailer: x\r\n\r\n"
        with RawApplication(answering(head, body)) as application:
            assert notify_by_value(client_of(application.port))[1] == b"abcde"

    @each_type
    def test_what_it_wants_is_in_the_header(
        self, notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]]
    ) -> None:
        head = f"HTTP/1.1 200 OK\r\nbits-copy-file-to-destination:\r\n{STATIC}"
        with RawApplication(answering(head, b"ignored")) as application:
            response, reply = notify(client_of(application.port))
        assert response == NotificationResponse(200, "https://files/reply", True)
        assert reply == b""

    @each_type
    @pytest.mark.parametrize("status", [300, 302, 307, 401, 403, 404, 413, 500, 503])
    def test_a_refusal_is_one_and_a_redirect_is_not_followed(
        self,
        notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]],
        status: int,
    ) -> None:
        head = f"HTTP/1.1 {status} No\r\nLocation: /elsewhere\r\nContent-Length: 50\r\n"
        with (
            RawApplication(answering(head, b"cut")) as application,
            pytest.raises(ApplicationRefused) as caught,
        ):
            notify(client_of(application.port))
        assert caught.value.application_status == status
        assert application.connections == 1

    def test_an_answer_before_the_body_was_read_counts(self) -> None:
        """It closes while megabytes are on their way; the status is what the client is told."""

        def script(connection: socket.socket) -> None:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):  # as nginx lingers: a reset would destroy the answer
                pass

        with (
            RawApplication(script) as application,
            pytest.raises(ApplicationRefused) as caught,
        ):
            notify_by_value(client_of(application.port), bytes(8 << 20))
        assert caught.value.application_status == 409

    @pytest.mark.parametrize("megabytes", [0, 1, 32])
    def test_an_answer_before_the_body_was_read_counts_over_tls(
        self, certificate: Certificate, megabytes: int
    ) -> None:
        """An application that has the file already resets the connection: TLS has its own error."""

        def script(connection: socket.socket) -> None:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nreceipt")
            connection.shutdown(socket.SHUT_WR)  # or the reset may be faster than the answer

        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        with RawApplication(script, tls) as application:
            client = client_of(application.port, scheme="https", ca_file=str(certificate.authority))
            assert notify_by_value(client, bytes(megabytes << 20))[1] == b"receipt"

    @each_type
    def test_a_static_url_that_is_none_is_the_applications_error(
        self, notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]]
    ) -> None:
        head = "HTTP/1.1 200 OK\r\nBITS-Static-Response-URL: /relative\r\n"
        with (
            RawApplication(answering(head)) as application,
            pytest.raises(ApplicationAnswerMalformed),
        ):
            notify(client_of(application.port))


class TestBroken:
    @each_type
    @pytest.mark.parametrize(
        "answer",
        [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-",
            "nonsense\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nha",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            "HTTP/1.1 200 OK\r\nX: " + "x" * 70_000 + "\r\n\r\n",
        ],
        ids=range(8),
    )
    def test_what_is_no_whole_answer_is_broken(
        self,
        notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]],
        answer: str,
    ) -> None:
        def script(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(answer.encode())

        with RawApplication(script) as application, pytest.raises(ApplicationBroken):
            notify(client_of(application.port))

    @each_type
    @pytest.mark.parametrize(
        "line",
        [
            "X : a space before the colon",
            "no colon",
            "X: a\r\rb",
            "X: a\0b",
            ": no name",
            "Content-Length: -1",
            "Content-Length: 1\r\nContent-Length: 0",
            "Content-Length: 1_0",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        ],
    )
    def test_a_head_that_can_be_read_in_two_ways_is_broken(
        self,
        notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]],
        line: str,
    ) -> None:
        """Else the wish behind it might get lost, and the file with it."""
        head = f"HTTP/1.1 200 OK\r\n{line}\r\nBITS-Copy-File-To-Destination: 1\r\n"
        with RawApplication(answering(head)) as application, pytest.raises(ApplicationBroken):
            notify(client_of(application.port))

    @pytest.mark.parametrize(
        ("before", "again"),
        [
            (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            (b"HTTP/1.1 200 OK\r\n", b"X: " + b"x" * 8000 + b"\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        ],
        ids=["interim answers", "header", "trailer"],
    )
    def test_lines_without_end_are_not_read_until_the_deadline(
        self, before: bytes, again: bytes
    ) -> None:
        def script(connection: socket.socket) -> None:
            read_request(connection)
            connection.sendall(before + again * (200_000 // len(again)))
            connection.recv(1)

        with (
            RawApplication(script) as application,
            pytest.raises(ApplicationBroken, match="more than 65536 bytes"),
        ):
            notify_by_value(client_of(application.port))

    @pytest.mark.parametrize("size", [b"-1", b"-5"])
    def test_a_chunk_of_less_than_no_bytes_is_not_read_to_the_end(self, size: bytes) -> None:
        """http.client would keep in memory whatever comes, and the limit would not be looked at."""

        def script(connection: socket.socket) -> None:
            read_request(connection)
            head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.sendall(head + size + b"\r\n" + bytes(100_000))
            connection.recv(1)

        with (
            RawApplication(script) as application,
            pytest.raises(ApplicationBroken, match="less than no bytes"),
        ):
            notify_by_value(client_of(application.port))

    def test_what_is_said_of_a_broken_answer_is_short_and_printable(self) -> None:
        with (
            RawApplication(answering("\xff\x1b" * 30_000 + "\r\n")) as application,
            pytest.raises(ApplicationBroken) as caught,
        ):
            notify_by_reference(client_of(application.port))
        assert len(str(caught.value)) < 1000
        assert str(caught.value).isascii()
        assert str(caught.value).isprintable()

    @pytest.mark.parametrize("length", ["Content-Length: 1001\r\n", ""])
    def test_a_reply_over_the_limit_is_broken(self, length: str) -> None:
        head = f"HTTP/1.1 200 OK\r\n{length}"
        with (
            RawApplication(answering(head, bytes(1001))) as application,
            pytest.raises(ApplicationBroken, match="maximum_reply_size is 1000"),
        ):
            notify_by_value(client_of(application.port, maximum_reply_bytes=1000))

    def test_a_reply_as_large_as_the_limit_is_kept(self) -> None:
        with RawApplication(answering("HTTP/1.1 200 OK\r\n", bytes(1000))) as application:
            kept = notify_by_value(client_of(application.port, maximum_reply_bytes=1000))[1]
        assert len(kept) == 1000

    def test_a_disk_that_is_full_is_no_failure_of_the_application(self) -> None:
        def keep(_block: bytes) -> None:
            raise OSError(28, "No space left on device")

        request = NotificationRequest(GUID, "http://h/")
        with (
            RawApplication(answering("HTTP/1.1 200 OK\r\n", b"reply")) as application,
            pytest.raises(OSError, match="No space"),
        ):
            client_of(application.port).notify(request, io.BytesIO(), keep)

    def test_nobody_who_listens_is_unreachable(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(ApplicationUnreachable, match=f"127.0.0.1 port {port}"):
            notify_by_reference(client_of(port))

    def test_a_name_that_does_not_exist_is_unreachable(self) -> None:
        client = HttpBackEndClient(
            "http://no-such-host.invalid/", timeout=20, maximum_reply_bytes=0
        )
        with pytest.raises(ApplicationUnreachable, match=r"no-such-host\.invalid"):
            notify_by_reference(client)


def keep_waiting(hold: threading.Event) -> None:
    hold.wait(20)


def _silent(connection: socket.socket) -> None:
    read_request(connection)
    connection.recv(1)


def _dripping(before: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(before)
        pause = threading.Event()
        while True:
            connection.sendall(b"x")  # raises once the client is gone
            pause.wait(0.02)

    return script


class TestTheDeadline:
    @each_type
    @pytest.mark.parametrize(
        "script",
        [
            _silent,
            _dripping(b""),
            _dripping(b"HTTP/1.1 200 OK\r\nX: "),
            _dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"),
            _dripping(b"HTTP/1.1 200 OK\r\n\r\n"),
        ],
        ids=["silent", "no status", "in the header", "in the body", "without an end"],
    )
    def test_it_holds_against_whoever_drips_or_says_nothing(
        self,
        notify: Callable[[HttpBackEndClient], tuple[NotificationResponse, bytes]],
        script: Script,
    ) -> None:
        began = time.monotonic()
        with (
            RawApplication(script) as application,
            pytest.raises(ApplicationTimedOut, match=r"0\.3 s \(notification_timeout\)"),
        ):
            notify(client_of(application.port, timeout=0.3))
        assert time.monotonic() - began < 10

    def test_it_holds_while_the_entity_is_sent(self) -> None:
        hold = threading.Event()
        with RawApplication(lambda _: keep_waiting(hold)) as application:
            try:
                with pytest.raises(ApplicationTimedOut, match="sending"):
                    notify_by_value(client_of(application.port, timeout=0.3), bytes(64 << 20))
            finally:
                hold.set()

    def test_it_holds_for_all_addresses_of_a_name_together(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolve = socket.getaddrinfo

        def many(host: str, *options: Any, **named: Any) -> list[Any]:
            if host != "many.test":
                return resolve(host, *options, **named)
            return resolve("127.0.0.1", *options, **named) * 40

        monkeypatch.setattr(socket, "getaddrinfo", many)
        with (
            socket.create_server(("127.0.0.1", 0), backlog=0) as listener,
            ExitStack() as waiting,
        ):
            for _ in range(4):  # the queue is full then, and who comes now is not answered
                one = waiting.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(listener.getsockname())
            url = f"http://many.test:{listener.getsockname()[1]}/"
            client = HttpBackEndClient(url, timeout=0.3, maximum_reply_bytes=0)
            began = time.monotonic()
            with pytest.raises(ApplicationTimedOut, match="connecting"):
                notify_by_reference(client)
            assert time.monotonic() - began < 6

    def test_it_holds_while_tls_is_agreed_on(self) -> None:
        hold = threading.Event()
        with RawApplication(lambda _: keep_waiting(hold)) as application:
            try:
                with pytest.raises(ApplicationTimedOut, match="connecting"):
                    notify_by_reference(client_of(application.port, scheme="https", timeout=0.3))
            finally:
                hold.set()

    def test_no_thread_stays_behind(self) -> None:
        before = threading.active_count()
        with RawApplication(answering("HTTP/1.1 204 No Content\r\n")) as application:
            client = client_of(application.port, timeout=60)
            for _ in range(5):
                notify_by_reference(client)
        wait_until(lambda: threading.active_count() == before)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_of_authorities_that_is_none_is_refused_at_once(
    tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(OSError):  # noqa: PT011 - an SSLError is one
        client_of(1, scheme="https", ca_file=str(file))
