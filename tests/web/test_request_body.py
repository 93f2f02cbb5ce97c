"""The reference receive path: blocks of a body, whatever the server and the client do."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.protocol.errors import MalformedPacket, ServiceUnavailable
from bits_server.web import request_body
from bits_server.web.request_body import BLOCK_BYTES, SILENCE_SECONDS, RequestBody


class Input:
    """A ``wsgi.input`` that gives at most ``step`` bytes a read, and minds how it is read."""

    def __init__(self, content: bytes, step: int = 1 << 30, error: Exception | None = None) -> None:
        self._content = io.BytesIO(content)
        self._step = step
        self._error = error

    def read(self, size: int) -> bytes:
        assert 0 < size <= BLOCK_BYTES
        block = self._content.read(min(size, self._step))
        if not block and self._error is not None:
            raise self._error
        return block

    @property
    def position(self) -> int:
        return self._content.tell()


def body_of(source: Input, length: int | None, **environ: Any) -> RequestBody:
    """``length`` None: chunked, from a server that tells the end."""
    if length is None:
        framing: dict[str, Any] = {
            "HTTP_TRANSFER_ENCODING": "chunked",
            "wsgi.input_terminated": True,
        }
    else:
        framing = {"CONTENT_LENGTH": str(length)}
    return RequestBody({"wsgi.input": source, **framing, **environ})


@given(
    content=st.binary(max_size=3000),
    step=st.integers(1, 4000),
    is_chunked=st.booleans(),
)
def test_the_blocks_are_the_body(content: bytes, step: int, is_chunked: bool) -> None:
    body = body_of(Input(content, step), None if is_chunked else len(content))
    assert b"".join(body.blocks(len(content))) == content
    assert body.drain(0)


def test_a_block_has_a_mebibyte_at_most_and_nothing_is_read_past_the_end() -> None:
    source = Input(bytes(3 * BLOCK_BYTES + 10) + b"the next request")
    body = body_of(source, 3 * BLOCK_BYTES + 10)
    assert [len(block) for block in body.blocks(3 * BLOCK_BYTES + 10)] == [
        BLOCK_BYTES,
        BLOCK_BYTES,
        BLOCK_BYTES,
        10,
    ]
    assert source.position == 3 * BLOCK_BYTES + 10


@given(content=st.binary(min_size=1, max_size=300), missing=st.integers(1, 500))
def test_a_body_that_ends_early_raises_after_what_came(content: bytes, missing: int) -> None:
    body = body_of(Input(content), len(content) + missing)
    blocks = body.blocks(len(content) + missing)
    assert bytes(next(blocks)) == content
    with pytest.raises(MalformedPacket, match=f"{missing} bytes early"):
        next(blocks)
    assert not body.drain(1000), "where the next request begins is not known"


@pytest.mark.parametrize("length", [None, 8])
def test_a_body_longer_than_its_range_raises_and_can_be_drained(length: int | None) -> None:
    body = body_of(Input(b"too long"), length)
    blocks = body.blocks(3)
    assert bytes(next(blocks)) == b"too"
    with pytest.raises(MalformedPacket, match="longer"):
        next(blocks)
    assert body.drain(1000)


@pytest.mark.parametrize("error", [ConnectionResetError(), ValueError("bad chunk")])
def test_whatever_the_server_raises_is_a_malformed_body(error: Exception) -> None:
    body = body_of(Input(b"ab", error=error), None)
    blocks = body.blocks(4)
    assert bytes(next(blocks)) == b"ab"
    with pytest.raises(MalformedPacket):
        next(blocks)
    assert not body.drain(1000)


def test_a_client_that_falls_silent_is_to_come_again() -> None:
    body = body_of(Input(b"ab", error=TimeoutError()), 4)
    blocks = body.blocks(4)
    next(blocks)
    with pytest.raises(ServiceUnavailable):
        next(blocks)
    assert not body.drain(1000)


def test_draining_stops_at_its_limit() -> None:
    source = Input(bytes(5000))
    body = body_of(source, 5000)
    assert not body.drain(4999)
    assert source.position == 4999
    assert body.drain(1)


def test_draining_stops_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(request_body, "DRAIN_SECONDS", -1.0)
    source = Input(bytes(5000))
    assert not body_of(source, 5000).drain(5000)
    assert source.position == 0


def test_a_body_of_no_bytes_is_never_read() -> None:
    for text in ("0", "", "-5", "five", "\u0665"):
        body = RequestBody({"wsgi.input": None, "CONTENT_LENGTH": text})
        assert list(body.blocks(0)) == []
        assert body.drain(0)


def test_only_a_plain_http_connection_gets_a_limit_for_silence() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        server = {"gunicorn.socket": ours, "SERVER_PROTOCOL": "HTTP/1.1"}
        body_of(Input(b""), 0, **server)
        assert ours.gettimeout() is None, "there is nothing to wait for"
        body_of(Input(b"a"), 1, **{**server, "SERVER_PROTOCOL": "HTTP/2.0"})
        assert ours.gettimeout() is None
        body_of(Input(b"a"), 1, **server)
        assert ours.gettimeout() == SILENCE_SECONDS
