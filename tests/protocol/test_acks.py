"""Acks as header fields: what each has, what none may have, and nothing that a client can forge."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import (
    ERROR_TABLE,
    BitsError,
    FragmentOutOfOrder,
    ServiceUnavailable,
    SessionNotFound,
)

SESSION = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
ERROR_HEADERS = {"BITS-Error-Code", "BITS-Error", "BITS-Error-Context"}

acks = st.builds(
    Ack,
    status=st.sampled_from([200, 201]),
    session_id=st.none() | st.just(SESSION) | st.text(st.characters(max_codepoint=255)),
    opens_session=st.booleans(),
    received_length=st.none() | st.integers(0, 2**64),
    reply_url=st.none() | st.from_regex(r"\A/[!-~]{1,50}\Z"),
    host_id=st.none() | st.from_regex(r"\A[a-z.]{1,300}\Z"),
    host_id_fallback_seconds=st.none() | st.integers(0, 2**32),
    error=st.none() | st.sampled_from(ERROR_TABLE).map(lambda kind: kind("why")),
)


@settings(deadline=None)
@given(acks)
def test_every_ack_says_that_it_is_one_and_has_no_body(ack: Ack) -> None:
    fields = dict(ack.header_fields())
    assert fields["BITS-Packet-Type"] == "Ack"
    assert fields["Content-Length"] == "0"
    assert fields["Pragma"] == "no-cache"


@settings(deadline=None, max_examples=300)
@given(acks)
def test_no_header_of_an_ack_can_end_its_line_or_comes_twice(ack: Ack) -> None:
    fields = ack.header_fields()
    assert len({name for name, _ in fields}) == len(fields)
    for name, value in fields:
        assert re.fullmatch(r"[A-Za-z-]+", name)
        assert not re.search(r"[\x00-\x1f\x7f]", value)
        value.encode("latin-1")


@settings(deadline=None)
@given(acks, st.integers(0, 100_000))
def test_the_head_of_an_ack_fits_the_4_kb_that_a_proxy_keeps(ack: Ack, length: int) -> None:
    ack = Ack(**{name: getattr(ack, name) for name in ack.__slots__} | {"session_id": "x" * length})
    assert sum(len(name) + len(value) + 4 for name, value in ack.header_fields()) < 3000


def test_the_longest_reply_url_leaves_room_in_the_4_kb_of_a_proxy() -> None:
    ack = Ack(session_id="x" * 1024, received_length=2**63, reply_url="https://" + "x" * 2192)
    assert dict(ack.header_fields())["BITS-Reply-URL"] == ack.reply_url
    assert sum(len(name) + len(value) + 4 for name, value in ack.header_fields()) < 3600


def test_the_ack_of_create_session_names_protocol_and_session_and_no_encoding() -> None:
    fields = dict(Ack(session_id=SESSION, opens_session=True).header_fields())
    assert fields == {
        "Pragma": "no-cache",
        "BITS-Packet-Type": "Ack",
        "BITS-Protocol": "{7df0354d-249b-430f-820d-3d2a9bef4931}",
        "BITS-Session-Id": SESSION,
        "Content-Length": "0",
        "Accept-Encoding": "identity",
    }


def test_the_ack_of_a_fragment_has_the_next_expected_byte_as_a_bare_decimal() -> None:
    fields = dict(Ack(session_id=SESSION, received_length=2**63).header_fields())
    assert fields["BITS-Received-Content-Range"] == "9223372036854775808"
    assert dict(Ack(received_length=0).header_fields())["BITS-Received-Content-Range"] == "0"


def test_the_ack_of_a_ping_is_nothing_but_an_ack() -> None:
    assert Ack().status == 200
    assert {name for name, _ in Ack().header_fields()} == {
        "Pragma",
        "BITS-Packet-Type",
        "Content-Length",
    }


@pytest.mark.parametrize("text", [SESSION, SESSION.lower(), "7", "no id at all", "caf\xe9"])
def test_the_session_id_is_echoed_as_the_request_spelled_it(text: str) -> None:
    assert dict(Ack(session_id=text).header_fields())["BITS-Session-Id"] == text
    refused = Ack.of_error(SessionNotFound(), text)
    assert dict(refused.header_fields())["BITS-Session-Id"] == text


@pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b", "a\nb", "a\x00b", "\x7f", "", "x" * 1025])
def test_what_cannot_be_sent_or_is_endless_is_not_echoed(text: str) -> None:
    assert "BITS-Session-Id" not in dict(Ack(session_id=text).header_fields())


def test_the_host_id_comes_with_its_timeout_and_the_timeout_never_alone() -> None:
    fields = dict(Ack(host_id="node1", host_id_fallback_seconds=60).header_fields())
    assert fields["BITS-Host-Id"] == "node1"
    assert fields["BITS-Host-Id-Fallback-Timeout"] == "60"
    assert "BITS-Host-Id-Fallback-Timeout" not in dict(Ack(host_id="node1").header_fields())
    for nobody in (None, ""):
        ack = Ack(host_id=nobody, host_id_fallback_seconds=60)
        assert not {name for name, _ in ack.header_fields() if "Host" in name}


@settings(deadline=None)
@given(acks)
def test_the_error_headers_come_all_three_or_not_at_all(ack: Ack) -> None:
    present = {name for name, _ in ack.header_fields()} & ERROR_HEADERS
    has_error = ack.error is not None and ack.error.hresult is not None
    assert present == (ERROR_HEADERS if has_error else set())


@pytest.mark.parametrize("kind", ERROR_TABLE)
def test_the_ack_of_an_error_has_its_status_and_one_code_under_both_names(
    kind: type[BitsError],
) -> None:
    ack = Ack.of_error(kind("why"), SESSION)
    fields = dict(ack.header_fields())
    assert ack.status == kind.status
    assert fields["BITS-Session-Id"] == SESSION
    assert fields.get("BITS-Error") == fields.get("BITS-Error-Code")
    code = fields.get("BITS-Error-Code")
    assert code is None or re.fullmatch(r"0x[0-9A-F]{8}", code)
    assert "BITS-Protocol" not in fields


def test_the_ack_of_a_fragment_out_of_order_says_where_to_go_on() -> None:
    ack = Ack.of_error(FragmentOutOfOrder("a gap"), SESSION, 17)
    fields = dict(ack.header_fields())
    assert ack.status == 416
    assert fields["BITS-Received-Content-Range"] == "17"
    assert not fields.keys() & ERROR_HEADERS


def test_a_refusal_that_passes_by_itself_says_when_to_come_again() -> None:
    fields = dict(Ack.of_error(ServiceUnavailable("busy"), None).header_fields())
    assert int(fields["Retry-After"]) > 0
    assert "BITS-Session-Id" not in fields
