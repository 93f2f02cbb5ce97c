"""Who may upload, over a real connection: 401 as a BITS client needs it, and sessions that belong
to their creator."""

from __future__ import annotations

import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ServerMaker
from tests.support.bits_client import PROTOCOL, BitsClient, assert_refused, assert_success
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user, basic
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer as ApplicationAnswer
from tests.support.server_application import ServerApplication
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from tests.support.wire import Answer, WireSender

ALICE = basic("alice", "secret of alice")
BOB = basic("bob", "secret of bob")
MEBIBYTE = 1 << 20


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    add_user(file, "alice", "secret of alice")
    add_user(file, "bob", "secret of bob", "-5")
    return file


class Site:
    """A server whose virtual directory asks for a password, and connections to it with TLS where
    nginx has it."""

    def __init__(self, server: LiveServer, certificate: Certificate) -> None:
        self.server = server
        self._certificate = certificate
        self.is_proxied = isinstance(server, ProxiedServer)

    @property
    def address(self) -> Any:
        if isinstance(self.server, ProxiedServer):
            return self.server.nginx.tls_address
        return self.server.address

    @property
    def url(self) -> str:
        return f"{'https' if self.is_proxied else 'http'}://localhost:{self.address[1]}"

    def sender(self, **options: Any) -> WireSender:
        tls = None
        if self.is_proxied:
            tls = ssl.create_default_context(cafile=str(self._certificate.authority))
        return WireSender(self.address, tls=tls, **options)

    def challenges(self, method: str, target: str) -> tuple[int, list[str]]:
        """Status and values of WWW-Authenticate of a request without credentials."""
        if self.is_proxied:
            tls = ssl.create_default_context(cafile=str(self._certificate.authority))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "localhost", self.address[1], context=tls
            )
        else:
            connection = http.client.HTTPConnection(*self.address)
        try:
            connection.request(method, target, headers={"BITS-Packet-Type": "Ping"})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get_all("WWW-Authenticate") or []
        finally:
            connection.close()


@pytest.fixture
def open_site(
    make_server: ServerMaker, folder: Path, users: Path, tmp_path: Path, certificate: Certificate
) -> Any:
    @contextmanager
    def opened(lines: str = "", path: str = "", workers: int = 1) -> Iterator[Site]:
        file = tmp_path / "settings.toml"
        is_direct = make_server is LiveServer
        file.write_text(
            f"[server]\nworkers = {workers}\n"
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{path or folder}"\n'
            f'authentication = ["basic"]\nhtpasswd_file = "{users}"\n'
            f"basic_without_tls = {'true' if is_direct else 'false'}\n{lines}\n"
        )
        server = make_server(options=["--settings", str(file)], log_file=tmp_path / "server.log")
        with server:
            yield Site(server, certificate)

    return opened


def client_of(sender: WireSender, authorization: str, target: str = "/upload/f.bin") -> BitsClient:
    client = BitsClient(sender, target)
    client.packet = partial(_with, client.packet, authorization)  # type: ignore[method-assign]
    return client


def _with(
    packet: Any, authorization: str, kind: str, fields: dict[str, str], body: bytes, changes: Any
) -> Answer:
    answer = packet(kind, {"Authorization": authorization, **fields}, body, changes)
    assert isinstance(answer, Answer)
    return answer


def assert_asked(answer: Answer) -> None:
    """A 401 that a client takes for a question and not for the end of its job."""
    assert answer.status == 401, answer
    assert answer["WWW-Authenticate"] == 'Basic realm="BITS uploads", charset="UTF-8"'
    assert answer["BITS-Packet-Type"] == "Ack"
    assert answer["Content-Length"] == "0"
    for name in ("BITS-Error-Code", "BITS-Error", "BITS-Error-Context"):
        assert answer.get(name) is None
    assert answer.get("BITS-Received-Content-Range") is None


def test_an_upload_as_windows_makes_it(open_site: Any, folder: Path) -> None:
    """Asked at its Ping first, then with credentials in each packet, all on one connection."""
    content = os.urandom(3 * MEBIBYTE)
    with open_site() as site, site.sender() as sender:
        assert_asked(BitsClient(sender).ping())
        client = client_of(sender, ALICE)
        assert_success(client.ping())
        client.upload(content)
        assert sender.connections == 1
        assert (folder / "f.bin").read_bytes() == content
        log = site.server.log
    assert len(re.findall(r" from 127\.0\.0\.1 \(alice\): 200", log)) == 6
    assert "secret of" not in log


