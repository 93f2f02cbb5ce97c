"""Basic, with files that the real ``htpasswd`` has written."""

from __future__ import annotations

import base64
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.protocol.errors import ServiceUnavailable
from bits_server.web.authentication.basic import (
    LONGEST_NAME,
    REMEMBERED_SECONDS,
    TRUSTED_SECONDS,
    BasicScheme,
    Users,
    _is_right,
    parse_htpasswd,
)
from bits_server.web.authentication.interface import CredentialsRefused
from tests.support.passwords import add_user, basic
from tests.web.authentication.stages import Clock

LONG = "x" * 100


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    add_user(file, "alice", "secret")
    add_user(file, "bob", "größe", "-5")
    add_user(file, "carol", "", "-2")
    add_user(file, "dora", LONG)
    return file


class CountingVerifier:
    """Counts how often a hash is computed."""

    def __init__(self) -> None:
        self.count = self.most_at_once = self._at_it = 0
        self._lock = threading.Lock()

    def __call__(self, stored: str, password: bytes) -> bool:
        with self._lock:
            self.count += 1
            self._at_it += 1
            self.most_at_once = max(self.most_at_once, self._at_it)
        is_right = _is_right(stored, password)
        with self._lock:
            self._at_it -= 1
        return is_right


def environ(authorization: str | None = None, scheme: str = "https") -> dict[str, Any]:
    made: dict[str, Any] = {"wsgi.url_scheme": scheme}
    if authorization is not None:
        made["HTTP_AUTHORIZATION"] = authorization
    return made


def who(scheme: BasicScheme, user: str, password: str) -> str:
    identity = scheme.identify(environ(basic(user, password)))
    assert identity is not None
    return identity.user


@pytest.mark.parametrize(
    ("user", "password"), [("alice", "secret"), ("bob", "größe"), ("carol", ""), ("dora", LONG)]
)
def test_a_user_with_his_password_is_known(users: Path, user: str, password: str) -> None:
    scheme = BasicScheme(str(users))
    assert who(scheme, user, password) == user
    with pytest.raises(CredentialsRefused, match=f"wrong password for the user '{user}'") as caught:
        who(scheme, user, "not " + password)
    assert caught.value.user == user


@pytest.mark.parametrize("password", ["größe", "10 € in \u201cgold\u201d"])
def test_what_clients_send_that_know_no_utf_8_is_read_too(users: Path, password: str) -> None:
    add_user(users, "jörg", password)
    scheme = BasicScheme(str(users))
    token = base64.b64encode(f"jörg:{password}".encode("cp1252")).decode()
    identity = scheme.identify(environ(f"bAsIc  {token} "))
    assert identity is not None
    assert identity.user == "jörg"


def test_a_byte_that_no_code_page_has_stays_what_it_is(users: Path) -> None:
    scheme = BasicScheme(str(users))
    token = base64.b64encode(b"\x81\xff:x").decode()
    with pytest.raises(CredentialsRefused) as caught:
        scheme.identify(environ(f"Basic {token}"))
    assert caught.value.user == "\x81\xff"


def test_a_password_may_have_colons(users: Path) -> None:
    add_user(users, "alice", "a:b:c")
    assert who(BasicScheme(str(users)), "alice", "a:b:c") == "alice"


@pytest.mark.parametrize(
    "authorization", [None, "", "Negotiate YII=", "Basical eDp5", "Digest a=b"]
)
def test_what_is_not_of_this_scheme_is_left_to_others(
    users: Path, authorization: str | None
) -> None:
    scheme = BasicScheme(str(users))
    assert scheme.identify(environ(authorization)) is None
    assert not scheme.is_remembered(environ(authorization))


@pytest.mark.parametrize("token", ["", "!", "eHl6", "eHl6===", "ÿ", "YTpi YTpi"])
def test_malformed_credentials_are_refused(users: Path, token: str) -> None:
    scheme = BasicScheme(str(users))
    with pytest.raises(CredentialsRefused):
        scheme.identify(environ(f"Basic {token}"))
    assert not scheme.is_remembered(environ(f"Basic {token}"))


