"""Kerberos over a real connection: curl, requests, and tokens byte by byte, with a real KDC."""

from __future__ import annotations

import grp
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ServerMaker
from tests.support.bits_client import PROTOCOL, BitsClient, assert_refused, assert_success
from tests.support.certificates import Certificate
from tests.support.kdc import Kdc, require_gssapi
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer as ApplicationAnswer
from tests.support.server_application import ServerApplication
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from tests.support.wire import Answer

try:
    from tests.support import negotiate
except ImportError:
    require_gssapi()
    raise

MEBIBYTE = 1 << 20

SiteMaker = Callable[..., Any]


@pytest.fixture
def open_site(make_server: ServerMaker, kerberos: Kdc, folder: Path, tmp_path: Path) -> SiteMaker:
    """A server that asks for Kerberos. ``lines``: more, or other ones, of its virtual directory."""
    return partial(opened, make_server, kerberos, folder, tmp_path)


@pytest.fixture
def open_tls_site(
    certificate: Certificate, kerberos: Kdc, folder: Path, tmp_path: Path
) -> SiteMaker:
    """The same behind nginx."""
    maker = partial(ProxiedServer, certificate=certificate)
    return partial(opened, maker, kerberos, folder, tmp_path)


@contextmanager
def opened(
    make: ServerMaker,
    kerberos: Kdc,
    folder: Path,
    tmp_path: Path,
    lines: str = "",
    *,
    keytab: Path | None = None,
) -> Iterator[LiveServer]:
    file = tmp_path / "settings.toml"
    given = dict(line.split(" = ", 1) for line in lines.splitlines())
    keys = {
        "url": '"/upload"',
        "path": f'"{folder}"',
        "authentication": '["negotiate"]',
        "keytab": f'"{keytab or kerberos.keytab}"',
        "kerberos_realm": '"BITS.TEST"',
        **given,
    }
    table = "".join(f"{key} = {value}\n" for key, value in keys.items())
    file.write_text(f"[server]\nworkers = 2\n[[virtual_directory]]\n{table}")
    options = ["--settings", str(file)]
    log_file = tmp_path / "server.log"
    with make(
        options=options, environment=kerberos.environment_of_all, log_file=log_file
    ) as server:
        yield server


def url_of(server: LiveServer, *, scheme: str = "http") -> str:
    """By the name for which there are tickets."""
    port = server.address[1]
    if scheme == "https":
        assert isinstance(server, ProxiedServer)
        port = server.nginx.tls_address[1]
    return f"{scheme}://localhost:{port}/upload"


class Curl:
    """``curl --negotiate`` of one user, a new process and connection for each packet."""

    def __init__(
        self,
        url: str,
        environment: dict[str, str],
        *options: str,
        login: tuple[str, ...] = ("--negotiate", "-u", ":"),
    ) -> None:
        program = [require_tool("curl"), "-sS", "-i", *login, "-X", "BITS_POST"]
        self._command = [*program, *options, url]
        self._environment = environment
        self._session: tuple[str, ...] = ()

    def send(self, kind: str, *options: str) -> str:
        """The heads of all answers, of which the last one counts."""
        named = ("-H", f"BITS-Packet-Type: {kind}", *self._session)
        command = [*self._command, *named, *options]
        shown = subprocess.run(
            command, check=True, capture_output=True, text=True, env=self._environment
        ).stdout
        found = re.search(r"^BITS-Session-Id: (\S+)", shown, re.M | re.I)
        if kind == "Create-Session" and found:
            self._session = ("-H", f"BITS-Session-Id: {found[1]}")
        return shown

    def create(self) -> str:
        return self.send("Create-Session", "-H", f"BITS-Supported-Protocols: {PROTOCOL}")

    def fragment(self, file: Path, first: int, total: int, *options: str) -> str:
        content_range = f"Content-Range: bytes {first}-{first + file.stat().st_size - 1}/{total}"
        return self.send("Fragment", "-H", content_range, "--data-binary", f"@{file}", *options)


def statuses(shown: str) -> list[int]:
    return [int(each) for each in re.findall(r"^HTTP/\S+ (\d+)", shown, re.M)]