def test_every_packet_is_asked_and_a_refused_body_is_read(open_site: Any, folder: Path) -> None:
    """The connection goes on behind a Fragment of some megabytes that came too early."""
    content = os.urandom(5 * MEBIBYTE)
    with open_site() as site, site.sender() as sender:
        stranger, alice = BitsClient(sender), client_of(sender, ALICE)
        assert_asked(stranger.create())
        assert_success(alice.create())
        stranger.session_id = alice.session_id
        for _ in range(3):
            assert_asked(stranger.fragment(content, 0, len(content)))
        assert_asked(stranger.close())
        assert_asked(stranger.cancel())
        alice.send_all(content, 2 * MEBIBYTE)
        assert_success(alice.close())
        assert sender.connections == 1
    assert (folder / "f.bin").read_bytes() == content


def test_a_malformed_packet_of_a_stranger_tells_nothing_of_the_session(open_site: Any) -> None:
    """The next expected byte is for the owner of the session."""
    with open_site() as site, site.sender() as sender:
        alice = client_of(sender, ALICE)
        alice.create()
        assert alice.fragment(b"abc", 0, 9).status == 200
        bad = {"Content_Range": "bytes 3-5/8"}
        assert alice.fragment(b"def", 3, 9, **bad)["BITS-Received-Content-Range"] == "3"
        for other in (client_of(sender, BOB), client_of(sender, basic("alice", "x"))):
            other.session_id = alice.session_id
            answer = other.fragment(b"def", 3, 9, Content_Range="bytes a-b/9")
            assert_refused(answer, 400, "0x80070057", alice.session_id)
            assert answer.get("BITS-Received-Content-Range") is None


def test_another_user_finds_no_session(open_site: Any, folder: Path) -> None:
    with open_site() as site, site.sender() as sender:
        alice, bob = client_of(sender, ALICE), client_of(sender, BOB)
        alice.create()
        bob.session_id = alice.session_id
        alice.fragment(b"abc", 0, 6)
        for answer in (bob.fragment(b"def", 3, 6), bob.close(), bob.cancel()):
            assert_refused(answer, 500, "0x8020001F", alice.session_id)
            assert answer.get("BITS-Received-Content-Range") is None
        assert_success(alice.fragment(b"def", 3, 6))
        assert_success(alice.close())
        assert_refused(bob.close(), 500, "0x8020001F", alice.session_id)
        assert_success(alice.close())
    assert (folder / "f.bin").read_bytes() == b"abcdef"


def test_a_reply_is_for_the_creator_of_the_session(open_site: Any) -> None:
    with ServerApplication(ApplicationAnswer(reply=b"the reply")) as application:
        lines = f'notification_type = "by-value"\nnotification_url = "{application.url}"'
        with open_site(lines) as site, site.sender() as sender:
            alice = client_of(sender, ALICE)
            alice.create()
            url = alice.send_all(b"hello", 5)["BITS-Reply-URL"]
            for method in ("GET", "HEAD"):
                status, challenges = site.challenges(method, url)
                assert (status, len(challenges)) == (401, 1)
                assert sender.send(method, url, [("Authorization", BOB)]).status == 404
            answer = sender.send("GET", url, [("Authorization", ALICE)])
            assert (answer.status, answer.body) == (200, b"the reply")


