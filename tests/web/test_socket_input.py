"""The fast path beside the reference path: the same bytes, from gunicorn's own reader."""

from __future__ import annotations

import mmap
import socket
import ssl
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server import Settings, VirtualDirectory, create_app
from bits_server.protocol.errors import MalformedPacket, ServiceUnavailable
from bits_server.web import request_body
from bits_server.web import socket_input as socket_input_module
from bits_server.web.request_body import BLOCK_BYTES, RequestBody
from bits_server.web.socket_input import BUFFER_BYTES, socket_input
from tests.support.bits_client import BitsClient
from tests.support.gunicorn_request import GunicornConnection, gunicorn_connection, sending
from tests.support.wire import InProcessSender

READ_AHEAD = 8192  # bytes that gunicorn asks for while it looks for the end of a head


def head(length: int, *fields: str, target: str = "/f", version: str = "1.1") -> bytes:
    lines = [f"BITS_POST {target} HTTP/{version}", "Host: bits.test", *fields]
    if length >= 0:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def reference(environ: dict[str, Any]) -> dict[str, Any]:
    """The same request from a server that keeps its socket to itself."""
    return {name: value for name, value in environ.items() if name != "gunicorn.socket"}


def fast(environ: dict[str, Any]) -> dict[str, Any]:
    assert socket_input(environ, int(environ["CONTENT_LENGTH"])) is not None
    return environ


Path_ = Callable[[dict[str, Any]], dict[str, Any]]
PATHS: tuple[Path_, ...] = (fast, reference)
each_path = pytest.mark.parametrize("path", PATHS)


@st.composite
def segmentations(draw: st.DrawFn) -> tuple[bytes, bytes, list[bytes], int]:
    """A body, the next one, both requests as cut on the wire, and how much is asked for."""
    body = draw(st.binary(min_size=1, max_size=40)) * draw(st.sampled_from([1, 7, 500, 2500]))
    following = draw(st.binary(max_size=20))
    wire = head(len(body)) + body + head(len(following), target="/next") + following
    # Near the borders of head, body, next request and read-ahead, and anywhere.
    borders = [len(head(len(body))), len(head(len(body))) + len(body), READ_AHEAD, len(wire)]
    near = st.builds(int.__add__, st.sampled_from(borders), st.integers(-3, 3))
    cuts = draw(st.lists(near | st.integers(1, len(wire) - 1), max_size=6))
    inner = sorted({cut for cut in cuts if 0 < cut < len(wire)})
    ends = [0, *inner, len(wire)]
    segments = [wire[begin:end] for begin, end in pairwise(ends)]
    return body, following, segments, draw(st.integers(0, len(body)))


@given(segmentations())
def test_any_segments_give_the_same_bytes_on_both_paths(
    example: tuple[bytes, bytes, list[bytes], int],
) -> None:
    content, following, segments, wanted = example
    for path in PATHS:
        with gunicorn_connection() as (server, client), sending(client, segments):
            body = RequestBody(path(server.next_environ()))
            blocks = body.blocks(wanted)
            if wanted == len(content):
                assert b"".join(map(bytes, blocks)) == content
            elif wanted:
                assert bytes(next(blocks)) == content[:wanted]
            assert body.drain(len(content))
            assert server.can_go_on()
            environ = server.next_environ()
            assert environ["PATH_INFO"] == "/next"
            assert environ["wsgi.input"].read() == following


