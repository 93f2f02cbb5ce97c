"""Destination paths: what passes names a file below the virtual directory, and nothing else."""

from __future__ import annotations

import os.path
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.errors import MalformedPacket, UserNotAllowed
from bits_server.sessions.destination import parse_destination, refuse_impossible_home
from bits_server.storage.interface import DestinationPath

pieces = st.sampled_from(
    [b"/", b"..", b".", b"\\", b"\x00", b"\n", b"BITS-Sessions", b"bits-sessions", b"a", b"\xc3"]
)
paths = st.binary(max_size=40) | st.lists(pieces, max_size=8).map(b"".join)
paths |= st.text(max_size=40).map(str.encode)


@settings(deadline=None, max_examples=500)
@given(paths)
def test_any_bytes_give_a_safe_path_or_are_malformed(path: bytes) -> None:
    try:
        destination = parse_destination(path)
    except MalformedPacket:
        return
    text = str(destination)
    assert text.encode() == path, "it is decoded no further"
    assert os.path.normpath(f"/root/{text}") == f"/root/{text}"
    assert "\\" not in text
    assert not any(unicodedata.category(character) == "Cc" for character in text)
    for segment in destination.segments:
        assert 0 < len(segment.encode()) <= 255
        assert segment.casefold() != "bits-sessions"


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"f.bin", ("f.bin",)),
        (b"a/b/c", ("a", "b", "c")),
        (b"...", ("...",)),
        (b".hidden/..b/c..", (".hidden", "..b", "c..")),
        (b"with space", ("with space",)),
        (b"%2F", ("%2F",)),
        (b"%2e%2e/x", ("%2e%2e", "x")),
        (b"a?b#c;d", ("a?b#c;d",)),
        ("grün/日本.bin".encode(), ("grün", "日本.bin")),
        ("e\u0301".encode(), ("e\u0301",)),
        (b"C:", ("C:",)),
        (b"-rf", ("-rf",)),
        (b"x" * 255, ("x" * 255,)),
        ("ü".encode() * 127 + b"x", ("ü" * 127 + "x",)),
        (b"BITS-Sessions2/f", ("BITS-Sessions2", "f")),
        (b"my-BITS-Sessions", ("my-BITS-Sessions",)),
        (b"BITS_Sessions", ("BITS_Sessions",)),
        (b"a/" * 129 + b"f", (*("a",) * 129, "f")),
    ],
)
def test_a_name_is_taken_as_it_is(path: bytes, segments: tuple[str, ...]) -> None:
    assert parse_destination(path) == DestinationPath(segments)
    assert str(parse_destination(path)) == path.decode()


@pytest.mark.parametrize(
    "path",
    [
        *(b"", b"/", b"a/", b"/a", b"a//b"),
        *(b".", b"..", b"./a", b"../a", b"a/..", b"a/../b", b"a/./b", b"a/../../etc/passwd"),
        *(b"a\\b", b"..\\a", b"\\\\host\\share", b"C:\\f"),
        *(b"a\x00", b"a\x00.txt", b"a\nb", b"a\rb", b"\t", b"\x1b[0m", b"\x7f", b"a/b\x01"),
        *("a\x85b".encode(), "\x9f".encode()),
        *(b"\xff", b"a\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"caf\xe9"),
        *(b"x" * 256, "ü".encode() * 128, b"a/" + b"x" * 256 + b"/b"),
        b"a/" * 130 + b"f",
        *(b"BITS-Sessions", b"bits-sessions", b"BITS-SESSIONS/f", b"a/Bits-Sessions/f"),
        *("\uff22\uff29\uff34\uff33-Sessions".encode(), "BITS-Se\u017f\u017fions/f".encode()),
    ],
)
def test_what_could_lead_elsewhere_is_malformed(path: bytes) -> None:
    with pytest.raises(MalformedPacket) as caught:
        parse_destination(path)
    assert str(caught.value).isprintable(), "the log shows what was wrong and cannot be forged"


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_no_control_character_passes_anywhere(code: int) -> None:
    for path in (f"a{chr(code)}", f"{chr(code)}/f", f"ü{chr(code)}"):
        with pytest.raises(MalformedPacket):
            parse_destination(path.encode())


@pytest.mark.parametrize("character", ["\xa0", "\xad", "\u200b", "\u2028", "\u202e", "\ufeff"])
def test_odd_but_harmless_characters_pass(character: str) -> None:
    assert parse_destination(f"a{character}b".encode()).segments == (f"a{character}b",)


def test_the_users_own_folder_comes_first() -> None:
    destination = parse_destination(b"sub/f", ("alice", "incoming"))
    assert str(destination) == "alice/incoming/sub/f"
    assert destination.home == 2


@pytest.mark.parametrize("user", ["alice", "DOMAIN alice", "alice@EXAMPLE.COM", "größe", ".a"])
def test_most_names_of_users_can_be_those_of_folders(user: str) -> None:
    refuse_impossible_home((user,))


@pytest.mark.parametrize(
    "user",
    [
        *("", ".", "..", "a/b", "/", "a\\b", "a\nb", "a\0", "BITS-Sessions", "bits-sessions"),
        *("x" * 256, "\udcff", "BITS\uff0dSessions"),
    ],
)
def test_a_user_whose_name_can_be_no_folder_may_not_upload(user: str) -> None:
    with pytest.raises(UserNotAllowed, match="no folder can have the name"):
        refuse_impossible_home((user,))