@given(st.binary(max_size=200))
def test_any_credentials_are_known_or_refused(
    tmp_path_factory: pytest.TempPathFactory, decoded: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "one-user"
    if not file.exists():
        add_user(file, "alice", "secret")
    scheme = BasicScheme(str(file))
    with pytest.raises(CredentialsRefused):
        scheme.identify(environ("Basic " + base64.b64encode(decoded).decode()))


def test_a_stranger_takes_as_much_time_as_a_user(users: Path) -> None:
    """Not measured, which would be noise: a hash is computed for both."""
    verify = CountingVerifier()
    scheme = BasicScheme(str(users), verify=verify)
    with pytest.raises(CredentialsRefused, match="there is no user 'mallory'"):
        who(scheme, "mallory", "secret")
    assert verify.count == 1


def test_a_stranger_has_the_hash_of_anybody_and_always_the_same(users: Path) -> None:
    """Else a user whose hash is slower than that of strangers would be told by the time."""
    known = Users(users.read_text())
    names = [f"stranger{number}" for number in range(200)]
    hashes = [known.hash_for_stranger(name) for name in names]
    assert hashes == [Users(users.read_text()).hash_for_stranger(name) for name in names]
    assert set(hashes) == {known.hash_of(name) for name in ("alice", "bob", "carol", "dora")}
    assert all(20 < hashes.count(each) < 90 for each in set(hashes))


def test_a_stranger_who_knows_the_password_of_his_hash_stays_one(users: Path) -> None:
    scheme = BasicScheme(str(users))
    for number in range(20):
        for password in ("secret", "größe", ""):
            with pytest.raises(CredentialsRefused, match="there is no user"):
                who(scheme, f"stranger{number}", password)
    assert not scheme._remembered


@pytest.mark.parametrize("user", ["alice", "stranger"])
def test_the_same_guess_side_by_side_waits_for_the_first_whoever_it_names(
    users: Path, user: str
) -> None:
    """Else two guesses at once would take longer where there is such a user."""
    verify = CountingVerifier()
    scheme = BasicScheme(str(users), verify=verify)
    at_once = threading.Barrier(2)

    def guess() -> None:
        for _ in range(20):
            at_once.wait()
            with pytest.raises(CredentialsRefused):
                who(scheme, user, "wrong")

    threads = [threading.Thread(target=guess) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (verify.count, verify.most_at_once) == (40, 1)


def test_in_an_empty_file_a_stranger_costs_a_hash_too(tmp_path: Path) -> None:
    (tmp_path / "users").write_text("# nobody yet\n")
    hashes: list[str] = []

    def verify(stored: str, password: bytes) -> bool:
        hashes.append(stored)
        return _is_right(stored, password)

    scheme = BasicScheme(str(tmp_path / "users"), verify=verify)
    with pytest.raises(CredentialsRefused):
        who(scheme, "mallory", "secret")
    assert hashes[0].startswith("$5$rounds=5000$")


def test_a_name_of_kilobytes_is_told_in_part(users: Path) -> None:
    scheme = BasicScheme(str(users))
    with pytest.raises(CredentialsRefused) as caught:
        who(scheme, "x" * 40_000, "secret")
    assert caught.value.user == "x" * LONGEST_NAME
    assert len(str(caught.value)) < 2 * LONGEST_NAME


class TestWithoutTls:
    def test_no_password_is_asked_for_nor_looked_at(self, users: Path) -> None:
        verify = CountingVerifier()
        scheme = BasicScheme(str(users), verify=verify)
        plain = environ(basic("alice", "secret"), "http")
        assert scheme.challenges(plain) == ()
        with pytest.raises(
            CredentialsRefused, match="use https, or set basic_without_tls"
        ) as caught:
            scheme.identify(plain)
        assert not caught.value.is_failure
        assert verify.count == 0

    def test_unless_it_is_allowed_by_name(self, users: Path) -> None:
        scheme = BasicScheme(str(users), without_tls=True)
        plain = environ(basic("alice", "secret"), "http")
        assert scheme.challenges(plain) == ('Basic realm="BITS uploads", charset="UTF-8"',)
        assert scheme.identify(plain) is not None


class TestRemembering:
    def test_a_password_is_hashed_once_a_minute_and_not_once_a_packet(self, users: Path) -> None:
        verify, clock = CountingVerifier(), Clock()
        scheme = BasicScheme(str(users), verify=verify, clock=clock)
        for _ in range(100):
            assert who(scheme, "alice", "secret") == "alice"
        assert verify.count == 1
        assert scheme.is_remembered(environ(basic("alice", "secret")))
        clock.now += REMEMBERED_SECONDS - 1
        who(scheme, "alice", "secret")
        assert verify.count == 1
        clock.now += 2
        who(scheme, "alice", "secret")
        assert verify.count == 2

    def test_who_was_right_is_trusted_for_a_while_and_then_forgotten(self, users: Path) -> None:
        """So that others who guess at the same address stop no upload that is under way."""
        clock = Clock()
        scheme = BasicScheme(str(users), clock=clock)
        who(scheme, "alice", "secret")
        alice = environ(basic("alice", "secret"))
        clock.now += TRUSTED_SECONDS - 1
        assert scheme.is_remembered(alice)
        assert not scheme.is_remembered(environ(basic("alice", "secret2")))
        clock.now += 2
        assert not scheme.is_remembered(alice)
        who(scheme, "bob", "größe")
        assert len(scheme._remembered) == 1

    def test_a_changed_password_is_trusted_no_more(self, users: Path) -> None:
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        add_user(users, "alice", "new")
        assert not scheme.is_remembered(environ(basic("alice", "secret")))

    def test_packets_side_by_side_wait_for_the_first(self, users: Path) -> None:
        verify = CountingVerifier()
        scheme = BasicScheme(str(users), verify=verify)
        barrier = threading.Barrier(16)

        def send() -> None:
            barrier.wait()
            who(scheme, "alice", "secret")

        threads = [threading.Thread(target=send) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert verify.count == 1

    def test_a_wrong_password_is_never_remembered(self, users: Path) -> None:
        verify = CountingVerifier()
        scheme = BasicScheme(str(users), verify=verify)
        who(scheme, "alice", "secret")
        for _ in range(3):
            with pytest.raises(CredentialsRefused):
                who(scheme, "alice", "secret2")
        assert verify.count == 4

    def test_a_changed_password_counts_at_once(self, users: Path) -> None:
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        add_user(users, "alice", "new")
        assert who(scheme, "alice", "new") == "alice"
        with pytest.raises(CredentialsRefused):
            who(scheme, "alice", "secret")

    def test_nothing_readable_is_kept(self, users: Path) -> None:
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        (remembered,) = scheme._remembered
        assert len(remembered) == 32
        other = BasicScheme(str(users))
        who(other, "alice", "secret")
        assert scheme._remembered.keys() != other._remembered.keys(), "each process has its key"

    def test_memory_has_a_limit(self, users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("bits_server.web.authentication.basic.MAXIMUM_REMEMBERED", 2)
        scheme = BasicScheme(str(users))
        for user, password in (("alice", "secret"), ("bob", "größe"), ("carol", "")):
            who(scheme, user, password)
        assert len(scheme._remembered) == 2


class TestTheFile:
    @pytest.mark.parametrize("option", ["-m", "-s", "-d", "-p"])
    def test_a_hash_that_is_not_safe_any_more_is_refused_with_its_line(
        self, users: Path, option: str
    ) -> None:
        add_user(users, "eve", "secret", option)
        with pytest.raises(
            ValueError, match=r"line 5, user 'eve': .* htpasswd -B FILE eve"
        ) as caught:
            BasicScheme(str(users)).read()
        assert users.read_text().splitlines()[-1].partition(":")[2] not in str(caught.value)

    @pytest.mark.parametrize(
        "line",
        [
            *("alice", ":", ":x", "alice:", "alice:$2y$05$short", "alice:$6$salt"),
            *("alice:$2y$99$" + "." * 53, "alice:$5$rounds=1000$salt$", "alice:*", "alice:!"),
        ],
    )
    def test_a_line_that_is_none_is_refused_with_its_number(self, line: str) -> None:
        with pytest.raises(ValueError, match="line 2"):
            parse_htpasswd(f"# users\n{line}\n")

    def test_comments_and_empty_lines_are_skipped_and_the_first_line_of_a_user_counts(
        self, users: Path
    ) -> None:
        lines = users.read_text().splitlines()
        found = parse_htpasswd(
            f"# users\n\n{lines[0]}:a comment\r\n{lines[1]}\nalice:{lines[3][5:]}"
        )
        assert found == {
            "alice": lines[0].partition(":")[2],
            "bob": lines[1].partition(":")[2],
        }

    def test_who_is_added_is_known_and_who_is_removed_is_not(self, users: Path) -> None:
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        add_user(users, "zoe", "new")
        assert who(scheme, "zoe", "new") == "zoe"
        users.write_text("".join(users.read_text().splitlines(keepends=True)[1:]))
        with pytest.raises(CredentialsRefused, match="no user 'alice'"):
            who(scheme, "alice", "secret")

    @pytest.mark.parametrize("change", ["removed", "spoilt"])
    def test_a_file_that_cannot_be_used_stops_all_until_it_is_mended(
        self, users: Path, change: str
    ) -> None:
        """Not 401, which is final to a BITS client: it comes again."""
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        good = users.read_text()
        if change == "removed":
            os.remove(users)
        else:
            users.write_text("alice\n")
        with pytest.raises(ServiceUnavailable, match="cannot be used"):
            who(scheme, "alice", "secret")
        assert not scheme.is_remembered(environ(basic("alice", "secret")))
        users.write_text(good)
        assert who(scheme, "alice", "secret") == "alice"

    def test_it_is_read_only_when_it_changes(
        self, users: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scheme = BasicScheme(str(users))
        who(scheme, "alice", "secret")
        monkeypatch.setattr("builtins.open", None)
        assert who(scheme, "alice", "secret") == "alice"
