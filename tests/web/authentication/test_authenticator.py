"""Schemes are asked in their order; what none of them knows is refused with all challenges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import AuthenticationRequired, TooManyFailures, UserNotAllowed
from bits_server.web.authentication.access import Access
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.authentication.caller import Caller
from bits_server.web.authentication.interface import CredentialsRefused, Identity
from bits_server.web.authentication.throttle import FREE_FAILURES, Throttle
from tests.web.authentication.stages import Clock


class NamedScheme:
    """Takes 'Authorization: NAME USER' for users other than 'wrong'; counts what it is asked."""

    def __init__(self, name: str, *, has_challenge: bool = True, remembered: str = "") -> None:
        self.name = name
        self.asked = 0
        self.meanwhile: Callable[[], None] = lambda: None
        self._has_challenge = has_challenge
        self._remembered = remembered

    def challenges(self, environ: Mapping[str, Any]) -> Sequence[str]:  # noqa: ARG002
        return (self.name, f'{self.name} realm="2"') if self._has_challenge else ()

    def is_remembered(self, environ: Mapping[str, Any]) -> bool:
        return bool(self._remembered) and environ["HTTP_AUTHORIZATION"].endswith(self._remembered)

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        self.asked += 1
        self.meanwhile()
        name, _, user = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
        if name != self.name:
            return None
        if user.startswith("wrong"):
            raise CredentialsRefused("no ticket", user, is_failure=user == "wrong")
        return Identity(user, (("WWW-Authenticate", f"{self.name} done"),))


def environ(authorization: str = "", address: str = "192.0.2.1") -> dict[str, Any]:
    given = {"HTTP_AUTHORIZATION": authorization} if authorization else {}
    return {"REMOTE_ADDR": address, **given}


def authenticator(*schemes: NamedScheme, **options: Any) -> Authenticator:
    allow = options.pop("allow", ["*"])
    return Authenticator(schemes, Access(allow), Throttle(options.pop("clock", Clock())))


def test_without_schemes_everybody_is_anonymous() -> None:
    assert authenticator().identify(environ("A alice")) == Identity("")


@pytest.mark.parametrize("name", ["A", "B"])
def test_the_scheme_of_the_credentials_says_who_it_is(name: str) -> None:
    found = authenticator(NamedScheme("A"), NamedScheme("B")).identify(environ(f"{name} alice"))
    assert found.user == "alice"
    assert found.answer_fields == (("WWW-Authenticate", f"{name} done"),)


def test_the_challenges_of_all_come_in_the_order_of_the_settings() -> None:
    with pytest.raises(AuthenticationRequired, match="no credentials came") as caught:
        authenticator(NamedScheme("B"), NamedScheme("A")).identify(environ())
    assert caught.value.is_first
    fields = Ack.of_error(caught.value, None).header_fields()
    expected = ["B", 'B realm="2"', "A", 'A realm="2"']
    assert [value for name, value in fields if name == "WWW-Authenticate"] == expected


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("NTLM TlRMTVNTUAAB", "the client sent NTLM, which this server does not take"),
        ("Digest username=x", "the client sent Digest, which this server does not take"),
        ("Bearer secret", "not in authentication: 'Bearer'"),
        ("secret", "Authorization came, and names no scheme"),
        ("x" * 100 + " secret", f"not in authentication: '{'x' * 20}'"),
    ],
)
def test_the_log_names_the_scheme_that_is_not_taken_and_no_credentials(
    sent: str, said: str
) -> None:
    with pytest.raises(AuthenticationRequired) as caught:
        authenticator(NamedScheme("A")).identify(environ(sent))
    assert said in str(caught.value)
    assert " " not in sent or sent.partition(" ")[2] not in str(caught.value)
    assert not caught.value.is_first


def test_where_no_scheme_can_ask_the_refusal_is_final() -> None:
    """No client then asks its user for a password that nobody would look at."""
    with pytest.raises(UserNotAllowed, match="no scheme can ask for credentials"):
        authenticator(NamedScheme("A", has_challenge=False)).identify(environ())


def test_who_is_known_and_not_named_is_refused() -> None:
    checked = authenticator(NamedScheme("A"), allow=["alice"])
    assert checked.identify(environ("A alice")).user == "alice"
    with pytest.raises(UserNotAllowed, match="'bob' is not among those"):
        checked.identify(environ("A bob"))


class TestSlowingDown:
    def test_guesses_are_counted_and_then_not_looked_at(self) -> None:
        clock, scheme = Clock(), NamedScheme("A")
        checked = authenticator(scheme, clock=clock)
        for count in range(1, FREE_FAILURES + 1):
            with pytest.raises(AuthenticationRequired, match=f"failure {count} from 192.0.2.1"):
                checked.identify(environ("A wrong"))
        asked = scheme.asked
        with pytest.raises(TooManyFailures) as caught:
            checked.identify(environ("A alice"))
        assert caught.value.retry_after_seconds == 1
        assert scheme.asked == asked
        clock.now += 1
        assert checked.identify(environ("A alice")).user == "alice"

    def test_guesses_side_by_side_are_one_after_the_other(self) -> None:
        """While one is looked at, which takes a good hash a while, a second one is not."""
        clock, scheme = Clock(), NamedScheme("A")
        checked = authenticator(scheme, clock=clock)
        for _ in range(FREE_FAILURES):
            with pytest.raises(AuthenticationRequired):
                checked.identify(environ("A wrong"))
        clock.now += 1
        refused: list[TooManyFailures] = []

        def guess_beside() -> None:
            with pytest.raises(TooManyFailures) as caught:
                checked.identify(environ("A wrong"))
            refused.append(caught.value)

        scheme.meanwhile = guess_beside
        with pytest.raises(AuthenticationRequired, match=f"failure {FREE_FAILURES + 1} from"):
            checked.identify(environ("A wrong"))
        assert len(refused) == 1

    def test_others_and_those_who_were_right_a_moment_ago_are_not_slowed_down(self) -> None:
        checked = authenticator(NamedScheme("A", remembered="alice"))
        for _ in range(FREE_FAILURES):
            with pytest.raises(AuthenticationRequired):
                checked.identify(environ("A wrong"))
        assert checked.identify(environ("A alice")).user == "alice"
        assert checked.identify(environ("A bob", "192.0.2.2")).user == "bob"
        with pytest.raises(AuthenticationRequired):
            checked.identify(environ())

    def test_a_request_without_credentials_and_a_harmless_failure_are_no_guess(self) -> None:
        checked = authenticator(NamedScheme("A"))
        for _ in range(50):
            for sent in ("", "A wrong-but-harmless", "NTLM x"):
                with pytest.raises(AuthenticationRequired):
                    checked.identify(environ(sent))


class TestCaller:
    def test_a_request_is_looked_at_once(self) -> None:
        """A ticket of Kerberos is good for one look."""
        scheme = NamedScheme("A")
        caller = Caller(environ("A alice"), authenticator(scheme))
        assert caller.known_user == ""
        assert not caller.answer_fields
        for _ in range(3):
            assert caller.uploader().user == "alice"
            assert caller.uploader().client_address == "192.0.2.1"
        assert caller.known_user == "alice"
        assert list(caller.answer_fields) == [("WWW-Authenticate", "A done")]
        assert scheme.asked == 1

    def test_a_refusal_is_the_same_each_time_and_counted_once(self) -> None:
        scheme = NamedScheme("A")
        caller = Caller(environ("A wrong"), authenticator(scheme))
        errors = []
        for _ in range(3):
            with pytest.raises(AuthenticationRequired) as caught:
                caller.uploader()
            errors.append(caught.value)
        assert len(set(errors)) == scheme.asked == 1
        assert caller.known_user == "wrong"

    def test_a_request_for_no_virtual_directory_is_anonymous(self) -> None:
        assert Caller(environ("A alice"), None).uploader().user == ""