def upload_with(curl: Curl, folder: Path, tmp_path: Path, name: str) -> None:
    """Ping first, then three Fragments, with and without waiting for leave to send."""
    content = os.urandom(12 * MEBIBYTE)
    piece = tmp_path / "piece"
    assert statuses(curl.send("Ping"))[-1] == 200
    created = curl.create()
    assert statuses(created)[-1] == 200
    assert re.search(r"^WWW-Authenticate: Negotiate [A-Za-z0-9+/=]{100,}\r?$", created, re.M | re.I)
    for number, options in enumerate([(), ("-H", "Expect:"), ("-H", "Expect: 100-continue")]):
        first = number * 4 * MEBIBYTE
        piece.write_bytes(content[first : first + 4 * MEBIBYTE])
        answer = curl.fragment(piece, first, len(content), *options)
        assert statuses(answer)[-1] == 200, answer
        received = re.findall(r"^BITS-Received-Content-Range: (\d+)", answer, re.M | re.I)
        assert received[-1] == str(first + 4 * MEBIBYTE)
    assert statuses(curl.send("Close-Session"))[-1] == 200
    assert (folder / name).read_bytes() == content


def test_an_upload_by_curl(
    open_site: SiteMaker, kerberos: Kdc, folder: Path, tmp_path: Path
) -> None:
    with open_site() as server:
        environment = kerberos.environment("alice")
        upload_with(Curl(f"{url_of(server)}/by-curl", environment), folder, tmp_path, "by-curl")
        log = server.log
    assert len(re.findall(r" from \S+ \(alice\): 200", log)) == 6
    assert "YII" not in log


def test_an_upload_by_curl_over_tls(
    open_tls_site: SiteMaker, kerberos: Kdc, folder: Path, tmp_path: Path, certificate: Certificate
) -> None:
    """nginx offers HTTP/2 there, which curl takes."""
    with open_tls_site() as server:
        target = f"{url_of(server, scheme='https')}/by-curl"
        trust = ("--cacert", str(certificate.authority))
        curl = Curl(target, kerberos.environment("alice"), *trust)
        upload_with(curl, folder, tmp_path, "by-curl")
        assert "HTTP/2 200" in curl.send("Ping")


def test_curl_proves_itself_in_each_of_many_packets_on_one_connection(
    open_site: SiteMaker, kerberos: Kdc
) -> None:
    with open_site() as server:
        environment = {**kerberos.environment("alice"), "LC_ALL": "C"}
        target = f"{url_of(server)}/f.bin"
        command = [require_tool("curl"), "-sS", "-v", "--negotiate", "-u", ":", "-X", "BITS_POST"]
        command += ["-H", "BITS-Packet-Type: Ping", *[target] * 20]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
        assert done.stderr.count("< HTTP/1.1 200") == 20
        tokens = re.findall(r"^> Authorization: Negotiate (\S+)", done.stderr, re.M)
        assert len(set(tokens)) == len(tokens) == 20
        assert len(set(re.findall(r"Connected to localhost \(([^)]+)\)", done.stderr))) <= 2
        assert done.stderr.count("Re-using existing connection") == 19
        assert done.stderr.count("< Persistent-Auth: false") == 20


def client_of(sender: Any, next_value: Callable[[], str], target: str) -> BitsClient:
    """Each packet has a new value of Authorization."""
    client = BitsClient(sender, target)
    packet = client.packet

    def send(kind: str, fields: dict[str, str], body: bytes, changes: Any) -> Answer:
        return packet(kind, {"Authorization": next_value(), **fields}, body, changes)

    client.packet = send  # type: ignore[method-assign]
    return client


def tickets_of(kerberos: Kdc, user: str) -> Callable[[], str]:
    cache = kerberos.tickets(user)
    return lambda: negotiate.negotiate(negotiate.token_of(cache))


def test_a_session_belongs_to_the_user_of_the_ticket(
    open_site: SiteMaker, kerberos: Kdc, folder: Path
) -> None:
    with open_site() as server, server.sender() as sender:
        alice = client_of(sender, tickets_of(kerberos, "alice"), "/upload/f.bin")
        bob = client_of(sender, tickets_of(kerberos, "bob"), "/upload/f.bin")
        assert_success(alice.create())
        bob.session_id = alice.session_id
        assert_success(alice.fragment(b"abc", 0, 6))
        for answer in (bob.fragment(b"def", 3, 6), bob.close(), bob.cancel()):
            assert_refused(answer, 500, "0x8020001F", alice.session_id)
            assert answer["WWW-Authenticate"].startswith("Negotiate ")  # it is known who asks
        assert_success(alice.fragment(b"def", 3, 6))
        assert_success(alice.close())
        assert sender.connections == 1
    assert (folder / "f.bin").read_bytes() == b"abcdef"