@each_path
def test_the_blocks_of_a_large_body_are_the_body(path: Path_) -> None:
    content = b"".join(number.to_bytes(8, "big") for number in range(3 * BLOCK_BYTES // 8)) + b"end"
    with gunicorn_connection() as (server, client), sending(client, [head(len(content)) + content]):
        received = b""
        for block in RequestBody(path(server.next_environ())).blocks(len(content)):
            assert len(block) <= BUFFER_BYTES
            received += block
        assert received == content


def test_requests_one_after_the_other_have_the_same_buffer() -> None:
    with gunicorn_connection() as (server, client):
        buffers = set()
        for _ in range(2):
            client.sendall(head(5) + b"abcde")
            body = RequestBody(fast(server.next_environ()))
            (block,) = body.blocks(5)
            buffers.add(id(block.obj))
            assert isinstance(block.obj, mmap.mmap)
            assert len(block.obj) == BUFFER_BYTES
            assert body.drain(0)
    assert len(buffers) == 1


def test_requests_at_the_same_time_have_buffers_of_their_own() -> None:
    with gunicorn_connection() as (server, client), gunicorn_connection() as (other, late):
        client.sendall(head(5) + b"abcde")
        body = RequestBody(fast(server.next_environ()))
        block = next(body.blocks(5))
        late.sendall(head(5) + b"fghij")
        second = RequestBody(fast(other.next_environ()))
        assert bytes(next(second.blocks(5))) == b"fghij"
        assert bytes(block) == b"abcde"
        assert body.drain(0)
        assert second.drain(0)


def test_a_request_that_goes_on_after_its_buffer_was_given_back_takes_another() -> None:
    """So a packet that is refused in mid-body overwrites nobody's bytes."""
    content = bytes(range(256)) * 4
    with gunicorn_connection() as (server, client), gunicorn_connection() as (other, late):
        client.sendall(head(len(content)) + content)
        body = RequestBody(fast(server.next_environ()))
        assert bytes(next(body.blocks(10))) == content[:10]
        assert not body.drain(0), "there is more"
        late.sendall(head(5) + b"fghij")
        second = next(RequestBody(fast(other.next_environ())).blocks(5))
        assert b"".join(map(bytes, body.blocks(len(content) - 10))) == content[10:]
        assert bytes(second) == b"fghij"


@each_path
@pytest.mark.parametrize("came", [1, READ_AHEAD, 100_000])
def test_a_body_that_ends_early_raises_after_what_came(path: Path_, came: int) -> None:
    with gunicorn_connection() as (server, client):
        client.sendall(head(came + 9) + bytes(came))
        client.shutdown(socket.SHUT_WR)
        body = RequestBody(path(server.next_environ()))
        blocks = body.blocks(came + 9)
        assert bytes(next(blocks)) == bytes(came)
        with pytest.raises(MalformedPacket, match="9 bytes early"):
            next(blocks)
        assert not body.drain(100), "where the next request begins is not known"


def cut_off_after(came: int, server: GunicornConnection, client: socket.socket) -> dict[str, Any]:
    """A request of 100 bytes more than came before the connection was reset."""
    client.sendall(head(came + 100) + bytes(came))
    server.socket.sendall(b"an answer that the client does not read")
    environ = server.next_environ()
    client.close()
    return environ


@pytest.mark.parametrize("came", [1, READ_AHEAD, 100_000])
def test_the_bytes_before_a_reset_are_kept(came: int) -> None:
    with gunicorn_connection() as (server, client):
        body = RequestBody(fast(cut_off_after(came, server, client)))
        blocks = body.blocks(came + 100)
        assert bytes(next(blocks)) == bytes(came)
        with pytest.raises(MalformedPacket, match="ConnectionResetError"):
            next(blocks)
        assert not body.drain(100)
        assert not server.can_go_on()


def test_the_bytes_before_a_silence_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(request_body, "SILENCE_SECONDS", 0.05)
    app = create_app(Settings((VirtualDirectory("/upload", str(tmp_path)),)), clean_up=False)
    uploader = BitsClient(InProcessSender(app))
    uploader.create()
    answers: list[tuple[str, list[tuple[str, str]]]] = []
    with gunicorn_connection() as (server, client):
        client.sendall(uploader.fragment_head(1000) + bytes(600))
        environ = fast(server.next_environ())
        assert b"".join(app(environ, lambda *answer: answers.append(answer))) == b""
        assert not server.can_go_on()
    ((status, fields),) = answers
    assert status.startswith("503")
    assert dict(fields)["BITS-Received-Content-Range"] == "600"
    assert uploader.fragment(bytes(400), 600, 1000).status == 200


def test_the_bytes_of_a_client_that_drips_are_kept_and_the_connection_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(socket_input_module, "GRACE_SECONDS", 0.0)
    monkeypatch.setattr(socket_input_module, "SLOWEST_BYTES_PER_SECOND", 1 << 50)
    came = 3 * READ_AHEAD
    with gunicorn_connection() as (server, client):
        client.sendall(head(came + 9) + bytes(came))
        blocks = RequestBody(fast(server.next_environ())).blocks(came + 9)
        assert bytes(next(blocks)) == bytes(came)
        with pytest.raises(ServiceUnavailable):
            next(blocks)
        client.sendall(bytes(9))
        assert not server.can_go_on()


def test_who_is_too_slow_is_told_by_the_whole_body_and_not_by_its_last_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(socket_input_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    much, little = bytes(BUFFER_BYTES), b"and a little"
    length = len(much) + len(little)
    with gunicorn_connection() as (server, client):
        with sending(client, [head(length) + much]):
            body = RequestBody(fast(server.next_environ()))
            blocks = body.blocks(length)
            assert bytes(next(blocks)) == much
        now[0] = 1000.0
        client.sendall(little)
        assert bytes(next(blocks)) == little
        assert body.drain(0)
        assert server.can_go_on()


@pytest.mark.parametrize("length", [1, 100, READ_AHEAD, 3 * READ_AHEAD])
def test_whether_a_body_is_here_whatever_came_with_its_head(length: int) -> None:
    for came in {0, 1, length // 2, length - 1, length}:
        with gunicorn_connection() as (server, client):
            client.sendall(head(length) + bytes(came))
            body = RequestBody(fast(server.next_environ()))
            assert body.is_here() == (came == length), came
            if came == length:
                client.sendall(head(0, target="/next"))
                assert body.is_here()


def test_a_client_that_sent_nothing_at_all_is_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_body, "SILENCE_SECONDS", 0.05)
    with gunicorn_connection() as (server, client):
        client.sendall(head(10))
        with pytest.raises(ServiceUnavailable):
            next(RequestBody(fast(server.next_environ())).blocks(10))
        assert not server.can_go_on()


class OtherSocket(socket.socket):
    """A socket of another class, as gevent's is: its threads may share our thread's buffer."""


def with_other_socket(environ: dict[str, Any]) -> None:
    connection = environ["gunicorn.socket"]
    other = OtherSocket(fileno=socket.dup(connection.fileno()))
    environ["gunicorn.socket"] = environ["wsgi.input"].reader.unreader.sock = other


def with_tls(environ: dict[str, Any]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls = context.wrap_socket(
        socket.socket(fileno=socket.dup(environ["gunicorn.socket"].fileno())),
        server_side=True,
        do_handshake_on_connect=False,
    )
    environ["gunicorn.socket"] = environ["wsgi.input"].reader.unreader.sock = tls


def with_new_attribute(*names: str) -> Callable[[dict[str, Any]], None]:
    def change(environ: dict[str, Any]) -> None:
        thing = environ["wsgi.input"]
        for name in names:
            thing = getattr(thing, name)
        thing.another_place_for_bytes = b""

    return change


def with_other_class(environ: dict[str, Any]) -> None:
    """A reader of the same form, which may do other things."""

    class LengthReader(type(environ["wsgi.input"].reader)):  # type: ignore[misc]
        pass

    environ["wsgi.input"].reader.__class__ = LengthReader


def with_other_buffer(environ: dict[str, Any]) -> None:
    """What was read ahead, kept in another way."""
    unreader = environ["wsgi.input"].reader.unreader
    unreader.buf = bytearray(unreader.buf.getvalue())


def read_from(environ: dict[str, Any]) -> None:
    """Something in front of the application has looked at the body."""
    environ["wsgi.input"].readline(2)


UNKNOWN: dict[str, Callable[[dict[str, Any]], None]] = {
    "the socket is kept back": lambda environ: environ.pop("gunicorn.socket"),
    "the socket is not the reader's": lambda environ: environ.update(
        {"gunicorn.socket": socket.socket()}
    ),
    "the socket is of another class": with_other_socket,
    "TLS": with_tls,
    "the body has a new attribute": with_new_attribute(),
    "its reader has a new attribute": with_new_attribute("reader"),
    "its source has a new attribute": with_new_attribute("reader", "unreader"),
    "the reader is of another class": with_other_class,
    "what was read ahead is of another class": with_other_buffer,
    "somebody has read from it": read_from,
    "somebody failed to read from it": lambda environ: setattr(
        environ["wsgi.input"], "failed", True
    ),
    "HTTP/2": lambda environ: environ.update(SERVER_PROTOCOL="HTTP/2.0"),
}


@pytest.mark.parametrize("change", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_whatever_is_not_known_exactly_is_left_to_the_reference_path(
    change: Callable[[dict[str, Any]], None],
) -> None:
    with gunicorn_connection() as (server, client):
        client.sendall(head(10) + b"0123456789")
        environ = server.next_environ()
        assert socket_input(environ, 10) is not None
        opened = environ["gunicorn.socket"]
        change(environ)
        assert socket_input(environ, 10) is None
        for connection in (environ.get("gunicorn.socket"), opened):
            if connection is not None and connection is not server.socket:
                connection.close()


@pytest.mark.parametrize(
    "request_bytes",
    [
        head(-1, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
        head(3, version="1.0") + b"abc",
        head(3, "Connection: keep-alive", version="1.0") + b"abc",
    ],
    ids=["chunked", "HTTP/1.0", "HTTP/1.0 kept"],
)
def test_other_framing_is_left_to_the_reference_path(request_bytes: bytes) -> None:
    with gunicorn_connection() as (server, client):
        client.sendall(request_bytes)
        environ = server.next_environ()
        assert socket_input(environ, 3) is None
        assert b"".join(map(bytes, RequestBody(environ).blocks(3))) == b"abc"
