"""Tickets of a real KDC are looked at with a real keytab; each refusal says what to change."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bits_server.app import check_environment
from bits_server.protocol.errors import ServiceUnavailable
from bits_server.settings import Authentication, Settings, SettingsError, VirtualDirectory
from bits_server.web.authentication.interface import CredentialsRefused, Identity, Scheme
from tests.conftest import Tell
from tests.support.kdc import REALM, SERVICE, Kdc, require_gssapi
from tests.support.waiting import wait_until

try:
    from bits_server.web.authentication.negotiate import NegotiateScheme
    from tests.support import negotiate
except ImportError:
    require_gssapi()
    raise

pytestmark = pytest.mark.usefixtures("kerberos")


def environ(authorization: str | bytes | None = None, host: str = "localhost:80") -> dict[str, Any]:
    if isinstance(authorization, bytes):
        authorization = negotiate.negotiate(authorization)
    given = {"HTTP_AUTHORIZATION": authorization} if authorization is not None else {}
    return {"REMOTE_ADDR": "192.0.2.1", "HTTP_HOST": host, **given}


@pytest.fixture
def keytab(kdc: Kdc, tmp_path: Path) -> Path:
    """A copy of the service's keytab, which a test may change."""
    path = tmp_path / "http.keytab"
    path.touch(mode=0o600)
    path.write_bytes(kdc.keytab.read_bytes())
    return path


@pytest.fixture
def scheme(keytab: Path) -> NegotiateScheme:
    made = NegotiateScheme(str(keytab), realm=REALM)
    made.read()
    return made


@pytest.fixture
def alice(kdc: Kdc) -> Path:
    return kdc.tickets("alice")


def known(scheme: Scheme, token: bytes) -> Identity:
    identity = scheme.identify(environ(token))
    assert identity is not None
    return identity


def refusal(scheme: Scheme, token: str | bytes, **options: Any) -> str:
    """What the log says of these credentials."""
    with pytest.raises(CredentialsRefused) as caught:
        scheme.identify(environ(token, **options))
    assert not caught.value.is_failure
    return str(caught.value)


class TestTakes:
    def test_a_ticket_and_answers_with_the_token_that_the_client_waits_for(
        self, scheme: NegotiateScheme, alice: Path
    ) -> None:
        client, token = negotiate.start(alice)
        identity = known(scheme, token)
        assert identity.user == "alice"
        (name, value), hint = identity.answer_fields
        assert name == "WWW-Authenticate"
        assert hint == ("Persistent-Auth", "false")
        assert not client.complete
        client.step(negotiate.token_in(value))
        assert client.complete

    def test_a_bare_ticket_without_spnego(self, scheme: NegotiateScheme, alice: Path) -> None:
        token = negotiate.token_of(alice, mechanism=negotiate.KERBEROS)
        assert known(scheme, token).user == "alice"

    def test_what_windows_sends(self, scheme: NegotiateScheme, alice: Path) -> None:
        """Its older name for Kerberos first, and three more that it would also speak."""
        bare = negotiate.token_of(alice, mechanism=negotiate.KERBEROS)
        offers = [negotiate.KERBEROS_AS_WINDOWS_SPELLS_IT, negotiate.KERBEROS]
        token = negotiate.spnego([*offers, negotiate.NEGOEX, negotiate.NTLM], bare)
        assert known(scheme, token).user == "alice"

    @pytest.mark.parametrize("kilobytes", [12, 47])
    def test_a_large_token(self, scheme: NegotiateScheme, alice: Path, kilobytes: int) -> None:
        bare = negotiate.token_of(alice, mechanism=negotiate.KERBEROS)
        token = negotiate.large(bare, kilobytes << 10)
        assert len(token) >= kilobytes << 10
        assert known(scheme, token).user == "alice"

    def test_no_answer_where_the_client_wants_none(
        self, scheme: NegotiateScheme, alice: Path
    ) -> None:
        token = negotiate.token_of(alice, mechanism=negotiate.KERBEROS, flags=negotiate.NOT_MUTUAL)
        assert known(scheme, token).answer_fields == (("Persistent-Auth", "false"),)

    @pytest.mark.parametrize("spelled", ["negotiate", "NEGOTIATE", "Negotiate  "])
    def test_the_name_of_the_scheme_in_any_case(
        self, scheme: NegotiateScheme, alice: Path, spelled: str
    ) -> None:
        text = negotiate.negotiate(negotiate.token_of(alice)).replace("Negotiate", spelled)
        found = scheme.identify(environ(text))
        assert found is not None
        assert found.user == "alice"

    def test_any_key_of_the_keytab_that_is_for_http(
        self, scheme: NegotiateScheme, kdc: Kdc, alice: Path, keytab: Path
    ) -> None:
        kdc.add_service("HTTP/other.localhost", keytab)
        assert known(scheme, negotiate.token_of(alice, "HTTP@other.localhost")).user == "alice"
        assert known(scheme, negotiate.token_of(alice)).user == "alice"

    def test_tokens_that_come_side_by_side(self, scheme: NegotiateScheme, kdc: Kdc) -> None:
        caches = [kdc.tickets(name) for name in ("alice", "bob", "carol")]
        tokens = [negotiate.token_of(cache) for cache in caches * 40]
        with ThreadPoolExecutor(16) as pool:
            users = list(pool.map(lambda token: known(scheme, token).user, tokens))
        assert users == ["alice", "bob", "carol"] * 40

    @pytest.mark.parametrize(
        ("principal", "realm", "user"),
        [
            ("alice", "", f"alice@{REALM}"),
            ("alice", REALM, "alice"),
            ("alice", "OTHER.REALM", f"alice@{REALM}"),
            ("alice", REALM.lower(), f"alice@{REALM}"),
            ("alice", "TEST", f"alice@{REALM}"),
            ("HTTP/robot.example", REALM, f"HTTP/robot.example@{REALM}"),
            ("bob\\@OTHER.REALM", REALM, f"bob\\@OTHER.REALM@{REALM}"),
            ("a b", REALM, "a b"),
            ("größe", REALM, "größe"),
        ],
    )
    def test_users_of_the_realm_have_short_names_and_all_others_the_whole(
        self, kdc: Kdc, keytab: Path, principal: str, realm: str, user: str
    ) -> None:
        token = negotiate.token_of(kdc.tickets(principal))
        assert known(NegotiateScheme(str(keytab), realm=realm), token).user == user


