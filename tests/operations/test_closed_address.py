"""Two applications told apart by the socket, whatever the request says."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from bits_server.operations.closed_address import ClosedAddress, bind_of, name_of, names_of
from tests.support.wire import InProcessSender


def application_called(name: str) -> Any:
    def application(_environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(len(name)))])
        return [name.encode()]

    return application


class Listeners:
    """Opens listening sockets and connections to them; all are closed at the end."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def listen(self, family: int, address: Any) -> socket.socket:
        listener = self._stack.enter_context(socket.socket(family))
        listener.bind(address)
        listener.listen()
        return listener

    def listen_at_one_port(self, first: str, second: str) -> tuple[socket.socket, socket.socket]:
        """A port that is free at both addresses: another process may have it at one of them."""
        for _ in range(50):
            one = self.listen(socket.AF_INET, (first, 0))
            with suppress(OSError):
                return one, self.listen(socket.AF_INET, (second, one.getsockname()[1]))
        raise AssertionError("no port is free at both addresses")

    def accepted(self, listener: socket.socket, to: Any = None) -> socket.socket:
        """Our end of a connection that a client has opened."""
        client = self._stack.enter_context(socket.socket(listener.family))
        client.connect(to or listener.getsockname())
        return self._stack.enter_context(listener.accept()[0])


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    with ExitStack() as stack:
        yield Listeners(stack)


def answer(bind: str, connection: socket.socket | None, **headers: str) -> str:
    app = ClosedAddress(application_called("open"), application_called("closed"), bind)
    environ = {} if connection is None else {"gunicorn.socket": connection}
    fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return InProcessSender(app, **environ).send("GET", "/metrics", fields).body.decode()


def test_what_came_in_at_the_closed_port_is_told_apart(listeners: Listeners) -> None:
    open_, closed = (listeners.listen(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))
    bind = bind_of(closed)
    assert bind == f"127.0.0.1:{closed.getsockname()[1]}"
    assert answer(bind, listeners.accepted(closed)) == "closed"
    assert answer(bind, listeners.accepted(open_)) == "open"


def test_what_a_client_or_a_proxy_says_changes_nothing(listeners: Listeners) -> None:
    open_, closed = (listeners.listen(socket.AF_INET, ("127.0.0.1", 0)) for _ in range(2))
    bind = bind_of(closed)
    says = {
        "Host": bind,
        "X_Forwarded_For": "127.0.0.1",
        "X_Forwarded_Host": bind,
        "X_Forwarded_Port": bind.rpartition(":")[2],
        "X_Forwarded_Proto": "unix",
        "Forwarded": f"host={bind};by={bind}",
        "X_Original_URL": "/metrics",
    }
    assert answer(bind, listeners.accepted(open_), **says) == "open"
    assert answer(bind, listeners.accepted(closed), Host="files.example.com") == "closed"


def test_the_same_port_of_another_address_is_not_the_closed_one(listeners: Listeners) -> None:
    closed, open_ = listeners.listen_at_one_port("127.0.0.2", "127.0.0.1")
    port = closed.getsockname()[1]
    assert answer(f"127.0.0.2:{port}", listeners.accepted(open_)) == "open"
    assert answer(f"127.0.0.2:{port}", listeners.accepted(closed)) == "closed"


@pytest.mark.parametrize("spelling", ["0.0.0.0:{}", ":{}"])
def test_all_addresses_of_a_port_may_be_the_closed_one(listeners: Listeners, spelling: str) -> None:
    closed = listeners.listen(socket.AF_INET, ("0.0.0.0", 0))
    port = closed.getsockname()[1]
    connection = listeners.accepted(closed, ("127.0.0.3", port))
    assert connection.getsockname() == ("127.0.0.3", port)
    assert answer(spelling.format(port), connection) == "closed"
    assert answer(spelling.format(port + 1), connection) == "open"


@pytest.mark.parametrize("host", ["::1", "::"])
def test_an_address_of_ipv6(listeners: Listeners, host: str) -> None:
    closed = listeners.listen(socket.AF_INET6, (host, 0))
    port = closed.getsockname()[1]
    assert bind_of(closed) == f"[{host}]:{port}"
    connection = listeners.accepted(closed, ("::1", port))
    assert answer(bind_of(closed), connection) == "closed"
    assert answer(f"0.0.0.0:{port}", connection) == "open"


def test_a_name_is_resolved(listeners: Listeners) -> None:
    closed = listeners.listen(socket.AF_INET, ("127.0.0.1", 0))
    port = closed.getsockname()[1]
    assert answer(f"localhost:{port}", listeners.accepted(closed)) == "closed"


def test_a_name_without_an_address_is_an_error() -> None:
    with pytest.raises(OSError, match=r"Name or service|name resolution|No address"):
        names_of("no-such-host.invalid:80")


def test_unix_sockets_are_told_apart_by_their_paths(listeners: Listeners, tmp_path: Path) -> None:
    open_, closed = (
        listeners.listen(socket.AF_UNIX, str(tmp_path / name)) for name in ("open", "closed")
    )
    bind = bind_of(closed)
    assert bind == f"unix:{tmp_path}/closed"
    assert answer(bind, listeners.accepted(closed)) == "closed"
    assert answer(bind, listeners.accepted(open_)) == "open"


def test_however_a_path_is_spelled_it_is_the_file_that_counts(
    listeners: Listeners, tmp_path: Path
) -> None:
    closed = listeners.listen(socket.AF_UNIX, str(tmp_path / "closed"))
    (tmp_path / "link").symlink_to(tmp_path)
    connection = listeners.accepted(closed)
    for spelling in (".//closed", "./closed", "link/closed"):
        assert answer(f"unix:{tmp_path}/{spelling}", connection) == "closed"


def test_a_socket_without_a_file_is_told_apart_too(listeners: Listeners) -> None:
    closed = listeners.listen(socket.AF_UNIX, f"\0bits-server-test-{os.getpid()}")
    assert answer(bind_of(closed), listeners.accepted(closed)) == "closed"


def test_a_descriptor_has_the_name_of_its_socket(listeners: Listeners) -> None:
    listener = listeners.listen(socket.AF_INET, ("127.0.0.1", 0))
    assert names_of(f"fd://{listener.fileno()}") == [name_of(listener)]
    with pytest.raises(OSError, match="Bad file descriptor"):
        names_of("fd://999999")


def test_where_the_server_shows_no_socket_nothing_is_closed() -> None:
    assert answer("127.0.0.1:9108", None) == "open"