def test_each_user_has_a_folder_and_services_have_none(
    open_site: SiteMaker, kerberos: Kdc, folder: Path
) -> None:
    lines = f'path = "{folder}/{{user}}"\nallow = ["alice", "HTTP/robot.example@BITS.TEST"]'
    with open_site(lines) as server, server.sender() as sender:
        client_of(sender, tickets_of(kerberos, "alice"), "/upload/f.bin").upload(b"abc")
        for user in ("bob", "HTTP/robot.example"):  # not named; its name cannot be a folder's
            answer = client_of(sender, tickets_of(kerberos, user), "/upload/f.bin").create()
            assert_refused(answer, 403, "0x80070005", None)
        assert "the user 'bob' is not among those that allow names" in server.log
    assert (folder / "alice" / "f.bin").read_bytes() == b"abc"
    assert sorted(os.listdir(folder)) == ["BITS-Sessions", "alice"]


def test_a_reply_comes_with_the_proof_of_the_server_too(
    open_site: SiteMaker, kerberos: Kdc
) -> None:
    """From the server itself: nginx would drop the proof, or ask a second time with one token."""
    cache = kerberos.tickets("alice")
    group = grp.getgrgid(os.getgid()).gr_name
    with ServerApplication(ApplicationAnswer(reply=b"the reply" * 1000)) as application:
        lines = (
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
            f'session_group = "{group}"\nsession_mode = "0640"'
        )
        with open_site(lines) as server, server.sender() as sender:
            alice = client_of(sender, tickets_of(kerberos, "alice"), "/upload/f.bin")
            assert_success(alice.create())
            url = alice.send_all(b"hello", 5)["BITS-Reply-URL"]
            context, token = negotiate.start(cache)
            answer = sender.send("GET", url, [("Authorization", negotiate.negotiate(token))])
            assert (answer.status, answer.body) == (200, b"the reply" * 1000)
            context.step(negotiate.token_in(answer["WWW-Authenticate"]))
            assert context.complete
            assert sender.send("GET", url).status == 401


def assert_asked(answer: Answer, challenge: str = "Negotiate") -> None:
    assert answer.status == 401, answer
    assert answer["WWW-Authenticate"] == challenge
    assert answer.get("Persistent-Auth") is None
    assert answer.get("BITS-Error-Code") is None


def test_a_captured_token_is_worth_nothing_at_any_worker(
    open_site: SiteMaker, kerberos: Kdc
) -> None:
    value = tickets_of(kerberos, "alice")()
    with open_site() as server:
        wait_until(lambda: len(server.workers()) == 2)
        answers = []
        for _ in range(24):
            with server.sender() as sender:
                answer = client_of(sender, partial(str, value), "/upload/f.bin").ping()
                answers.append(answer.status)
        assert answers == [200] + [401] * 23
        assert_asked(answer)
        assert "Request is a replay" in server.log
        assert value.partition(" ")[2][:40] not in server.log


def test_what_is_refused_costs_neither_the_connection_nor_others_a_wait(
    open_site: SiteMaker, kerberos: Kdc
) -> None:
    """Nor does anything of it count as a guess."""
    cut = negotiate.token_of(kerberos.tickets("alice"))[:-20]
    ntlm = negotiate.negotiate(negotiate.NTLM_MESSAGE)
    values = ["Negotiate", "Negotiate !", negotiate.negotiate(cut), ntlm, "NTLM TlRMTVNTUAAB"]
    with open_site() as server, server.sender() as sender:
        alice = client_of(sender, tickets_of(kerberos, "alice"), "/upload/f.bin")
        assert_success(alice.create())
        for value in values * 3:
            stranger = client_of(sender, partial(str, value), "/upload/f.bin")
            stranger.session_id = alice.session_id
            assert_asked(stranger.fragment(bytes(MEBIBYTE), 0, MEBIBYTE))
        assert_success(alice.fragment(b"abc", 0, 3))
        assert sender.connections == 1
        log = server.log
    assert "sent NTLM inside Negotiate" in log
    assert "got no Kerberos ticket for 'HTTP/bits.test'" in log
    assert "the client sent NTLM, which this server does not take" in log
    assert "Traceback" not in log
    assert "TlRM" not in log


