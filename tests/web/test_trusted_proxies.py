"""Who is believed about the client: the proxies of the settings and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from bits_server.web.trusted_proxies import TrustedProxies

FORWARDED = {
    "HTTP_X_FORWARDED_FOR": "198.51.100.9, 192.0.2.77",
    "HTTP_X_FORWARDED_PROTO": "https",
    "HTTP_X_FORWARDED_HOST": "files.example.com",
}


def seen(trusted: tuple[str, ...], **changes: Any) -> tuple[str, str, str]:
    """The client's address, the scheme and the host that the application finds."""
    found: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], _start: object) -> tuple[bytes, ...]:
        found.append(environ)
        return ()

    environ = {
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "localhost:8080",
        **FORWARDED,
        **changes,
    }
    TrustedProxies(application, trusted)(environ, lambda *_: None)
    return tuple(found[0][name] for name in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST"))


BELIEVED = ("192.0.2.77", "https", "files.example.com")


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [
        (("127.0.0.1",), "127.0.0.1"),
        (("127.0.0.0/8",), "127.9.9.9"),
        (("127.0.0.1",), "::ffff:127.0.0.1"),
        (("::1",), "::1"),
        (("unix", "10.0.0.0/8", "::1"), "10.1.2.3"),
    ],
)
def test_a_proxy_that_is_named_is_believed(trusted: tuple[str, ...], peer: str) -> None:
    assert seen(trusted, REMOTE_ADDR=peer) == BELIEVED


@pytest.mark.parametrize(
    ("trusted", "peer"),
    [
        ((), "127.0.0.1"),
        (("unix",), "127.0.0.1"),
        (("10.0.0.0/8",), "11.0.0.1"),
        (("10.0.0.0/8",), "::1"),
        (("127.0.0.1",), "nonsense"),
    ],
)
def test_everybody_else_says_what_he_likes(trusted: tuple[str, ...], peer: str) -> None:
    assert seen(trusted, REMOTE_ADDR=peer) == (peer, "http", "localhost:8080")


@pytest.mark.parametrize(
    ("told", "address"),
    [
        ("192.0.2.77:50123", "192.0.2.77"),
        ("198.51.100.9, 192.0.2.77:1", "192.0.2.77"),
        ("[2001:db8::7]:50123", "2001:db8::7"),
        ("[2001:db8::7]", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("unknown:1", "unknown:1"),
        ("", "127.0.0.1"),
    ],
)
def test_the_client_is_its_address_without_a_port(told: str, address: str) -> None:
    """Else each connection would be a client of its own, and no guess the second one."""
    assert seen(("127.0.0.1",), HTTP_X_FORWARDED_FOR=told)[0] == address


@pytest.fixture
def unix_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        yield connection


def test_whoever_reaches_our_unix_socket_is_believed_if_the_settings_say_so(
    unix_socket: socket.socket,
) -> None:
    over_unix: dict[str, Any] = {"REMOTE_ADDR": "", "gunicorn.socket": unix_socket}
    assert seen(("unix",), **over_unix) == BELIEVED
    assert seen(("127.0.0.1",), **over_unix) == ("", "http", "localhost:8080")
    assert seen(("unix",), REMOTE_ADDR="") == BELIEVED, "other servers have no address either"


def test_an_empty_address_on_another_socket_is_not_taken_for_a_unix_socket() -> None:
    with socket.socket(socket.AF_INET) as connection:
        found = seen(("unix",), **{"REMOTE_ADDR": "", "gunicorn.socket": connection})
    assert found == ("", "http", "localhost:8080")
