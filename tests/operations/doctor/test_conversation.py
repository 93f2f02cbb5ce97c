"""Where packets go, and how a connection is kept."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest

from bits_server.operations.doctor.conversation import Conversation, NoAnswer, Target
from tests.support.strange_servers import PlainHandler, serving, speaking

TRUST = ssl.create_default_context()


@pytest.mark.parametrize(
    ("url", "place", "destination"),
    [
        ("http://h/upload", "h:80", "http://h:80/upload/f%20x"),
        ("https://h:8443/upload/", "h:8443", "https://h:8443/upload/f%20x"),
        ("http://h", "h:80", "http://h:80/f%20x"),
        ("http://[::1]/a b", "[::1]:80", "http://[::1]:80/a%20b/f%20x"),
        ("http://h/a%20b", "h:80", "http://h:80/a%20b/f%20x"),
    ],
)
def test_a_url_says_where_packets_go(url: str, place: str, destination: str) -> None:
    target = Target.of_url(url, TRUST)
    assert target.place == place
    assert target.url("f x") == destination


@pytest.mark.parametrize("url", ["", "h/upload", "http:///x", "http://h/?a", "http://h:0x/", "x:y"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"must|[Pp]ort"):
        Target.of_url(url, TRUST)


def test_header_fields_are_for_the_target_only() -> None:
    target = Target.of_url("http://h/", TRUST, (("Authorization", "secret"),))
    assert target.elsewhere("http://other/").fields == ()


@pytest.fixture
def plain() -> Iterator[Conversation]:
    with serving(PlainHandler) as url:
        conversation = Conversation(Target.of_url(url, TRUST))
        yield conversation
        conversation.close()


def test_an_answer_is_read_to_its_end_and_the_connection_kept(plain: Conversation) -> None:
    for _ in range(3):
        answer = plain.packet("Ping", "")
        assert (answer.status, answer.version, answer.length) == (200, 11, 17)
        assert not answer.is_ack


def test_a_kept_connection_that_was_closed_in_between_is_made_anew() -> None:
    """Each connection answers once and is closed without a word, as after a time-out."""
    accepted = []

    def answer(connection: socket.socket) -> None:
        accepted.append(connection.recv(1 << 16))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with speaking(answer) as url:
        conversation = Conversation(Target.of_url(url, TRUST))
        for _ in range(3):
            assert conversation.packet("Ping", "").status == 200
        conversation.close()
    assert len(accepted) == 3


def test_a_new_connection_that_is_cut_is_not_tried_twice() -> None:
    accepted = []

    def answer(connection: socket.socket) -> None:
        accepted.append(connection.recv(1 << 16))

    with speaking(answer) as url, pytest.raises(NoAnswer) as caught:
        Conversation(Target.of_url(url, TRUST)).packet("Ping", "")
    assert caught.value.is_connected
    assert len(accepted) == 1


def test_an_answer_that_comes_before_the_body_is_read_although_the_rest_is_cut() -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    with speaking(answer) as url:
        conversation = Conversation(Target.of_url(url, TRUST))
        assert conversation.packet("Fragment", "f", body=bytes(4 << 20)).status == 413
        conversation.close()
