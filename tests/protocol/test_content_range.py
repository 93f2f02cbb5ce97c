"""Content-Range: what is one, what is none, and printing as the inverse of parsing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.content_range import MAXIMUM_TOTAL, ContentRange
from bits_server.protocol.errors import MalformedPacket

EMPTY = ContentRange(0, -1, 0)


@st.composite
def ranges(draw: st.DrawFn) -> ContentRange:
    total = draw(st.integers(1, MAXIMUM_TOTAL) | st.integers(1, 20))
    first = draw(st.integers(0, total - 1))
    return ContentRange(first, draw(st.integers(first, total - 1)), total)


@settings(deadline=None)
@given(ranges() | st.just(EMPTY))
def test_parsing_is_the_inverse_of_printing(content_range: ContentRange) -> None:
    assert ContentRange.parse(str(content_range)) == content_range


@settings(deadline=None)
@given(ranges())
def test_a_range_is_printed_as_on_the_wire(content_range: ContentRange) -> None:
    first, last, total = content_range.first, content_range.last, content_range.total
    assert str(content_range) == f"bytes {first}-{last}/{total}"


@settings(deadline=None, max_examples=300)
@given(
    st.text(st.characters(max_codepoint=255))
    | st.from_regex(r"\A(?:bytes|BYTES|octets) ?-?[0-9]{0,22}-{1,2}[0-9]{0,22}/[0-9*]{0,22}\Z")
)
def test_any_text_is_a_range_or_malformed(text: str) -> None:
    try:
        content_range = ContentRange.parse(text)
    except MalformedPacket:
        return
    numbers = [int(number) for number in re.findall(r"[0-9]+", text)]
    if content_range == EMPTY:
        assert set(numbers) <= {0, 1}
    else:
        assert numbers == [content_range.first, content_range.last, content_range.total]
        assert 0 <= content_range.first <= content_range.last < content_range.total


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-0/1", ContentRange(0, 0, 1)),
        ("bytes 0-4891/4892", ContentRange(0, 4891, 4892)),
        ("BYTES 5-9/20", ContentRange(5, 9, 20)),
        ("Bytes 5-9/20", ContentRange(5, 9, 20)),
        ("bytes   5-9/20", ContentRange(5, 9, 20)),
        ("bytes\t5-9/20", ContentRange(5, 9, 20)),
        ("bytes 007-009/020", ContentRange(7, 9, 20)),
        ("bytes 4294967296-4294967299/8589934592", ContentRange(2**32, 2**32 + 3, 2**33)),
        (f"bytes 0-{2**64 - 2}/{2**64 - 1}", ContentRange(0, 2**64 - 2, 2**64 - 1)),
        ("bytes 0--1/0", EMPTY),
        ("bytes */0", EMPTY),
        ("BYTES */0", EMPTY),
    ],
)
def test_a_range_is_read(text: str, expected: ContentRange) -> None:
    assert ContentRange.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes",
        "bytes ",
        "bytes0-4/5",
        "0-4/5",
        "octets 0-4/5",
        "bytes=0-4/5",
        "bytes 0-4",
        "bytes 0-4/",
        "bytes 0-4/*",
        "bytes */*",
        "bytes */5",
        "bytes -4/5",
        "bytes 0-/5",
        "bytes 5-4/10",
        "bytes 4-3/10",
        "bytes 0-5/5",
        "bytes 0-0/0",
        "bytes 0--1/5",
        "bytes 0--1/1",
        "bytes 1--1/0",
        "bytes 0--2/0",
        "bytes -1--1/0",
        "bytes --1-0/0",
        "bytes +0-4/5",
        "bytes 0-+4/5",
        "bytes 0-4/+5",
        "bytes -0-4/5",
        "bytes 0x0-0x4/5",
        "bytes 0.0-4/5",
        "bytes 0-4e0/5",
        "bytes 0_0-4/5",
        "bytes 0 - 4/5",
        "bytes 0-4 /5",
        "bytes 0-4/ 5",
        "bytes 0-4/5 ",
        " bytes 0-4/5",
        "bytes 0-4/5\n",
        "bytes\n0-4/5",
        "bytes\r\n 0-4/5",
        "bytes\xa00-4/5",
        "bytes 0-4/5,bytes 0-4/5",
        "bytes 0-4,5-6/10",
        "bytes \xb2-\xb3/5",
        "bytes \u0660-\u0664/5",
        "byte\u017f 0-4/5",
        f"bytes 0-4/{2**64}",
        f"bytes 0-{2**64 - 1}/{2**64}",
        "bytes 0-4/" + "9" * 21,
        "bytes 0-4/" + "9" * 4000,
        "bytes " + "0" * 21 + "-4/5",
    ],
)
def test_what_is_no_range_is_malformed(text: str) -> None:
    with pytest.raises(MalformedPacket) as caught:
        ContentRange.parse(text)
    assert len(str(caught.value)) < 400, "the log is not filled with what a client sent"


@pytest.mark.parametrize(
    "numbers",
    [
        (-1, 0, 1),
        (0, 1, 1),
        (1, 0, 2),
        (0, -1, 1),
        (1, 0, 0),
        (0, 0, 0),
        (0, 0, 2**64),
        (-1, -1, 0),
    ],
)
def test_no_value_can_be_made_that_is_no_range(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(MalformedPacket):
        ContentRange(*numbers)


@settings(deadline=None)
@given(ranges())
def test_the_length_counts_both_ends(content_range: ContentRange) -> None:
    assert content_range.first + content_range.length == content_range.last + 1
    assert 1 <= content_range.length <= content_range.total


def test_the_empty_file_has_no_bytes_and_is_ended_by_its_range() -> None:
    assert EMPTY.length == 0
    assert EMPTY.ends_entity


def test_only_the_range_with_the_last_byte_ends_the_entity() -> None:
    assert ContentRange(5, 9, 10).ends_entity
    assert ContentRange(0, 9, 10).ends_entity
    assert not ContentRange(0, 8, 10).ends_entity
