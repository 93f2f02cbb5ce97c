"""Which scheme is taken of those that are offered, and where passwords come from and go to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from requests.auth import HTTPBasicAuth, HTTPDigestAuth

from bits_server.client.credentials import Credentials, KnownPasswords, NetrcUnusable, netrc_of
from bits_server.client.login import Login, offered
from tests.client.conftest import GivenPasswords

ALICE = Credentials("alice", "secret")
BASIC, DIGEST = 'Basic realm="a, Digest b"', 'Digest realm="x", qop="auth,auth-int", nonce="n=="'


@pytest.mark.parametrize(
    ("values", "schemes"),
    [
        ([], []),
        (["Negotiate", "NTLM", BASIC], ["negotiate", "ntlm", "basic"]),
        (["Negotiate, NTLM, " + DIGEST], ["negotiate", "ntlm", "digest"]),
        ([f"{DIGEST}, Basic realm=x"], ["digest", "basic"]),
        (["Negotiate YIIabc=="], ["negotiate"]),
    ],
)
def test_the_schemes_that_are_offered(values: list[str], schemes: list[str]) -> None:
    found = [scheme for scheme in offered(values) if scheme in ("negotiate", "ntlm", *schemes)]
    assert found == schemes


def test_the_strongest_comes_first() -> None:
    login = Login("https://h/f", GivenPasswords(ALICE), None)
    kinds = [type(one) for one in login.attempts([BASIC, DIGEST])]
    assert kinds == [HTTPDigestAuth, HTTPBasicAuth]


def test_only_the_scheme_that_was_chosen() -> None:
    login = Login("https://h/f", GivenPasswords(ALICE), "digest")
    assert list(login.attempts(["Basic realm=x"])) == []
    assert login.why_not == ["it offers basic"]


@pytest.mark.parametrize(
    ("url", "scheme", "is_sent"),
    [
        ("https://h/f", None, True),
        ("http://h/f", None, False),
        ("http://h/f", "basic", True),
        ("http://127.0.0.2/f", None, True),
        ("http://[::1]:81/f", None, True),
        ("http://localhost/f", None, True),
        ("http://localhost.evil.test/f", None, False),
        ("http://127.0.0.1.evil.test/f", None, False),
    ],
)
def test_where_basic_is_sent(url: str, scheme: str | None, is_sent: bool) -> None:
    passwords = GivenPasswords(ALICE)
    attempts = list(Login(url, passwords, scheme).attempts(["Basic realm=x"]))
    assert bool(attempts) == is_sent
    assert bool(passwords.asked) == is_sent, "nobody is asked for what is not sent"


def test_a_host_that_gets_no_password_is_told_so() -> None:
    login = Login("https://h/f", None, None)
    assert list(login.attempts([BASIC, DIGEST])) == []
    assert "another host" in login.why_not[0]


ENVIRONMENT = {
    "BITS_CLIENT_USER": "alice",
    "BITS_CLIENT_PASSWORD": "secret",
    "BITS_CLIENT_PROXY_USER": "carol",
    "BITS_CLIENT_PROXY_PASSWORD": "",
}


def test_server_and_proxy_have_each_their_own() -> None:
    passwords = KnownPasswords(ENVIRONMENT)
    assert passwords.for_server("https://h/f") == ALICE
    assert passwords.for_proxy("http://h:3128") == Credentials("carol", "")


def test_a_password_is_in_no_repr() -> None:
    assert "secret" not in repr(ALICE)


@pytest.fixture
def netrc_file(tmp_path: Path) -> Path:
    path = tmp_path / "netrc"
    path.write_text("machine h login alice password secret\n")
    path.chmod(0o600)
    return path


def test_netrc_is_by_host(netrc_file: Path) -> None:
    passwords = KnownPasswords({}, netrc_file=str(netrc_file))
    assert passwords.for_server("https://h:8443/f") == ALICE
    assert passwords.for_server("https://other/f") is None


def test_netrc_that_others_can_read_is_refused(netrc_file: Path) -> None:
    netrc_file.chmod(0o640)
    with pytest.raises(NetrcUnusable, match="chmod 600"):
        KnownPasswords({}, netrc_file=str(netrc_file)).for_server("https://h/f")


def test_netrc_that_cannot_be_understood_tells_no_secret(netrc_file: Path) -> None:
    netrc_file.write_text("machine h login alice passw0rd secret\n")
    with pytest.raises(NetrcUnusable) as raised:
        KnownPasswords({}, netrc_file=str(netrc_file)).for_server("https://h/f")
    assert "secret" not in str(raised.value)


def test_somebody_is_asked_once() -> None:
    asked: list[str] = []

    def prompt(question: str, is_secret: bool) -> str:
        asked.append(question)
        return "secret" if is_secret else "alice"

    passwords = KnownPasswords({}, prompt=prompt)
    for _ in range(3):
        assert passwords.for_server("https://h/f") == ALICE
    assert asked == ["User for h", "Password of alice for h"]


def test_the_netrc_file_is_looked_for(netrc_file: Path) -> None:
    assert netrc_of({"NETRC": str(netrc_file)}) == str(netrc_file)
    assert netrc_of({"NETRC": os.fspath(netrc_file) + "-missing"}) is None
