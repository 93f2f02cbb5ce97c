"""``bits-server explain``: what it prints for a person, and how it ends."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from bits_server.cli import main
from bits_server.cli.explain_command import WIDTH
from bits_server.protocol.errors import ERROR_TABLE, BitsError


def _explain(text: str) -> Result:
    return CliRunner().invoke(main, ["explain", text])


def _words(result: Result) -> str:
    return " ".join(result.output.split())


@pytest.mark.parametrize(
    "text", ["0x8020001F", "8020001f", "-2145386465", "2149580831", "bg_e_session_not_found"]
)
def test_every_form_gives_the_same(text: str) -> None:
    result = _explain(text)
    assert result.exit_code == 0, result.output
    assert result.output == _explain("0x8020001F").output
    heading, _, speaker, *_ = result.output.splitlines()
    assert heading == "0x8020001F  BG_E_SESSION_NOT_FOUND  -2145386465"
    assert speaker == "This server (HTTP 500, context 0x5):"


def test_who_says_it_is_told_apart() -> None:
    result = _explain("413")
    assert result.exit_code == 0
    assert result.output.startswith("HTTP 413  0x8019019D  BG_E_HTTP_ERROR_413")
    assert "This server (no HRESULT):" in result.output
    assert "Something in front, or another server:" in result.output
    assert "The server application" not in result.output  # it is told 500 then
    assert "After HTTP 413 a Windows client sends less at a time" in _words(result)
    assert "client_max_body_size" in result.output


def test_one_code_with_two_statuses_tells_both() -> None:
    result = _explain("E_ACCESSDENIED")
    assert "This server (HTTP 403, context 0x5):" in result.output
    assert "This server (HTTP 501, context 0x5):" in result.output
    assert "Windows itself:" in result.output
    assert _words(result).count("a Windows client stops with an error") == 2


@pytest.mark.parametrize("row", ERROR_TABLE)
def test_the_lines_are_short_and_have_a_remedy(row: type[BitsError]) -> None:
    result = _explain(str(row.status) if row.hresult is None else f"0x{row.hresult:08X}")
    assert result.exit_code == 0
    assert max(map(len, result.output.splitlines())) <= WIDTH
    assert "  -> " in result.output


def test_an_unknown_code_is_taken_apart_and_ends_with_status_1() -> None:
    result = _explain("0x80073000")
    assert result.exit_code == 1
    assert "Not explained here." in result.output
    assert "FACILITY_WIN32, a Windows error number" in _words(result)
    assert "net helpmsg 12288" in result.output


def test_what_is_no_code_ends_with_status_2() -> None:
    result = _explain("nonsense")
    assert result.exit_code == 2
    assert "'nonsense' is no code: write it like" in _words(result)
