"""Who it is, found out by the real nginx: client certificates, and its own login."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.certificates import Certificate
from tests.support.client_certificates import ClientAuthority, context_with
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user, basic
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.wire import WireSender

SECRET = "0123456789abcdef"
ASKS_FOR_CERTIFICATES = "    # ssl_verify_client optional;\n"
WITH_AUTHORITY = """\
    ssl_client_certificate {authority};
    ssl_crl {revoked};
    ssl_verify_client optional;
"""

Opener = Callable[..., Any]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ClientAuthority:
    return ClientAuthority(tmp_path_factory.mktemp("clients") / "ca")


@pytest.fixture
def open_site(
    folder: Path, tmp_path: Path, certificate: Certificate, authority: ClientAuthority
) -> Opener:
    """nginx as shipped, with the lines that its comments name, before a server."""

    @contextmanager
    def opened(
        scheme: str, *changes: tuple[str, str], lines: str = "", **options: Any
    ) -> Iterator[ProxiedServer]:
        file = tmp_path / "settings.toml"
        file.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f"authentication = [{scheme}]\n{lines}\n"
        )
        server = ProxiedServer(
            options=["--settings", str(file)],
            log_file=tmp_path / "server.log",
            certificate=certificate,
            **options,
        )
        texts = {"authority": authority.certificate, "revoked": authority.revoked}
        server.nginx.change(ASKS_FOR_CERTIFICATES, WITH_AUTHORITY.format(**texts))
        for line, replacement in changes:
            server.nginx.change(line, replacement)
        with server:
            yield server

    return opened


@pytest.fixture
def connect(certificate: Certificate) -> Callable[..., WireSender]:
    def connected(server: ProxiedServer, client: Certificate | None = None) -> WireSender:
        return WireSender(server.nginx.tls_address, tls=context_with(certificate, client))

    return connected


class TestCertificates:
    def test_the_subject_is_the_user_and_sessions_are_his(
        self, open_site: Opener, connect: Any, authority: ClientAuthority, folder: Path
    ) -> None:
        alice = authority.issue("/O=Büro, Nord/CN=alice")
        bob = authority.issue("/O=Example/CN=bob")
        with open_site('"certificate"') as server:
            with connect(server, alice) as of_alice, connect(server, bob) as of_bob:
                client = BitsClient(of_alice)
                assert_success(client.create())
                other = BitsClient(of_bob)
                other.session_id = client.session_id
                answer = other.fragment(b"mine", 0, 4)
                assert_refused(answer, 500, "0x8020001F", client.session_id)
                client.send_all(b"hello", 5)
                assert_success(client.close())
            (user,) = set(re.findall(r"Close-Session .* \((.*)\): 200", server.log))
            assert user == r"CN=alice,O=B\\C3\\BCro\\, Nord"
        assert (folder / "f.bin").read_bytes() == b"hello"

    def test_allow_names_subjects(
        self, open_site: Opener, connect: Any, authority: ClientAuthority
    ) -> None:
        with open_site('"certificate"', lines='allow = ["CN=carol,O=Example"]') as server:
            with connect(server, authority.issue("/O=Example/CN=carol")) as sender:
                assert_success(BitsClient(sender).ping())
            with connect(server, authority.issue("/O=Else/CN=carol")) as sender:
                assert_refused(BitsClient(sender).ping(), 403, "0x80070005")

    def test_without_a_certificate_nobody_uploads_whatever_he_says(
        self, open_site: Opener, connect: Any
    ) -> None:
        forged = {
            "X_Client_Subject": "CN=alice",
            "X_Remote_User": "alice",
            "X_Proxy_Secret": SECRET,
        }
        with open_site('"certificate"') as server, connect(server) as sender:
            client = BitsClient(sender)
            for changes in ({}, forged):
                assert_refused(client.create(**changes), 403, "0x80070005")
            raw = (
                b"BITS_POST /upload/f HTTP/1.1\r\nHost: a\r\nBITS-Packet-Type: Ping\r\n"
                b"X_Client_Subject: CN=alice\r\nx-client-subject : CN=alice\r\n\r\n"
            )
            assert sender.send_bytes(raw).status in (400, 403)
            with WireSender(server.address) as plain:
                assert_refused(BitsClient(plain).create(**forged), 403, "0x80070005")

    def test_a_certificate_of_another_authority_and_a_revoked_one_are_none(
        self, open_site: Opener, connect: Any, authority: ClientAuthority, tmp_path: Path
    ) -> None:
        strangers = ClientAuthority(tmp_path / "strangers", "clients CA")
        stranger = strangers.issue("/O=Example/CN=mallory")
        revoked = authority.issue("/O=Example/CN=revoked")
        authority.revoke(revoked)
        with open_site('"certificate"') as server:
            for client in (stranger, revoked):
                with connect(server, client) as sender:
                    answer = BitsClient(sender).create()
                    assert answer.status in (400, 403)
                    assert answer.get("BITS-Session-Id") is None
        assert "Create-Session" not in re.sub(r".*refused.*", "", server.log)

    def test_without_one_a_password_will_do_where_both_are_offered(
        self, open_site: Opener, connect: Any, authority: ClientAuthority, tmp_path: Path
    ) -> None:
        add_user(tmp_path / "users", "dora", "secret")
        lines = f'htpasswd_file = "{tmp_path}/users"'
        with open_site('"certificate", "basic"', lines=lines) as server:
            with connect(server, authority.issue("/CN=dave")) as sender:
                assert_success(BitsClient(sender).ping())
            with connect(server) as sender:
                client = BitsClient(sender)
                assert client.ping().status == 401
                assert_success(client.ping(Authorization=basic("dora", "secret")))
            users = re.findall(r"Ping .* \((.*)\): 200", server.log)
        assert users == ["CN=dave", "dora"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may run nginx as another user")
    @pytest.mark.parametrize("nginx_user", ["root", "nobody nogroup"])
    def test_a_reply_is_for_the_subject_whoever_sends_it(
        self,
        open_site: Opener,
        connect: Any,
        authority: ClientAuthority,
        nginx_user: str,
    ) -> None:
        """nginx itself, or, where it may not read the file, the server on a second way."""
        alice, bob = authority.issue("/CN=anna"), authority.issue("/CN=bert")
        with ServerApplication(Answer(reply=b"the reply")) as application:
            lines = (
                f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
                'session_mode = "0640"\nsession_group = "nogroup"'  # or nginx is not asked
            )
            options = {"lines": lines, "nginx_user": nginx_user}
            with open_site('"certificate"', **options) as server:
                with connect(server, alice) as sender:
                    client = BitsClient(sender)
                    client.create()
                    url = client.send_all(b"hello", 5)["BITS-Reply-URL"]
                    answer = sender.send("GET", url)
                    assert (answer.status, answer.body) == (200, b"the reply")
                    may_not_read = "Permission denied" in server.nginx.log
                    assert may_not_read is (nginx_user != "root")
                with connect(server, bob) as sender:
                    assert sender.send("GET", url).status == 404
                with connect(server) as sender:
                    assert sender.send("GET", url).status == 403


def test_a_login_of_nginx_itself(open_site: Opener, connect: Any, tmp_path: Path) -> None:
    """What "header" is for: nginx asks, and names who it was."""
    users = tmp_path / "users"
    add_user(users, "alice", "secret", "-5")
    users.chmod(0o644)
    place = "        # set $bits_user $remote_user;\n"
    login = f'auth_basic "nginx";\nauth_basic_user_file {users};\nset $bits_user $remote_user;\n'
    with (
        open_site('"header"', (place, login), lines='allow = ["alice"]') as server,
        connect(server) as sender,
    ):
        client = BitsClient(sender)
        assert client.ping().status == 401
        assert client.ping(**{"X-Remote-User": "alice"}).status == 401
        assert client.ping(Authorization=basic("alice", "wrong")).status == 401
        assert_success(client.create(Authorization=basic("alice", "secret")))
        assert "(alice): 200" in server.log


def test_over_tcp_a_proxy_is_believed_with_its_secret_only(folder: Path, tmp_path: Path) -> None:
    """Without nginx here: whoever has the secret is the proxy."""
    file = tmp_path / "settings.toml"
    (tmp_path / "secret").write_text(SECRET)
    file.write_text(
        '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'authentication = ["header"]\nproxy_secret = {{ file = "{tmp_path}/secret" }}\n'
    )
    with (
        LiveServer(options=["--settings", str(file)], log_file=tmp_path / "log") as server,
        server.sender() as sender,
    ):
        client = BitsClient(sender)
        known = {"X-Remote-User": "alice", "X-Proxy-Secret": SECRET}
        assert_success(client.ping(**known))
        for changes in (
            {"X-Remote-User": "alice"},
            {**known, "X-Proxy-Secret": SECRET[:-1]},
            {**known, "X-Remote-User": ""},
            {"X-Proxy-Secret": SECRET},
            {},
        ):
            assert_refused(client.ping(**changes), 403, "0x80070005")
        assert "X-Remote-User came, and is not believed" in server.log
        assert SECRET not in server.log