def test_allow_names_users_and_groups(open_site: Any, tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.write_text("staff: alice\n")
    with (
        open_site(f'allow = ["@staff"]\ngroups_file = "{groups}"') as site,
        site.sender() as sender,
    ):
        assert_success(client_of(sender, ALICE).create())
        bob = client_of(sender, BOB)
        for answer in (bob.ping(), bob.create()):
            assert_refused(answer, 403, "0x80070005", None)
        groups.write_text("staff: alice bob\n")
        assert_success(bob.create())
        assert "the user 'bob' is not among those that allow names" in site.server.log


def test_each_user_has_a_folder_of_his_own(open_site: Any, folder: Path, users: Path) -> None:
    """Made with the first upload; the same URL is another file for another user."""
    add_user(users, "../bob", "x")
    add_user(users, "EXAMPLE\\carol", "x")
    with open_site(path=f"{folder}/{{user}}/incoming") as site, site.sender() as sender:
        client_of(sender, ALICE).upload(b"of alice")
        client_of(sender, BOB).upload(b"of bob")
        with pytest.raises(AssertionError):  # overwriting is off
            client_of(sender, BOB).upload(b"again")
        for user in ("../bob", "EXAMPLE\\carol"):
            stranger = client_of(sender, basic(user, "x"))
            assert_refused(stranger.ping(), 403, "0x80070005")
            assert_refused(stranger.create(), 403, "0x80070005")
    files = {str(each.relative_to(folder)) for each in folder.rglob("*.bin")}
    assert files == {"alice/incoming/f.bin", "bob/incoming/f.bin"}
    assert (folder / "alice/incoming/f.bin").read_bytes() == b"of alice"
    assert (folder / "bob/incoming/f.bin").read_bytes() == b"of bob"
    assert sorted(os.listdir(folder)) == ["BITS-Sessions", "alice", "bob"]


def test_who_guesses_is_slowed_down_and_those_beside_him_are_not(open_site: Any) -> None:
    with open_site() as site, site.sender() as sender:
        alice = client_of(sender, ALICE)
        alice.create()
        guesses = [client_of(sender, basic("bob", str(each))).ping() for each in range(6)]
        assert [answer.status for answer in guesses] == [401] * 5 + [503]
        assert_refused(guesses[-1], 503, "0x801901F7")
        assert 1 <= int(guesses[-1]["Retry-After"]) <= 60
        assert_success(alice.ping())  # was right a moment ago
        with site.sender(source="127.0.0.9") as other:
            assert_success(client_of(other, BOB).ping())
        log = site.server.log
    assert "wrong password for the user 'bob' (failure 5 from 127.0.0.1 within minutes)" in log
    assert "none are looked at for 1 s" in log


def test_a_password_over_a_plain_connection_is_neither_asked_for_nor_taken(
    folder: Path, users: Path, tmp_path: Path, certificate: Certificate
) -> None:
    """Through nginx: over TLS it is taken, at the same server without TLS it is not."""
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'authentication = ["basic"]\nhtpasswd_file = "{users}"\n'
    )
    log_file = tmp_path / "server.log"
    options = ["--settings", str(file)]
    with ProxiedServer(options=options, log_file=log_file, certificate=certificate) as server:
        with WireSender(server.address) as sender:
            for client in (BitsClient(sender), client_of(sender, ALICE)):
                answer = client.ping(**{"X-Forwarded-Proto": "https"})
                assert_refused(answer, 403, "0x80070005")
                assert answer.get("WWW-Authenticate") is None
        assert "use https, or set basic_without_tls = true" in server.log
        with Site(server, certificate).sender() as sender:
            assert_success(client_of(sender, ALICE).ping())


def test_a_worker_that_begins_while_the_passwords_are_being_changed_halts_nothing(
    open_site: Any, users: Path
) -> None:
    """Clients are told to come again, and are served once the file is right."""
    good = users.read_text()
    with open_site() as site, site.sender(is_kept=False) as sender:
        alice = client_of(sender, ALICE)
        assert_success(alice.ping())
        users.write_text("half a li")
        (worker,) = site.server.workers()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: site.server.workers() not in ([], [worker]))
        assert_refused(alice.ping(), 503, "0x801901F7")
        users.write_text(good)
        assert_success(alice.ping())


def test_curl_logs_in_when_it_is_asked(
    open_site: Any, folder: Path, certificate: Certificate
) -> None:
    """A real client that sends credentials only after a 401: the body goes up twice at most."""
    with open_site() as site:
        curl = [require_tool("curl"), "--silent", "--show-error", "--anyauth", "--fail"]
        curl += ["--user", "alice:secret of alice", "--cacert", str(certificate.authority)]
        curl += ["-X", "BITS_POST", f"{site.url}/upload/by-curl"]

        def send(kind: str, *options: str) -> str:
            command = [*curl, "-i", "-H", f"BITS-Packet-Type: {kind}", *options]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        created = send("Create-Session", "-H", f"BITS-Supported-Protocols: {PROTOCOL}")
        assert " 401" in created.splitlines()[0]
        (session_id,) = re.findall(r"^BITS-Session-Id: (\S+)", created, re.M | re.I)
        named = ("-H", f"BITS-Session-Id: {session_id}")
        body = ("-H", "Content-Range: bytes 0-4/5", "--data-binary", "hello")
        send("Fragment", *named, *body)
        send("Close-Session", *named)
    assert (folder / "by-curl").read_bytes() == b"hello"


def test_check_settings_reads_the_files_that_they_name(users: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"

    def check(lines: str) -> str:
        file.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{tmp_path}"\n'
            f'authentication = ["basic"]\n{lines}\n'
        )
        command = [sys.executable, "-m", "bits_server", "check-settings", str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        return f"{done.returncode} {done.stderr}"

    missing = check(f'htpasswd_file = "{tmp_path}/nowhere"')
    assert "number 1: htpasswd_file: " in missing
    assert "cannot be read: No such file" in missing
    assert check(f'htpasswd_file = "{users}"').startswith("0 ")
    add_user(users, "eve", "x", "-m")
    unsafe = check(f'htpasswd_file = "{users}"')
    assert "line 3, user 'eve'" in unsafe
    assert "$apr1$" not in unsafe
    groups = tmp_path / "groups"
    groups.write_text("staff\n")
    add_user(users, "eve", "x")
    wrong = check(f'htpasswd_file = "{users}"\nallow = ["@staff"]\ngroups_file = "{groups}"')
    assert "groups_file: " in wrong
    assert "line 1 is not like" in wrong
