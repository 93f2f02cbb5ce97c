"""Which answers are left to nginx, and that nobody but a trusted proxy can ask for it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from werkzeug.wrappers import Response

from bits_server.protocol.session_id import SessionId
from bits_server.web.handing_over import INTERNAL_PREFIX, hand_over
from bits_server.web.trusted_proxies import TrustedProxies

SESSION_ID = SessionId.parse("{0123abcd-89ab-cdef-0123-456789abcdef}")
TAG = '"1-2-3"'


@pytest.fixture
def reply(tmp_path: Path) -> BinaryIO:
    path = tmp_path / "response"
    path.write_bytes(b"reply")
    path.chmod(0o640)
    return path.open("rb")


def ask(file: BinaryIO, status: int = 200, method: str = "GET", **fields: Any) -> Response | None:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": "attachment",
        "Cache-Control": "private",
        "ETag": TAG,
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
    }
    environ = {"REQUEST_METHOD": method, INTERNAL_PREFIX: "/there", **fields}
    with file:
        return hand_over(Response(status=status, headers=headers), SESSION_ID, file, environ)


def test_nginx_is_told_the_file_and_what_to_say_of_it(reply: BinaryIO) -> None:
    answer = ask(reply)
    assert answer is not None
    path = "/there/%7B0123ABCD-89AB-CDEF-0123-456789ABCDEF%7D/response"
    assert answer.headers["X-Accel-Redirect"] == path
    assert answer.headers["ETag"] == TAG
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.get_data() == b""


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (206, {"HTTP_RANGE": "bytes=0-1"}),
        (206, {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": TAG}),
        (200, {"HTTP_IF_NONE_MATCH": '"other"'}),
    ],
)
def test_what_is_plain_is_handed_over(reply: BinaryIO, status: int, fields: dict[str, str]) -> None:
    assert ask(reply, status, **fields) is not None


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (200, {"method": "HEAD"}),
        (200, {"HTTP_RANGE": "bytes=5-2"}),
        (206, {"HTTP_RANGE": "bytes=0-1", "HTTP_IF_RANGE": f"W/{TAG}"}),
        (200, {"HTTP_IF_MATCH": TAG}),
        (200, {"HTTP_IF_UNMODIFIED_SINCE": "Fri, 01 Jan 2100 00:00:00 GMT"}),
        (304, {"HTTP_IF_NONE_MATCH": TAG}),
        (416, {"HTTP_RANGE": "bytes=9-"}),
        (412, {"HTTP_IF_MATCH": '"other"'}),
        (200, {INTERNAL_PREFIX: ""}),
        (200, {INTERNAL_PREFIX: "there"}),
    ],
)
def test_what_nginx_might_answer_otherwise_is_not(
    reply: BinaryIO, status: int, fields: dict[str, Any]
) -> None:
    assert ask(reply, status, **fields) is None


def test_a_file_of_ours_alone_is_not_handed_over(reply: BinaryIO) -> None:
    os.fchmod(reply.fileno(), 0o600)
    assert ask(reply) is None
    assert ask(io.BytesIO(b"in memory")) is None


@pytest.mark.parametrize(
    ("trusted", "address", "expected"),
    [
        (["unix"], "", "/there"),
        (["192.0.2.0/24"], "192.0.2.1", "/there"),
        ([], "", None),
        (["unix"], "192.0.2.1", None),
        (["192.0.2.0/24"], "192.0.3.1", None),
    ],
)
def test_only_the_word_of_a_trusted_proxy_counts(
    trusted: list[str], address: str, expected: str | None
) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: dict[str, Any], _start_response: object) -> list[bytes]:
        seen.append(environ)
        return []

    environ = {"REMOTE_ADDR": address, "HTTP_X_ACCEL_PREFIX": "/there"}
    TrustedProxies(application, trusted)(environ, lambda *_: None)
    assert seen[0].get(INTERNAL_PREFIX) == expected