class TestRefuses:
    def test_nothing_that_is_not_its_own(self, scheme: NegotiateScheme) -> None:
        for authorization in (None, "", "Basic YTpi", "NTLM TlRMTVNTUAAB", "Negotiated x"):
            assert scheme.identify(environ(authorization)) is None
            assert not scheme.is_remembered(environ(authorization))

    def test_what_is_no_token(self, scheme: NegotiateScheme) -> None:
        for text in ("Negotiate", "Negotiate ", "Negotiate =", "Negotiate YII!", "Negotiate \xff"):
            assert "base64" in refusal(scheme, text) or "without a token" in refusal(scheme, text)
        for junk in (b"x", b"junk" * 100, bytes(60_000), b"\x60\x00", b"\x60\x84\xff\xff\xff\xff"):
            refusal(scheme, junk)
        assert "neither SPNEGO nor Kerberos" in refusal(scheme, b"junk")

    def test_a_token_that_was_cut_or_changed(self, scheme: NegotiateScheme, alice: Path) -> None:
        token = negotiate.token_of(alice)
        for end in range(1, len(token), 37):
            refusal(scheme, token[:end])
        for at in range(1, len(token), 37):
            changed = bytearray(negotiate.token_of(alice))
            changed[at] ^= 0x10
            try:
                assert known(scheme, bytes(changed)).user == "alice"  # what nobody reads
            except CredentialsRefused:
                pass
        assert "damaged or cut off" in refusal(scheme, token[:-10])

    @pytest.mark.parametrize(
        "token",
        [
            negotiate.NTLM_MESSAGE,
            negotiate.spnego([negotiate.NTLM], negotiate.NTLM_MESSAGE),
            negotiate.spnego([negotiate.NTLM, negotiate.KERBEROS], negotiate.NTLM_MESSAGE),
        ],
    )
    @pytest.mark.parametrize(
        ("host", "service"),
        [
            ("files.example.com:8080", "'HTTP/files.example.com'"),
            ("files.example.com", "'HTTP/files.example.com'"),
            ("[2001:db8::1]:80", "'HTTP/[2001:db8::1]'"),
            ("[2001:db8::1]", "'HTTP/[2001:db8::1]'"),
            ("", "'HTTP/host'"),
        ],
    )
    def test_ntlm_by_its_name_with_the_spn_that_is_missing(
        self, scheme: NegotiateScheme, token: bytes, host: str, service: str
    ) -> None:
        message = refusal(scheme, token, host=host)
        assert "the client sent NTLM inside Negotiate" in message
        assert f"no Kerberos ticket for {service};" in message

    def test_mechanisms_that_are_neither(self, scheme: NegotiateScheme) -> None:
        token = negotiate.spnego([negotiate.NEGOEX], b"NEGOEXTS" + bytes(40))
        assert "offers no Kerberos: it got no ticket for 'HTTP/localhost'" in refusal(scheme, token)

    def test_what_a_machine_has_beside_kerberos(
        self, keytab: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the names that SPNEGO may choose from: a plugin for NTLM is not on every machine."""
        from gssapi import raw

        chosen_from = []
        plain = raw.set_neg_mechs

        def set_and_note(credentials: Any, mechanisms: Any) -> None:
            chosen_from.append([each.dotted_form for each in mechanisms])
            plain(credentials, mechanisms)

        monkeypatch.setattr(raw, "set_neg_mechs", set_and_note)
        NegotiateScheme(str(keytab)).read()
        assert chosen_from == [["1.2.840.113554.1.2.2"]]

    def test_a_client_that_wants_to_send_several_tokens(
        self, scheme: NegotiateScheme, alice: Path
    ) -> None:
        import gssapi

        flags = gssapi.RequirementFlag.mutual_authentication | 0x1000  # DCE style: three tokens
        token = negotiate.token_of(alice, mechanism=negotiate.KERBEROS, flags=flags)
        for each in (token, negotiate.spnego([negotiate.NEGOEX, negotiate.KERBEROS], b"x")):
            assert "only Kerberos in one token" in refusal(scheme, each)

    def test_a_token_that_came_before(
        self, scheme: NegotiateScheme, keytab: Path, alice: Path
    ) -> None:
        """Also from another worker: they share a file."""
        for mechanism in (negotiate.SPNEGO, negotiate.KERBEROS):
            token = negotiate.token_of(alice, mechanism=mechanism)
            assert known(scheme, token).user == "alice"
            for each in (scheme, NegotiateScheme(str(keytab), realm=REALM)):
                message = refusal(each, token)
                assert "Request is a replay: each request needs a token of its own" in message

    def test_a_ticket_for_another_service(
        self, scheme: NegotiateScheme, kdc: Kdc, alice: Path, keytab: Path
    ) -> None:
        kdc.add_service("host/localhost", keytab)
        token = negotiate.token_of(alice, "host@localhost")
        message = refusal(scheme, token)
        assert f"host/localhost@{REALM} found in keytab but does not match" in message
        assert "the ticket is for another service; the client must ask for" in message
        # The name is not encrypted: another one over it makes no other ticket.
        renamed = token.replace(b"\x1b\x04host", b"\x1b\x04HTTP")
        assert renamed != token
        assert f"HTTP/localhost@{REALM}" in refusal(scheme, renamed)

    @pytest.mark.parametrize(
        "name", [b"local\rost", b"local\nost", b"loc\x1b\xc2\x9bst", b"local\xffost"]
    )
    def test_a_name_that_would_spoil_the_log(
        self, scheme: NegotiateScheme, kdc: Kdc, alice: Path, tmp_path: Path, name: bytes
    ) -> None:
        kdc.add_service("HTTP/alias.localhost", tmp_path / "another.keytab")
        token = negotiate.token_of(alice, "HTTP@alias.localhost").replace(b"localhost", name)
        message = refusal(scheme, token)
        assert message.isprintable()
        assert len(message) < 1000

    def test_a_very_long_name_is_told_in_part(
        self, scheme: NegotiateScheme, kdc: Kdc, alice: Path, tmp_path: Path
    ) -> None:
        host = "long." * 100 + "longest"
        kdc.add_service(f"HTTP/{host}", tmp_path / "another.keytab")
        message = refusal(scheme, negotiate.token_of(alice, f"HTTP@{host}"))
        assert "Request ticket server HTTP/long.long." in message
        assert "longest" not in message
        assert len(message) < 1000

    def test_an_spn_in_small_letters_is_no_key_of_the_service(
        self, kdc: Kdc, tmp_path: Path
    ) -> None:
        path = tmp_path / "small.keytab"
        kdc.add_service("http/small.localhost", path)
        with pytest.raises(ValueError, match="no key of a service HTTP/host@REALM"):
            NegotiateScheme(str(path)).read()

    def test_a_name_of_which_the_keytab_has_no_key(
        self, scheme: NegotiateScheme, kdc: Kdc, alice: Path, tmp_path: Path
    ) -> None:
        kdc.add_service("HTTP/alias.localhost", tmp_path / "another.keytab")
        message = refusal(scheme, negotiate.token_of(alice, "HTTP@alias.localhost"))
        assert f"HTTP/alias.localhost@{REALM} not found in keytab" in message
        assert f"the keytab has {SERVICE} (kvno " in message

    def test_an_old_keytab_and_an_old_ticket(self, kdc: Kdc, alice: Path, tmp_path: Path) -> None:
        name, service = "HTTP@renewed.localhost", "HTTP/renewed.localhost"
        old, new = tmp_path / "old.keytab", tmp_path / "new.keytab"
        kdc.add_service(service, old)
        kdc.fetch_ticket(alice, service)
        kdc.change_key(service, new)
        stale = refusal(NegotiateScheme(str(new)), negotiate.token_of(alice, name))
        assert "ticket is likely out of date: the service has another key now" in stale
        fresh = kdc.tickets("alice")
        outdated = refusal(NegotiateScheme(str(old)), negotiate.token_of(fresh, name))
        assert "keytab is likely out of date: the service has a newer key" in outdated
        assert f"the keytab has {service}@{REALM} (kvno 2)" in outdated

    def test_another_key_with_the_same_version(
        self, kdc: Kdc, alice: Path, keytab: Path, tmp_path: Path
    ) -> None:
        """As when ktpass set another password than the account has."""
        real, other = tmp_path / "real.keytab", tmp_path / "other.keytab"
        kdc.add_service("HTTP/a.localhost", real)
        kdc.add_service("HTTP/b.localhost", other)
        keytab.write_bytes(other.read_bytes().replace(b"b.localhost", b"a.localhost"))
        token = negotiate.token_of(alice, "HTTP@a.localhost")
        message = refusal(NegotiateScheme(str(keytab)), token)
        assert "cannot decrypt" in message
        assert "the key in the keytab is not the one of the KDC" in message

    def test_a_clock_that_is_wrong(self, scheme: NegotiateScheme, kdc: Kdc, alice: Path) -> None:
        kdc.fetch_ticket(alice)
        negotiate.turn_clock(alice, 3600)
        message = refusal(scheme, negotiate.token_of(alice))
        assert "Clock skew too great: the clocks of the client and of this server" in message

    def test_a_ticket_that_has_ended(
        self, keytab: Path, kdc: Kdc, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token = negotiate.token_of(kdc.tickets("dave", "-l", "1s"))
        strict = kdc.write_configuration("strict.conf", clock_skew=1)
        monkeypatch.setenv("KRB5_CONFIG", str(strict))
        monkeypatch.setenv("KRB5RCACHENAME", "none:")  # the same token again and again
        scheme = NegotiateScheme(str(keytab))

        def message() -> str:
            try:
                scheme.identify(environ(token))
            except CredentialsRefused as error:
                return str(error)
            return ""

        wait_until(lambda: "Ticket expired: the client must log in again" in message())

    def test_a_ticket_of_nobody(self, scheme: NegotiateScheme, kdc: Kdc) -> None:
        """What PKINIT gives to anybody; here from a user with a name of the same kind."""
        token = negotiate.token_of(kdc.tickets("WELLKNOWN/NOBODY"))
        assert "anonymous Kerberos" in refusal(scheme, token)

    def test_a_name_that_cannot_be_printed(self, scheme: NegotiateScheme, kdc: Kdc) -> None:
        token = negotiate.token_of(kdc.tickets("al\x1bice"))
        message = refusal(scheme, token)
        assert "cannot be printed" in message
        assert "\x1b" not in message


class TestKeytab:
    def test_a_new_one_counts_at_once_and_without_one_clients_come_again(
        self, kdc: Kdc, tmp_path: Path
    ) -> None:
        service, name = "HTTP/moving.localhost", "HTTP@moving.localhost"
        path, new = tmp_path / "keytab", tmp_path / "new"
        kdc.add_service(service, path)
        scheme = NegotiateScheme(str(path), realm=REALM)
        scheme.read()
        kdc.change_key(service, new)
        cache = kdc.tickets("alice")
        assert "out of date" in refusal(scheme, negotiate.token_of(cache, name))
        os.replace(new, path)
        assert known(scheme, negotiate.token_of(cache, name)).user == "alice"
        kept = path.read_bytes()
        for spoil in (path.unlink, lambda: path.write_bytes(b"junk")):
            spoil()
            with pytest.raises(ServiceUnavailable, match=f"keytab {path} cannot be used: "):
                scheme.identify(environ(negotiate.token_of(cache, name)))
        path.write_bytes(kept)
        assert known(scheme, negotiate.token_of(cache, name)).user == "alice"

    def test_a_folder_for_repeated_tokens_that_is_missing(
        self, scheme: NegotiateScheme, alice: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("KRB5RCACHEDIR", str(tmp_path / "nowhere"))
        with pytest.raises(ServiceUnavailable, match="KRB5RCACHEDIR names its folder"):
            scheme.identify(environ(negotiate.token_of(alice)))


Refusal = Callable[[str], SettingsError]


@pytest.fixture
def refused(folder: Path) -> Refusal:
    """How a server with this keytab is refused."""

    def check(keytab: str) -> SettingsError:
        directory = VirtualDirectory(
            "/upload", str(folder), authentication=(Authentication.NEGOTIATE,), keytab=keytab
        )
        with pytest.raises(SettingsError) as caught:
            check_environment(Settings((directory,)))
        assert caught.value.table == "[[virtual_directory]] number 1"
        return caught.value

    return check


class TestAtStart:
    def test_a_keytab_that_cannot_be_used_is_refused(
        self, refused: Refusal, kdc: Kdc, tmp_path: Path
    ) -> None:
        path = tmp_path / "some.keytab"
        error = refused(str(path))
        assert error.key == "keytab"
        assert error.problem == f"{path} cannot be read: No such file or directory"
        path.write_bytes(b"junk")
        assert refused(str(path)).problem == f"{path}: is no keytab"
        path.unlink()
        kdc.add_service("host/there.example", path)
        assert refused(str(path)).problem == (
            f"{path}: has no key of a service HTTP/host@REALM, and the keytab has "
            f"host/there.example@{REALM} (kvno 2)"
        )

    def test_without_the_library_it_says_what_to_install(
        self, refused: Refusal, keytab: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "gssapi", None)
        monkeypatch.delitem(sys.modules, "bits_server.web.authentication.negotiate")
        error = refused(str(keytab))
        assert error.key == "authentication"
        assert "apt-get install gcc python3-dev libkrb5-dev" in error.problem
        assert "pip install 'bits-server[negotiate]'" in error.problem

    def test_the_library_is_not_imported_where_nobody_needs_it(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "gssapi", None)
        monkeypatch.delitem(sys.modules, "bits_server.web.authentication.negotiate")
        check_environment(Settings((VirtualDirectory("/upload", str(folder)),)))


def test_a_look_is_quick_and_leaves_nothing_behind(
    scheme: NegotiateScheme, alice: Path, tell: Tell
) -> None:
    tokens = [negotiate.token_of(alice) for _ in range(1500)]

    def look(some: list[bytes]) -> None:
        for token in some:
            assert known(scheme, token).user == "alice"
        for token in some:  # again, and so refused; and what is worse
            for bad in (token, token[:-9], b"junk"):
                with pytest.raises(CredentialsRefused):
                    scheme.identify(environ(bad))

    look(tokens[:500])
    before = resident_bytes()
    began = time.process_time()
    for token in tokens[500:1000]:
        known(scheme, token)
    milliseconds = (time.process_time() - began) * 2
    look(tokens[1000:])
    grown = resident_bytes() - before
    tell(f"{milliseconds:.3f} ms of processor time for a ticket, {grown >> 10} KiB after 2 500")
    assert milliseconds < 5
    assert grown < 4 << 20


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_challenge(scheme: NegotiateScheme, alice: Path) -> None:
    assert scheme.challenges(environ()) == ("Negotiate",)
    assert scheme.is_remembered(environ(negotiate.token_of(alice)))
