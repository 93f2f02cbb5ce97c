"""Session ids: a GUID in braces, without regard to case, printed as IIS prints it."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId

CAPTURED = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
HEX = "0123456789abcdefABCDEF"


ids = st.uuids(allow_nil=True).map(lambda guid: f"{{{guid}}}".upper())


@settings(deadline=None)
@given(ids)
def test_parsing_is_the_inverse_of_printing(text: str) -> None:
    assert str(SessionId.parse(text)) == text
    assert SessionId.parse(str(SessionId(text))) == SessionId(text)


def test_a_new_id_is_printed_in_braces_and_upper_case() -> None:
    session_id = SessionId.new()
    assert str(session_id) == str(session_id).upper()
    assert SessionId.parse(str(session_id)) == session_id
    assert UUID(str(session_id)).version == 4, "random, as nobody can guess"
    assert SessionId.new() != session_id


@settings(deadline=None)
@given(ids, st.lists(st.booleans(), min_size=38, max_size=38))
def test_ids_are_compared_without_regard_to_case(text: str, upper: list[bool]) -> None:
    spelled = "".join(
        character.upper() if is_upper else character.lower()
        for character, is_upper in zip(text, upper, strict=True)
    )
    assert SessionId.parse(spelled) == SessionId(text)
    assert hash(SessionId.parse(spelled)) == hash(SessionId(text))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 37), st.characters(max_codepoint=0x2FF))
def test_one_wrong_character_makes_it_an_unknown_session(at: int, character: str) -> None:
    text = CAPTURED[:at] + character + CAPTURED[at + 1 :]
    is_id = character == CAPTURED[at] or (CAPTURED[at] not in "{-}" and character in HEX)
    if is_id:
        assert str(SessionId.parse(text)) == text.upper()
    else:
        with pytest.raises(SessionNotFound):
            SessionId.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "7",
        CAPTURED[1:-1],
        CAPTURED[1:],
        CAPTURED[:-1],
        CAPTURED.replace("-", ""),
        "{" + CAPTURED + "}",
        "urn:uuid:" + CAPTURED[1:-1],
        f"({CAPTURED[1:-1]})",
        CAPTURED + " ",
        CAPTURED + "\n",
        "\t" + CAPTURED,
        CAPTURED + "," + CAPTURED,
        CAPTURED.replace("4144-", "4144"),
        "{A0FF591-14144-45B3-BF27-27AFC8EC8A67}",
        CAPTURED.replace("0", "\u0660"),
        CAPTURED.replace("A", "\uff21"),
        CAPTURED.replace("FF", "\ufb00"),  # one letter, which is FF in upper case
        "../" + CAPTURED,
        CAPTURED + "/../x",
        "x" * 100_000,
    ],
)
def test_a_malformed_id_is_a_session_that_nobody_has(text: str) -> None:
    with pytest.raises(SessionNotFound) as caught:
        SessionId.parse(text)
    assert len(str(caught.value)) < 400, "the log is not filled with what a client sent"


@pytest.mark.parametrize("text", ["", "..", "../x", CAPTURED.lower(), CAPTURED + "/.."])
def test_nothing_else_is_ever_an_id(text: str) -> None:
    """It names a folder, wherever it came from."""
    with pytest.raises(SessionNotFound):
        SessionId(text)


@settings(deadline=None)
@given(st.text(st.characters(max_codepoint=255), max_size=60))
def test_any_text_is_an_id_or_an_unknown_session(text: str) -> None:
    try:
        session_id = SessionId.parse(text)
    except SessionNotFound:
        return
    assert str(session_id) == text.upper()
