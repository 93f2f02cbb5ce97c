"""Every code is explained that this server sends, and those that Windows makes of its troubles."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bits_server.operations.explanations import NotACode, Speaker, lookup, name_of
from bits_server.operations.explanations.of_http import STATUSES
from bits_server.operations.explanations.of_this_server import REFUSALS
from bits_server.operations.explanations.of_windows import ALSO, WINDOWS
from bits_server.protocol.errors import (
    ERROR_TABLE,
    ApplicationFailed,
    ApplicationRefused,
    BitsError,
    HResult,
)

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("row", ERROR_TABLE)
def test_every_row_of_the_table_is_explained_by_status_and_by_hresult(
    row: type[BitsError],
) -> None:
    texts = [str(row.status)]
    if row.hresult is not None:
        texts += [f"0x{row.hresult:08X}", str(row.hresult - (1 << 32)), name_of(row.hresult)]
    else:
        texts += [f"0x{0x80190000 + row.status:08X}"]
    for text in texts:
        assert (row, REFUSALS[row]) in lookup(text).refusals, text


def test_no_refusal_is_explained_that_there_is_not() -> None:
    assert REFUSALS.keys() == set(ERROR_TABLE)


@pytest.mark.parametrize("row", ERROR_TABLE)
def test_the_application_is_named_where_it_failed(row: type[BitsError]) -> None:
    is_application = issubclass(row, ApplicationFailed)
    expected = Speaker.APPLICATION if is_application else Speaker.SERVER
    assert REFUSALS[row].speaker is expected


@pytest.mark.parametrize("status", range(100, 600))
def test_an_application_is_said_to_have_answered_what_clients_can_get_of_it(status: int) -> None:
    rows = [row for row, _ in lookup(f"0x{0x80190000 + status:08X}").refusals]
    is_handed_on = status >= 300 and status not in (401, 407, 413, 416)
    assert (ApplicationRefused in rows) is is_handed_on


@pytest.mark.parametrize("hresult", [*WINDOWS, *(each.value for each in HResult)])
def test_every_name_leads_to_its_code(hresult: int) -> None:
    explanation = lookup(name_of(hresult).lower())
    assert explanation.code.hresult == hresult
    assert explanation.is_known
    assert re.fullmatch(r"[A-Z0-9_]+", explanation.name)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_explained_in_each_of_its_forms(status: int) -> None:
    for text in (str(status), f"0x{0x80190000 + status:08X}", f"BG_E_HTTP_ERROR_{status}"):
        assert STATUSES[status] in lookup(text).others


@pytest.mark.parametrize("hresult", ALSO)
def test_what_this_server_says_too_is_told_apart_from_windows(hresult: int) -> None:
    explanation = lookup(f"{hresult:08X}")
    assert explanation.refusals
    assert ALSO[hresult] in explanation.others


def test_the_numbers_of_windows_fit_their_names() -> None:
    """Some of the public ones, once more, in the form in which they are usually met."""
    known = {
        "80072EE2": "ERROR_WINHTTP_TIMEOUT",
        "80072EE7": "ERROR_WINHTTP_NAME_NOT_RESOLVED",
        "80072EFD": "ERROR_WINHTTP_CANNOT_CONNECT",
        "80072EFE": "ERROR_WINHTTP_CONNECTION_ERROR",
        "80072F8F": "ERROR_WINHTTP_SECURE_FAILURE",
        "800704DD": "ERROR_NOT_LOGGED_ON",
        "80070422": "ERROR_SERVICE_DISABLED",
        "80200013": "BG_E_INSUFFICIENT_RANGE_SUPPORT",
        "8019019D": "BG_E_HTTP_ERROR_413",
    }
    assert {text: lookup(text).name for text in known} == known


def test_readme_names_no_code_that_is_not_explained() -> None:
    codes = set(re.findall(r"\b0x8[0-9A-F]{7}\b", (ROOT / "README.md").read_text()))
    assert len(codes) > 15
    assert [code for code in codes if not lookup(code).is_known] == []


@pytest.mark.parametrize("text", ["0x80240022", "0x8020FFFF", "0xC0000005", "200", "64000"])
def test_what_is_not_known_is_said_to_be_so(text: str) -> None:
    assert not lookup(text).is_known


def test_a_name_that_is_none_is_no_code() -> None:
    with pytest.raises(NotACode, match="is no code: write it like 0x8020001F"):
        lookup("BG_E_NO_SUCH_THING")


def test_the_meanings_are_sentences() -> None:
    meanings = [*REFUSALS.values(), *STATUSES.values(), *ALSO.values()]
    meanings += [meaning for _, meaning in WINDOWS.values()]
    assert len(meanings) >= 80
    for meaning in meanings:
        assert meaning.meaning[0].isupper()
        assert meaning.meaning.endswith(".")
