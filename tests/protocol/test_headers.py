"""Header fields: looked up without regard to case, and the limit of 4 KB."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol import headers
from bits_server.protocol.errors import MalformedPacket
from bits_server.protocol.headers import RequestHeaders

LIMITED = [
    "BITS-Packet-Type",
    "BITS-Session-Id",
    "BITS-Supported-Protocols",
    "BITS-Something-New",
    "bits-packet-type",
    "Content-Name",
    "CONTENT-RANGE",
]
FREE = ["Authorization", "Cookie", "Content-Encoding", "X-BITS-Like", "Content-Name-Of-Mine"]


def test_names_are_compared_without_regard_to_case() -> None:
    fields = RequestHeaders([("bits-PACKET-type", "Ping")])
    for name in ("BITS-Packet-Type", "bits-packet-type", "BITS-PACKET-TYPE"):
        assert fields.get(name) == "Ping"


def test_a_field_that_did_not_come_is_none_and_an_empty_one_is_empty() -> None:
    fields = RequestHeaders([("BITS-Session-Id", "")])
    assert fields.get("BITS-Session-Id") == ""
    assert fields.get("BITS-Packet-Type") is None


def test_white_space_around_a_value_is_not_part_of_it() -> None:
    fields = RequestHeaders([("BITS-Packet-Type", " \t Ping\t ")])
    assert fields.get("BITS-Packet-Type") == "Ping"


@pytest.mark.parametrize("character", ["\xa0", "\x0b", "\x0c", "\x1f", "\x85"])
def test_only_space_and_tab_are_white_space_of_a_header(character: str) -> None:
    value = f"{character}Ping{character}"
    assert RequestHeaders([("BITS-Packet-Type", value)]).get("BITS-Packet-Type") == value


def test_the_values_of_a_field_that_came_twice_are_joined_by_a_comma() -> None:
    fields = RequestHeaders([("A", "1"), ("B", "x"), ("a", "2")])
    assert fields.get("A") == "1,2"
    assert fields.get("B") == "x"


@pytest.mark.parametrize("name", LIMITED)
def test_4096_bytes_pass_and_4097_do_not(name: str) -> None:
    RequestHeaders([(name, "x" * 4096)]).refuse_oversized()
    with pytest.raises(MalformedPacket, match="4097 bytes, allowed are 4096"):
        RequestHeaders([(name, "x" * 4097)]).refuse_oversized()


@pytest.mark.parametrize("name", LIMITED)
def test_the_limit_holds_for_the_values_of_a_repeated_field_together(name: str) -> None:
    RequestHeaders([(name, "x" * 2047), (name, "y" * 2048)]).refuse_oversized()
    with pytest.raises(MalformedPacket):
        RequestHeaders([(name, "x" * 2048), (name, "y" * 2048)]).refuse_oversized()


@pytest.mark.parametrize("name", FREE)
def test_other_fields_may_have_64_kb(name: str) -> None:
    RequestHeaders([(name, "x" * (64 << 10)), ("BITS-Packet-Type", "Ping")]).refuse_oversized()


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(LIMITED + FREE), st.integers(0, 5000)), max_size=4))
def test_a_request_is_refused_if_and_only_if_a_limited_field_is_over(
    lengths: list[tuple[str, int]],
) -> None:
    fields = RequestHeaders([(name, "x" * length) for name, length in lengths])
    limited = {name.lower() for name in LIMITED}
    is_over = any(
        name in limited and len(fields.get(name) or "") > 4096
        for name in {name.lower() for name, _ in lengths}
    )
    if is_over:
        with pytest.raises(MalformedPacket):
            fields.refuse_oversized()
    else:
        fields.refuse_oversized()


def test_the_names_are_spelled_as_the_specification_spells_them() -> None:
    named = {value for name, value in vars(headers).items() if name.isupper() and value != 4096}
    assert {value for value in named if isinstance(value, str)} == {
        "BITS-Packet-Type",
        "BITS-Session-Id",
        "BITS-Supported-Protocols",
        "BITS-Protocol",
        "BITS-Host-Id",
        "BITS-Host-Id-Fallback-Timeout",
        "BITS-Received-Content-Range",
        "BITS-Reply-URL",
        "BITS-Error-Code",
        "BITS-Error",
        "BITS-Error-Context",
        "BITS-Original-Request-URL",
        "BITS-Entity-SHA256",
        "BITS-Request-DataFile-Name",
        "BITS-Response-DataFile-Name",
        "BITS-Static-Response-URL",
        "BITS-Copy-File-To-Destination",
        "Content-Encoding",
        "Content-Length",
        "Content-Name",
        "Content-Range",
        "Transfer-Encoding",
    }
