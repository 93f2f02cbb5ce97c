"""Sizes, durations and modes as administrators write them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.operations.values import (
    print_duration,
    print_mode,
    print_size,
    read_duration,
    read_mode,
    read_size,
)

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40
MINUTE, HOUR, DAY = 60, 3600, 86_400


@settings(deadline=None)
@given(st.integers(0, 10**18 - 1) | st.integers(0, 10**6).map(lambda count: count * TIB))
def test_reading_a_size_is_the_inverse_of_printing(size: int) -> None:
    assert read_size(print_size(size)) == size


@pytest.mark.parametrize("size", [10**18 + 1, 2**63 - 1])
def test_reading_is_the_inverse_of_printing_for_the_largest_sizes_too(size: int) -> None:
    """TOML gives any whole number: 2^63 - 1 is a likely way to write that there is no limit."""
    assert read_size(print_size(size)) == size


@settings(deadline=None)
@given(st.integers(0, 10**9 * DAY - 1))
def test_reading_a_duration_is_the_inverse_of_printing(seconds: int) -> None:
    assert read_duration(print_duration(seconds)) == seconds


def test_reading_a_mode_is_the_inverse_of_printing() -> None:
    for mode in range(0o10000):
        assert read_mode(print_mode(mode)) == mode


@pytest.mark.parametrize(
    ("text", "size"),
    [
        *(("0", 0), ("1", 1), ("5120", 5120), ("7B", 7), ("64MiB", 64 * MIB), ("64 MiB", 64 * MIB)),
        *(("1KiB", KIB), ("4GiB", 4 * GIB), ("2TiB", 2 * TIB), ("007KiB", 7 * KIB)),
    ],
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        *((0, "0B"), (1, "1B"), (1000, "1000B"), (1024, "1KiB"), (1025, "1025B")),
        *((1536, "1536B"), (64 * MIB, "64MiB"), (5 * GIB // 2, "2560MiB"), (4096 * TIB, "4096TiB")),
    ],
)
def test_a_size_is_printed_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert print_size(size) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("0s", 0), ("14d", 14 * DAY), ("12h", 12 * HOUR), ("4min30s", 270), ("90s", 90)),
        *(("1d12h", 36 * HOUR), ("1d 2h 3min 4s", DAY + 2 * HOUR + 3 * MINUTE + 4)),
        *(("4min 30s", 270), ("36h", 36 * HOUR), ("1d1s", DAY + 1)),
    ],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (90, "1min30s"), (DAY, "1d"), (36 * HOUR, "1d12h"), (14 * DAY + 1, "14d1s")],
)
def test_a_duration_is_printed_without_the_units_that_are_none(seconds: int, text: str) -> None:
    assert print_duration(seconds) == text


@pytest.mark.parametrize(("text", "mode"), [("0640", 0o640), ("640", 0o640), ("0000", 0)])
def test_a_mode_is_read_as_octal(text: str, mode: int) -> None:
    assert read_mode(text) == mode


def test_a_mode_is_printed_with_four_digits() -> None:
    assert print_mode(0o640) == "0640"
    assert print_mode(0) == "0000"


REFUSED: list[tuple[Callable[[str], int], str, list[str]]] = [
    (
        read_size,
        "B, KiB, MiB, GiB, TiB",
        [
            *("", " ", "MiB", "-1", "+1", "1.5GiB", "1e3", "64MB", "64mib", "64M", "64 MiB ", " 1"),
            *("64  MiB", "none", "64MiB\n", "\u0661MiB", "1" * 31, "0x10", "1_000"),
        ],
    ),
    (
        read_duration,
        "'14d', '12h' or '4min30s'",
        [
            *("", " ", "14", "d", "-1d", "1.5h", "30s4min", "1d1d", "14D", "1m", "1w", "forever"),
            *("14d\n", "\u0661d", "1" * 31 + "d", "1d,2h"),
        ],
    ),
    (
        read_mode,
        "octal digits",
        ["", "64", "00640", "0o640", "640 ", "0680", "rw-", "-640", "0640\n", "\u0666\u0664\u0660"],
    ),
]


@pytest.mark.parametrize(
    ("read", "advice", "text"),
    [(read, advice, text) for read, advice, texts in REFUSED for text in texts],
)
def test_what_cannot_be_read_is_quoted_and_said_how_to_write(
    read: Callable[[str], int], advice: str, text: str
) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        read(text)
    assert repr(text) in str(caught.value)
    assert advice in str(caught.value)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([read_size, read_duration, read_mode]),
    st.text(max_size=12) | st.from_regex(r"\A[0-9 ]{0,20}[a-zA-Z]{0,4}[0-9]{0,12}[a-z]{0,3}\Z"),
)
def test_any_text_is_a_number_that_is_not_negative_or_a_value_error(
    read: Callable[[str], int], text: str
) -> None:
    try:
        value = read(text)
    except ValueError:
        return
    assert value >= 0