@pytest.mark.parametrize("kilobytes", [12, 30, 47])
def test_a_large_token_passes(open_site: SiteMaker, kerberos: Kdc, kilobytes: int) -> None:
    """47 KB are 63 in the header field."""
    cache = kerberos.tickets("alice")

    def value() -> str:
        bare = negotiate.token_of(cache, mechanism=negotiate.KERBEROS)
        made = negotiate.negotiate(negotiate.large(bare, kilobytes << 10))
        assert kilobytes * 1365 < len(made) < 64 << 10
        return made

    with open_site() as server, server.sender() as sender:
        client_of(sender, value, "/upload/f.bin").upload(b"hello" * 1000, 1000)
        assert sender.connections == 1


def test_a_wrong_keytab_is_told_in_the_log(
    open_site: SiteMaker, kerberos: Kdc, tmp_path: Path
) -> None:
    keytab = tmp_path / "other.keytab"
    kerberos.add_service("HTTP/elsewhere.example", keytab)
    with open_site(keytab=keytab) as server:
        shown = Curl(f"{url_of(server)}/f", kerberos.environment("alice")).send("Ping")
        assert statuses(shown)[-1] == 401
        log = server.log
    assert "HTTP/localhost@BITS.TEST not found in keytab" in log
    assert "the keytab has HTTP/elsewhere.example@BITS.TEST (kvno " in log


def test_curl_without_a_ticket_is_asked_for_one(open_site: SiteMaker, kerberos: Kdc) -> None:
    with open_site() as server:
        shown = Curl(f"{url_of(server)}/f", kerberos.environment(None)).send("Ping")
        assert statuses(shown) == [401]
        assert re.findall(r"^WWW-Authenticate: (.*?)\r?$", shown, re.M | re.I) == ["Negotiate"]
        assert "no credentials came" in server.log


def test_kerberos_or_a_password_as_the_client_can(
    open_site: SiteMaker, kerberos: Kdc, tmp_path: Path
) -> None:
    add_user(tmp_path / "users", "dora", "secret of dora")
    lines = f'authentication = ["negotiate", "basic"]\nhtpasswd_file = "{tmp_path}/users"'
    with open_site(f"{lines}\nbasic_without_tls = true") as server:
        target = f"{url_of(server)}/f"
        any_login = ("--anyauth", "-u", ":")
        shown = Curl(target, kerberos.environment("alice"), login=any_login).send("Ping")
        assert statuses(shown) == [401, 200]
        offered = re.findall(r"^WWW-Authenticate: (\w+)", shown, re.M | re.I)
        assert offered == ["Negotiate", "Basic", "Negotiate"]
        password = ("--basic", "-u", "dora:secret of dora")
        shown = Curl(target, kerberos.environment(None), login=password).send("Ping")
        assert statuses(shown) == [200]
        log = server.log
    assert "(alice): 200" in log
    assert "(dora): 200" in log


def test_an_upload_by_requests(open_site: SiteMaker, kerberos: Kdc, folder: Path) -> None:
    """One connection, a token in each packet without having been asked, and a server that proves
    itself in each answer."""
    cache = kerberos.tickets("alice")
    content = os.urandom(5 * MEBIBYTE)
    with open_site() as server, requests.Session() as session:

        def send(kind: str, body: bytes = b"", **fields: str) -> requests.Response:
            context, token = negotiate.start(cache)
            named = {name.replace("_", "-"): value for name, value in fields.items()}
            named |= {"BITS-Packet-Type": kind, "Authorization": negotiate.negotiate(token)}
            answer = session.request(
                "BITS_POST", f"{url_of(server)}/f.bin", data=body, headers=named, timeout=60
            )
            assert answer.status_code == 200
            context.step(negotiate.token_in(answer.headers["WWW-Authenticate"]))
            assert context.complete
            return answer

        send("Ping")
        created = send("Create-Session", BITS_Supported_Protocols=PROTOCOL)
        session_id = created.headers["BITS-Session-Id"]
        for first in range(0, len(content), MEBIBYTE):
            body = content[first : first + MEBIBYTE]
            content_range = f"bytes {first}-{first + len(body) - 1}/{len(content)}"
            send("Fragment", body, BITS_Session_Id=session_id, Content_Range=content_range)
        send("Close-Session", BITS_Session_Id=session_id)
    assert (folder / "f.bin").read_bytes() == content
