"""The border: whatever header fields come, a packet or a BitsError and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.acks import Ack
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    BitsError,
    LengthRequired,
    MalformedPacket,
)
from bits_server.protocol.headers import RequestHeaders
from bits_server.protocol.packets import (
    PACKET_TYPES,
    CancelSession,
    CloseSession,
    CreateSession,
    Fragment,
    Packet,
    Ping,
    packet_type_of,
    parse_packet,
)
from bits_server.protocol.session_id import SessionId

UPLOAD_PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}"
OTHER_PROTOCOL = "{00000000-1111-2222-3333-444444444444}"
SESSION = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
SESSION_ID = SessionId.parse(SESSION)

CREATE = {"BITS-Packet-Type": "Create-Session", "BITS-Supported-Protocols": UPLOAD_PROTOCOL}
FRAGMENT = {
    "BITS-Packet-Type": "Fragment",
    "BITS-Session-Id": SESSION,
    "Content-Range": "bytes 0-4/5",
    "Content-Length": "5",
}
CLOSE = {"BITS-Packet-Type": "Close-Session", "BITS-Session-Id": SESSION}
CANCEL = {"BITS-Packet-Type": "Cancel-Session", "BITS-Session-Id": SESSION}
PING = {"BITS-Packet-Type": "Ping"}
BODYLESS: list[dict[str, str]] = [CREATE, CLOSE, CANCEL, PING]


def parse(fields: dict[str, str], **changes: str | None) -> Packet:
    """Parse ``fields``; ``changes`` are set, or left out where None."""
    changed: dict[str, str | None] = {**fields}
    changed |= {name.replace("_", "-"): value for name, value in changes.items()}
    return parse_packet(RequestHeaders((n, v) for n, v in changed.items() if v is not None))


def outcome_of(headers: RequestHeaders) -> Packet | BitsError:
    try:
        return parse_packet(headers)
    except BitsError as error:
        return error


any_value = st.text(st.characters(max_codepoint=255), max_size=100)
likely_value = st.sampled_from(
    [
        *("Create-Session", "fragment", "CLOSE-SESSION", "Cancel-Session", "Ping", "Ack"),
        *(SESSION, SESSION.lower(), SESSION[1:], UPLOAD_PROTOCOL, OTHER_PROTOCOL),
        *("bytes 0-4/5", "bytes 3-7/2000", "bytes 0--1/0", "bytes */0", "bytes 4-0/5"),
        *("", "0", "5", "-1", "00", "\xb2", "chunked", "identity", "gzip", "x" * 4096, "x" * 4097),
    ]
)
any_name = st.sampled_from(
    [
        *("BITS-Packet-Type", "BITS-Session-Id", "BITS-Supported-Protocols", "Content-Range"),
        *("Content-Length", "Content-Encoding", "Content-Name", "Transfer-Encoding"),
        *("bits-packet-type", "BITS-Host-Id", "Authorization"),
    ]
)
any_fields = st.lists(st.tuples(any_name, likely_value | any_value), max_size=10)


@settings(deadline=None, max_examples=1000)
@given(any_fields, st.sampled_from([{}, CREATE, FRAGMENT, CLOSE, PING]))
def test_any_header_fields_give_a_packet_or_a_bits_error(
    fields: list[tuple[str, str]], valid: dict[str, str]
) -> None:
    changed = {name.lower() for name, _ in fields}
    kept = [(name, value) for name, value in valid.items() if name.lower() not in changed]
    headers = RequestHeaders(fields + kept)
    outcome = outcome_of(headers)
    if isinstance(outcome, BitsError):
        assert outcome.status in (400, 411, 500)
        assert str(outcome)
        assert Ack.of_error(outcome, headers.get("BITS-Session-Id")).header_fields()
    else:
        assert isinstance(outcome, get_args(Packet))
        assert type(outcome) is packet_type_of(headers)
    if isinstance(outcome, Fragment) and not outcome.is_chunked:
        assert outcome.content_range.length == int(headers.get("Content-Length") or "")


def test_a_create_session_is_read() -> None:
    assert parse(CREATE) == CreateSession()


def test_a_fragment_is_read() -> None:
    expected = Fragment(SESSION_ID, ContentRange(5, 9, 10), is_chunked=False)
    assert parse(FRAGMENT, Content_Range="bytes 5-9/10") == expected


def test_a_close_session_is_read() -> None:
    assert parse(CLOSE) == CloseSession(SESSION_ID)


def test_a_cancel_session_is_read() -> None:
    assert parse(CANCEL) == CancelSession(SESSION_ID)


def test_a_ping_is_read() -> None:
    assert parse(PING) == Ping()


@pytest.mark.parametrize("fields", [FRAGMENT, CLOSE, CANCEL])
def test_what_was_read_cannot_be_changed(fields: dict[str, str]) -> None:
    packet = parse(fields)
    with pytest.raises(dataclasses.FrozenInstanceError):
        packet.session_id = SESSION_ID  # type: ignore[misc, union-attr]


CAPTURED: list[tuple[dict[str, str], Packet]] = [
    ({**CREATE, "Content-Name": "notes.txt", "Content-Length": "0"}, CreateSession()),
    (
        {
            **FRAGMENT,
            "Content-Name": "notes.txt",
            "Content-Range": "bytes 0-4891/4892",
            "Content-Length": "4892",
        },
        Fragment(SESSION_ID, ContentRange(0, 4891, 4892)),
    ),
    ({**PING, "Content-Length": "0"}, Ping()),
    ({**CLOSE, "Content-Name": "notes.txt", "Content-Length": "0"}, CloseSession(SESSION_ID)),
]


@pytest.mark.parametrize(("fields", "expected"), CAPTURED)
def test_the_packets_of_a_windows_client_as_captured_are_read(
    fields: dict[str, str], expected: Packet
) -> None:
    """[MC-BUP] section 4: Microsoft BITS/6.7."""
    around = {"Accept": "*/*", "User-Agent": "Microsoft BITS/6.7", "Connection": "Keep-Alive"}
    assert parse({**around, **fields}) == expected


class TestPacketType:
    @pytest.mark.parametrize("spell", [str.lower, str.upper, str.title, str.swapcase])
    @pytest.mark.parametrize("fields", [*BODYLESS, FRAGMENT])
    def test_its_case_does_not_matter(
        self, fields: dict[str, str], spell: Callable[[str], str]
    ) -> None:
        spelled = spell(fields["BITS-Packet-Type"])
        assert parse(fields, BITS_Packet_Type=spelled) == parse(fields)

    @pytest.mark.parametrize(
        "name",
        [
            *("", "Ack", "Create", "CreateSession", "Create Session", "Create-Session2"),
            *("Ping,Ping", "Fragment;q=1", "Pin\u0261", "P\u0131ng", "x" * 4096),
        ],
    )
    def test_an_unknown_one_is_malformed(self, name: str) -> None:
        with pytest.raises(MalformedPacket) as caught:
            parse(FRAGMENT, BITS_Packet_Type=name)
        assert len(str(caught.value)) < 400

    def test_a_missing_one_is_malformed(self) -> None:
        with pytest.raises(MalformedPacket):
            parse(FRAGMENT, BITS_Packet_Type=None)

    def test_it_can_be_told_of_a_request_that_is_otherwise_malformed(self) -> None:
        headers = RequestHeaders([("bits-packet-type", " FRAGMENT ")])
        assert packet_type_of(headers) is Fragment
        assert packet_type_of(RequestHeaders([])) is None
        assert packet_type_of(RequestHeaders([("BITS-Packet-Type", "Ack")])) is None

    def test_there_are_the_five_of_the_specification(self) -> None:
        assert set(PACKET_TYPES.values()) == set(get_args(Packet))
        assert len(PACKET_TYPES) == 5


class TestSessionId:
    @pytest.mark.parametrize("fields", [FRAGMENT, CLOSE, CANCEL])
    @pytest.mark.parametrize("missing", [None, "", "   "])
    def test_a_missing_one_is_malformed_where_it_is_needed(
        self, fields: dict[str, str], missing: str | None
    ) -> None:
        with pytest.raises(MalformedPacket):
            parse(fields, BITS_Session_Id=missing)

    @pytest.mark.parametrize("fields", [FRAGMENT, CLOSE, CANCEL])
    @pytest.mark.parametrize("wrong", ["7", SESSION[1:-1], f"{SESSION},{SESSION}"])
    def test_a_malformed_one_is_no_session_which_is_not_said_yet(
        self, fields: dict[str, str], wrong: str
    ) -> None:
        packet = parse(fields, BITS_Session_Id=wrong)
        assert isinstance(packet, Fragment | CloseSession | CancelSession)
        assert packet.session_id is None

    @pytest.mark.parametrize("fields", [FRAGMENT, CLOSE, CANCEL])
    def test_its_case_and_the_space_around_it_do_not_matter(self, fields: dict[str, str]) -> None:
        assert parse(fields, BITS_Session_Id=f" {SESSION.lower()}\t") == parse(fields)

    @pytest.mark.parametrize("fields", [CREATE, PING])
    @pytest.mark.parametrize("text", [SESSION, "7", ""])
    def test_where_none_is_needed_it_is_not_looked_at(
        self, fields: dict[str, str], text: str
    ) -> None:
        assert parse(fields, BITS_Session_Id=text) == parse(fields)

    def test_a_malformed_header_comes_before_a_malformed_session(self) -> None:
        with pytest.raises(MalformedPacket):
            parse(FRAGMENT, BITS_Session_Id="7", Content_Range="bytes")


class TestLengthOfBodylessPackets:
    @pytest.mark.parametrize("fields", BODYLESS)
    @pytest.mark.parametrize("length", [None, "", "0", "00", " 0 "])
    def test_none_is_as_good_as_0(self, fields: dict[str, str], length: str | None) -> None:
        assert parse(fields, Content_Length=length) == parse(fields)

    @pytest.mark.parametrize("fields", BODYLESS)
    @pytest.mark.parametrize("length", ["1", "5", "18446744073709551615", "9" * 21])
    def test_a_body_is_malformed(self, fields: dict[str, str], length: str) -> None:
        with pytest.raises(MalformedPacket):
            parse(fields, Content_Length=length)

    @pytest.mark.parametrize("fields", BODYLESS)
    def test_a_chunked_body_is_malformed(self, fields: dict[str, str]) -> None:
        with pytest.raises(MalformedPacket):
            parse(fields, Transfer_Encoding="chunked")


class TestLengthOfFragments:
    @pytest.mark.parametrize("length", [None, "", " "])
    def test_without_one_it_is_required(self, length: str | None) -> None:
        with pytest.raises(LengthRequired):
            parse(FRAGMENT, Content_Length=length)

    def test_it_is_required_before_anything_else_of_the_fragment_is_looked_at(self) -> None:
        with pytest.raises(LengthRequired):
            parse({"BITS-Packet-Type": "Fragment"})

    @pytest.mark.parametrize("length", ["0", "4", "6", "50", "18446744073709551615"])
    def test_one_that_is_not_the_length_of_the_range_is_malformed(self, length: str) -> None:
        with pytest.raises(MalformedPacket):
            parse(FRAGMENT, Content_Length=length)

    @pytest.mark.parametrize(
        "length",
        ["-5", "+5", "5.0", "0x5", "5,5", "5 5", "5\n", "\xb5", "\u0665", "5_", "9" * 5000],
    )
    def test_one_that_is_no_number_is_malformed(self, length: str) -> None:
        with pytest.raises(MalformedPacket) as caught:
            parse(FRAGMENT, Content_Length=length)
        assert len(str(caught.value)) < 400

    @settings(deadline=None)
    @given(st.integers(0, 2**64 - 1), st.integers(1, 2**64))
    def test_it_may_be_of_any_size_of_64_bits(self, first: int, length: int) -> None:
        total = first + length
        content_range = f"bytes {first}-{total - 1}/{total}"
        changes = {"Content_Range": content_range, "Content_Length": str(length)}
        if total >= 2**64:
            with pytest.raises(MalformedPacket):
                parse(FRAGMENT, **changes)
        else:
            expected = Fragment(SESSION_ID, ContentRange(first, total - 1, total))
            assert parse(FRAGMENT, **changes) == expected

    @pytest.mark.parametrize("empty", ["bytes 0--1/0", "bytes */0"])
    def test_the_fragment_of_an_empty_file_has_length_0(self, empty: str) -> None:
        packet = parse(FRAGMENT, Content_Range=empty, Content_Length="0")
        assert packet == Fragment(SESSION_ID, ContentRange(0, -1, 0))
        for length, error in (("1", MalformedPacket), (None, LengthRequired)):
            with pytest.raises(error):
                parse(FRAGMENT, Content_Range=empty, Content_Length=length)

    def test_a_chunked_one_needs_none(self) -> None:
        packet = parse(FRAGMENT, Content_Length=None, Transfer_Encoding="chunked")
        assert packet == Fragment(SESSION_ID, ContentRange(0, 4, 5), is_chunked=True)


class TestContentOfFragments:
    @pytest.mark.parametrize("content_range", [None, "", "bytes 0-5/5", "bytes 0-4/*", "5"])
    def test_a_missing_or_malformed_range_is_malformed(self, content_range: str | None) -> None:
        with pytest.raises(MalformedPacket):
            parse(FRAGMENT, Content_Range=content_range)

    def test_two_ranges_are_malformed(self) -> None:
        fields = [*FRAGMENT.items(), ("Content-Range", FRAGMENT["Content-Range"])]
        with pytest.raises(MalformedPacket):
            parse_packet(RequestHeaders(fields))

    @pytest.mark.parametrize("encoding", [None, "", "identity", "IDENTITY", " identity "])
    def test_identity_is_the_encoding_that_is_understood(self, encoding: str | None) -> None:
        assert parse(FRAGMENT, Content_Encoding=encoding) == parse(FRAGMENT)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate", "identity, gzip", "x" * 9000])
    def test_any_other_encoding_is_malformed(self, encoding: str) -> None:
        with pytest.raises(MalformedPacket) as caught:
            parse(FRAGMENT, Content_Encoding=encoding)
        assert len(str(caught.value)) < 400


class TestSupportedProtocols:
    @pytest.mark.parametrize(
        "offer",
        [
            UPLOAD_PROTOCOL,
            UPLOAD_PROTOCOL.upper(),
            f"{OTHER_PROTOCOL} {UPLOAD_PROTOCOL}",
            f"{OTHER_PROTOCOL},{UPLOAD_PROTOCOL}",
            f"{OTHER_PROTOCOL}, {UPLOAD_PROTOCOL}",
            f"{UPLOAD_PROTOCOL} , {OTHER_PROTOCOL}",
            f",, {UPLOAD_PROTOCOL} ,\t,",
            f"{UPLOAD_PROTOCOL} {UPLOAD_PROTOCOL}",
            f"nonsense {UPLOAD_PROTOCOL}",
        ],
    )
    def test_the_upload_protocol_is_found_among_them(self, offer: str) -> None:
        assert parse(CREATE, BITS_Supported_Protocols=offer) == CreateSession()

    @pytest.mark.parametrize(
        "offer",
        [
            *(None, "", " , ", OTHER_PROTOCOL, UPLOAD_PROTOCOL[1:-1], UPLOAD_PROTOCOL[:-1]),
            *(f"{UPLOAD_PROTOCOL};{OTHER_PROTOCOL}", UPLOAD_PROTOCOL * 2, f"x{UPLOAD_PROTOCOL}"),
            *(UPLOAD_PROTOCOL.replace("-", ""), "*", "x" * 4096),
        ],
    )
    def test_no_common_protocol_is_malformed(self, offer: str | None) -> None:
        with pytest.raises(MalformedPacket) as caught:
            parse(CREATE, BITS_Supported_Protocols=offer)
        assert len(str(caught.value)) < 700

    @pytest.mark.parametrize("separator", [" ", ","])
    def test_100_may_be_offered_and_101_may_not(self, separator: str) -> None:
        offer = [OTHER_PROTOCOL] * 99 + [UPLOAD_PROTOCOL]
        assert parse(CREATE, BITS_Supported_Protocols=separator.join(offer)) == CreateSession()
        with pytest.raises(MalformedPacket, match="101"):
            parse(CREATE, BITS_Supported_Protocols=separator.join(["x", *offer]))
        with pytest.raises(MalformedPacket, match="101"):
            parse(CREATE, BITS_Supported_Protocols=separator.join([UPLOAD_PROTOCOL] + ["x"] * 100))

    def test_a_repeated_header_field_is_one_list(self) -> None:
        fields = [*CREATE.items(), ("bits-supported-protocols", OTHER_PROTOCOL)]
        assert parse_packet(RequestHeaders(fields)) == CreateSession()


@pytest.mark.parametrize("fields", [*BODYLESS, FRAGMENT])
@pytest.mark.parametrize("name", ["BITS-Unknown", "Content-Name"])
def test_a_field_of_the_protocol_over_4_kb_is_malformed_in_every_packet(
    fields: dict[str, str], name: str
) -> None:
    assert parse({**fields, name: "x" * 4096}) == parse(fields)
    with pytest.raises(MalformedPacket):
        parse({**fields, name: "x" * 4097})


@pytest.mark.parametrize("fields", [*BODYLESS, FRAGMENT])
def test_unknown_fields_and_a_kerberos_authorization_are_ignored(fields: dict[str, str]) -> None:
    more = {"Authorization": "Negotiate " + "x" * 65_000, "X-Unknown": "\xff", "Range": "bytes=0-"}
    assert parse({**fields, **more}) == parse(fields)
