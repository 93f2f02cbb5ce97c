"""Replies: authorised by the server, sent by nginx, and to the client as if there were no nginx."""

from __future__ import annotations

import contextlib
import grp
import os
import ssl
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from bits_server.settings import Settings, VirtualDirectory
from tests.support.bits_client import BitsClient, assert_success
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.nginx import Nginx
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.waiting import wait_until
from tests.support.wire import Answer as WireAnswer
from tests.support.wire import WireSender

REPLY = bytes(range(256)) * 1000
OF_THE_SERVER = {"date", "server", "connection", "keep-alive"}


@contextlib.contextmanager
def serving(server: HTTPServer) -> Iterator[HTTPServer]:
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def application() -> Iterator[ServerApplication]:
    with ServerApplication(Answer(reply=REPLY)) as application:
        yield application


@pytest.fixture
def usual_umask() -> Iterator[None]:
    """What the application writes may be read by all."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def settings_text(folder: Path, application: ServerApplication, kind: str, group: str) -> str:
    """``group``: to which the folders of sessions are opened, or none."""
    opening = f'session_group = "{group}"\nsession_mode = "0640"\n' if group else ""
    return (
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n{opening}'
        f'notification_type = "{kind}"\nnotification_url = "{application.url}"\n'
    )


@pytest.fixture
def settings_file(folder: Path, tmp_path: Path, application: ServerApplication) -> Path:
    group = grp.getgrgid(os.getgid()).gr_name
    file = tmp_path / "settings.toml"
    file.write_text(settings_text(folder, application, "by-value", group))
    return file


@pytest.fixture
def server(
    settings_file: Path, tmp_path: Path, certificate: Certificate
) -> Iterator[ProxiedServer]:
    options = ["--settings", str(settings_file)]
    log_file = tmp_path / "server.log"
    with ProxiedServer(options=options, log_file=log_file, certificate=certificate) as server:
        yield server


def reply_url(server: LiveServer) -> str:
    """Of an upload that is complete and not closed."""
    with server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        answer = client.fragment(b"question", 0, 8)
        assert_success(answer)
        return answer["BITS-Reply-URL"]


def test_the_application_is_told_the_url_that_the_client_knows(
    server: ProxiedServer, certificate: Certificate, application: ServerApplication
) -> None:
    address = server.nginx.tls_address
    tls = ssl.create_default_context(cafile=str(certificate.authority))
    host = f"localhost:{address[1]}"
    with WireSender(address, tls=tls, host=host) as sender:
        client = BitsClient(sender, "/upload/f%20g.bin?case=1")
        lies = {"X_Forwarded_Proto": "http", "X_Forwarded_Host": "elsewhere", "Forwarded": "host=x"}
        assert_success(client.create(**lies))
        answer = client.fragment(b"question", 0, 8, **lies)
        assert_success(answer)
        assert sender.send("GET", answer["BITS-Reply-URL"]).body == REPLY
    told = application.notifications[-1].headers["bits-original-request-url"]
    assert told == f"https://{host}/upload/f%20g.bin?case=1"


def comparable(answer: WireAnswer) -> tuple[int, dict[str, str], bytes]:
    fields = {name: value for name, value in answer.headers.items() if name not in OF_THE_SERVER}
    return answer.status, fields, answer.body


RANGES = ["bytes=0-9", "bytes=255999-", "bytes=-5", "bytes=-999999", "bytes=5-999999", "bytes=0-0"]
USELESS = ["bytes=5-2", "bytes=a-b", "items=0-9", "bytes=0-1,4-5", "bytes=256000-", "bytes=-0", ""]


def questions(tag: str, modified: str) -> Iterator[tuple[str, dict[str, str]]]:
    for method in ("GET", "HEAD"):
        yield method, {}
        for value in (*RANGES, *USELESS):
            yield method, {"Range": value}
        for value in (tag, '"other"', f"W/{tag}", modified, "Mon, 01 Jan 2001 00:00:00 GMT"):
            yield method, {"Range": "bytes=0-9", "If-Range": value}
        for value in (tag, '"other"', "*", f'"x", {tag}'):
            yield method, {"If-None-Match": value}
            yield method, {"If-Match": value}
            yield method, {"If-None-Match": value, "If-Modified-Since": modified}
            yield method, {"If-Match": value, "Range": "bytes=3-4"}
        for value in (modified, "Mon, 01 Jan 2001 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"):
            yield method, {"If-Modified-Since": value}
            yield method, {"If-Unmodified-Since": value}
        yield method, {"Accept-Encoding": "gzip"}


def test_every_question_gets_the_answer_that_it_gets_without_nginx(server: ProxiedServer) -> None:
    url = reply_url(server)
    with server.sender() as through, WireSender(str(server.socket_path)) as direct:
        whole = direct.send("GET", url)
        assert whole.body == REPLY
        count = 0
        for method, fields in questions(whole["ETag"], whole["Last-Modified"]):
            expected = direct.send(method, url, fields.items())
            found = through.send(method, url, fields.items())
            assert comparable(found) == comparable(expected), (method, fields)
            count += 1
    assert count > 50
    assert "200, served as /_bits_replies/upload/{" in server.nginx.access_log
    assert "206, served as /_bits_replies/upload/{" in server.nginx.access_log


def test_only_nginx_is_told_where_the_file_is(server: ProxiedServer, settings_file: Path) -> None:
    url = reply_url(server)
    header = [("X-Accel-Prefix", "/_bits_replies/upload")]
    with WireSender(str(server.socket_path)) as nginx, server.sender() as client:
        told = nginx.send("GET", url, header)
        assert told["X-Accel-Redirect"] == url.replace(
            "/upload/BITS-Sessions", "/_bits_replies/upload"
        )
        assert told.body == b""
        for name in ("X-Accel-Prefix", "X_Accel_Prefix"):
            answer = client.send("GET", url, [(name, "/etc")])
            assert (answer.status, answer.body) == (200, REPLY)
        answer = client.send("GET", told["X-Accel-Redirect"])
        assert answer.status == 404
    options = ["--settings", str(settings_file)]
    log_file = server.log_file.with_suffix(".direct")
    with LiveServer(options=options, log_file=log_file) as open_one, open_one.sender() as stranger:
        answer = stranger.send("GET", url, header)
        assert answer.get("X-Accel-Redirect") is None
        assert answer.body == REPLY


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run nginx as another user")
@pytest.mark.parametrize(
    ("kind", "group", "tries"),
    [
        ("by-value", "nogroup", "reads"),
        ("by-reference", "nogroup", "reads"),
        ("by-value", "", "is not asked"),
        ("by-reference", "", "may not read"),  # the file for all, in a folder for nobody
    ],
)
@pytest.mark.usefixtures("usual_umask")
def test_a_reply_that_nginx_may_not_read_is_sent_by_the_server(
    tmp_path: Path,
    application: ServerApplication,
    certificate: Certificate,
    kind: str,
    group: str,
    tries: str,
) -> None:
    """nginx serves from the folders that session_group opens to it, and from no other."""
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        file = tmp_path / "settings.toml"
        file.write_text(settings_text(Path(root), application, kind, group))
        with ProxiedServer(
            options=["--settings", str(file)],
            log_file=tmp_path / "server.log",
            certificate=certificate,
            nginx_user="nobody nogroup",
        ) as server:
            url = reply_url(server)
            with server.sender() as sender:
                answer = sender.send("GET", url, [("Range", "bytes=1-1000")])
                assert (answer.status, answer.body) == (206, REPLY[1:1001])
                assert sender.send("HEAD", url).status == 200
            is_asked = "206, served as /_bits_replies/" in server.nginx.access_log
            assert is_asked == (tries != "is not asked")
            assert ("Permission denied" in server.nginx.log) == (tries == "may not read")


def test_nginx_alone_lets_nothing_be_fetched_but_replies(
    folder: Path, certificate: Certificate
) -> None:
    """Whatever the server would name by mistake; and no link that takes the place of a reply."""
    session = folder / "BITS-Sessions" / "{01234567-89AB-CDEF-0123-456789ABCDEF}"
    linked = session.with_name("{11234567-89AB-CDEF-0123-456789ABCDEF}")
    for each in (session, linked):
        each.mkdir(parents=True)
        (each / "session.json").write_text("secret")
        (each / "request").write_text("secret")
    (session / "response").write_text("reply")
    (linked / "response").symlink_to(session / "response")
    (folder / "published").write_text("secret")
    prefix, name = "/_bits_replies/upload", session.name

    class Mistaken(BaseHTTPRequestHandler):
        """Names to nginx what the client asks for; has nothing itself."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            is_alone = self.headers["X-Accel-Prefix"] is None
            self.send_response(410 if is_alone else 200)
            self.send_header("X-Accel-Redirect", self.headers["X-Wanted"])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

        def send_header(self, keyword: str, value: str) -> None:
            if keyword != "X-Accel-Redirect" or self.headers["X-Accel-Prefix"] is not None:
                super().send_header(keyword, value)

    class OnSocket(HTTPServer):
        address_family = 1  # AF_UNIX

        def server_bind(self) -> None:
            self.socket.bind(self.server_address)

        def get_request(self) -> tuple[Any, Any]:
            return self.socket.accept()[0], ("unix", 0)

    settings = Settings((VirtualDirectory("/upload", str(folder)),))
    with tempfile.TemporaryDirectory(prefix="bits-") as root:
        address: Any = f"{root}/socket"
        nginx = Nginx(settings, Path(address), Path(root), certificate)
        with serving(OnSocket(address, Mistaken)), nginx, WireSender(nginx.address) as client:

            def fetch(target: str) -> WireAnswer:
                return client.send("GET", "/upload/any", [("X-Wanted", target)])

            assert fetch(f"{prefix}/{name}/response").body == b"reply"
            for target in (
                f"{prefix}/{name}/request",
                f"{prefix}/{name}/session.json",
                f"{prefix}/{name}/response/",
                f"{prefix}/{name}/./request",
                f"{prefix}/{name}/response/../request",
                f"{prefix}/{name}/x/%2e%2e/request",
                f"{prefix}/{linked.name}/response",
                f"{prefix}/../../published",
                f"{prefix}/published",
                f"{prefix}//{name}/request",
                f"{prefix}/{name.lower()}/response",
                "/etc/passwd",
            ):
                answer = fetch(target)
                assert answer.status >= 400, target
                assert b"secret" not in answer.body
            wait_until(lambda: "Too many levels of symbolic links" in nginx.log)
