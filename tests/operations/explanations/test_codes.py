"""The forms in which people write a code, and what its bits say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.operations.explanations import Code, NotACode, decoded, read_code


@given(st.integers(0x80000000, 0xFFFFFFFF))
def test_every_form_of_a_failure_is_the_same_code(hresult: int) -> None:
    code = Code(hresult)
    forms = [f"0x{hresult:08X}", f"0X{hresult:x}", f"{hresult:08x}", f" {hresult} "]
    for text in [*forms, str(code.signed), f"Error: 0x{hresult:08x}"]:
        assert read_code(text) == code
    assert -(1 << 31) <= code.signed < 0


@pytest.mark.parametrize("text", ["413", " 413 ", "HTTP 413", "Status: 413"])
def test_a_status_is_one_in_any_clothes(text: str) -> None:
    assert read_code(text) == Code(0x8019019D, is_status=True)


def test_eight_digits_are_hexadecimal() -> None:
    assert read_code("80200010").hresult == 0x80200010


def test_a_number_of_windows_becomes_its_hresult() -> None:
    assert read_code("12029").hresult == 0x80072EFD
    assert read_code("5").hresult == 0x80070005


@pytest.mark.parametrize(
    "text", ["", "0x", "0x123456789", "four", "12.5", "-2147483649", "4294967296", "BG_E_", "--"]
)
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(NotACode):
        read_code(text)


@given(st.text())
def test_any_text_is_a_code_or_is_none(text: str) -> None:
    try:
        code = read_code(text)
    except NotACode:
        return
    assert 0 <= code.hresult < 1 << 32


@pytest.mark.parametrize(
    ("hresult", "parts"),
    [
        (0x80200099, ("a failure", "0x020", "BITS", "code 153")),
        (0x80073000, ("FACILITY_WIN32", "code 12288")),
        (0x00200017, ("a success", "BITS", "code 23")),
        (0xC0DE0001, ("a failure", "not known here", "code 1")),
    ],
)
def test_the_parts_of_an_unknown_code_are_told(hresult: int, parts: tuple[str, ...]) -> None:
    for part in parts:
        assert part in decoded(hresult)


@pytest.mark.parametrize(
    ("hresult", "status"), [(0x80190194, 404), (0x80190063, None), (0x80190258, None), (5, None)]
)
def test_only_what_can_be_a_status_is_one(hresult: int, status: int | None) -> None:
    assert Code(hresult).status == status
