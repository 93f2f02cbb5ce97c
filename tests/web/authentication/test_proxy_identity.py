"""What a proxy says of the client is believed from it, and from nobody else."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.protocol.errors import UserNotAllowed
from bits_server.web.authentication.access import Access
from bits_server.web.authentication.authenticator import Authenticator
from bits_server.web.authentication.interface import CredentialsRefused
from bits_server.web.authentication.proxy_identity import ProxyIdentity
from bits_server.web.trusted_proxies import CAME_OVER_UNIX, TrustedProxies

SECRET = "0123456789abcdef"
FIELD = "HTTP_X_REMOTE_USER"


def scheme(secret: str | None = None, *, may_have_commas: bool = False) -> ProxyIdentity:
    return ProxyIdentity("X-Remote-User", secret, may_have_commas=may_have_commas)


def who(checked: ProxyIdentity, environ: dict[str, Any]) -> str | None:
    identity = checked.identify(environ)
    return identity.user if identity else None


def test_it_is_believed_from_our_unix_socket() -> None:
    assert who(scheme(), {FIELD: "alice", CAME_OVER_UNIX: True}) == "alice"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {CAME_OVER_UNIX: False},
        {"HTTP_X_PROXY_SECRET": SECRET},
        {"HTTP_X_PROXY_SECRET": "None"},
        {"REMOTE_ADDR": "127.0.0.1"},
    ],
)
def test_from_elsewhere_the_field_is_taken_out(environ: dict[str, Any]) -> None:
    request = {FIELD: "alice", **environ}
    assert who(scheme(), request) is None
    assert FIELD not in request


@pytest.mark.parametrize("over_unix", [False, True])
@pytest.mark.parametrize(
    ("given", "is_believed"),
    [
        (SECRET, True),
        (SECRET + "x", False),
        (SECRET[:-1], False),
        ("", False),
        (None, False),
        ("größe", False),
        (f"{SECRET},{SECRET}", False),
    ],
)
def test_a_secret_is_needed_on_either_way_where_there_is_one(
    over_unix: bool, given: str | None, is_believed: bool
) -> None:
    request: dict[str, Any] = {FIELD: "alice", CAME_OVER_UNIX: over_unix}
    if given is not None:
        request["HTTP_X_PROXY_SECRET"] = given
    checked = scheme(SECRET)
    assert checked.is_remembered(request) is is_believed
    assert who(checked, request) == ("alice" if is_believed else None)
    assert (FIELD in request) is is_believed


@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_an_empty_field_is_nobody(value: str) -> None:
    assert who(scheme(), {FIELD: value, CAME_OVER_UNIX: True}) is None


def test_two_values_are_no_user() -> None:
    with pytest.raises(CredentialsRefused, match="more than one value") as caught:
        scheme().identify({FIELD: "alice,mallory", CAME_OVER_UNIX: True})
    assert not caught.value.is_failure


def test_a_subject_is_taken_as_a_whole() -> None:
    subject = "CN=alice,OU=Büro,O=Example"
    field = {FIELD: subject.encode().decode("latin-1"), CAME_OVER_UNIX: True}
    assert who(scheme(may_have_commas=True), field) == subject


@given(st.binary(max_size=50))
def test_any_bytes_are_a_user_or_refused(value: bytes) -> None:
    request = {FIELD: value.decode("latin-1"), CAME_OVER_UNIX: True}
    assert who(scheme(may_have_commas=True), request) != ""


def test_the_log_says_that_a_field_was_not_believed() -> None:
    checked = Authenticator([scheme()], Access(["*"]))
    with pytest.raises(UserNotAllowed, match="X-Remote-User came, and is not believed: let"):
        checked.identify({FIELD: "alice", "REMOTE_ADDR": "192.0.2.1"})
    with pytest.raises(UserNotAllowed, match="no credentials came; no scheme can ask"):
        checked.identify({"REMOTE_ADDR": "192.0.2.1"})


@pytest.mark.parametrize(
    ("trusted", "family", "expected"),
    [
        (("unix",), socket.AF_UNIX, True),
        (("127.0.0.1",), socket.AF_UNIX, False),
        (("127.0.0.1", "unix"), socket.AF_INET, False),
    ],
)
def test_the_unix_socket_is_told_by_the_connection_and_the_settings(
    trusted: tuple[str, ...], family: int, expected: bool
) -> None:
    """A trusted address is no unix socket: others may have it too."""
    found: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], _start: object) -> tuple[bytes, ...]:
        found.append(environ)
        return ()

    with socket.socket(family) as connection:
        environ = {
            "gunicorn.socket": connection,
            "REMOTE_ADDR": "127.0.0.1",
            CAME_OVER_UNIX: "whatever was there before",
        }
        TrustedProxies(application, trusted)(environ, lambda *_: None)
    assert found[0][CAME_OVER_UNIX] is expected
