"""Who of those that are known may upload."""

from __future__ import annotations

from pathlib import Path

import pytest

from bits_server.protocol.errors import ServiceUnavailable, UserNotAllowed
from bits_server.web.authentication.access import Access, parse_groups

GROUPS = """\
# who works here
staff: alice "Anna Maria"
guests:
staff: bob
admins: root@EXAMPLE.COM EXAMPLE\\carol
"""


def may(access: Access, user: str) -> bool:
    try:
        access.refuse(user)
    except UserNotAllowed:
        return False
    return True


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    file = tmp_path / "groups"
    file.write_text(GROUPS)
    return file


@pytest.mark.parametrize(
    ("allow", "allowed", "refused"),
    [
        (["*"], ["alice", "mallory", "@staff", ""], []),
        (["alice"], ["alice"], ["Alice", "alice ", "bob", "", "*"]),
        (["@staff"], ["alice", "Anna Maria", "bob"], ["Anna", "staff", "@staff", ""]),
        (["@admins", "dora"], ["root@EXAMPLE.COM", "EXAMPLE\\carol", "dora"], ["carol", "root"]),
        (["@guests", "@nobody"], [], ["alice", "guests", ""]),
    ],
)
def test_allow(groups: Path, allow: list[str], allowed: list[str], refused: list[str]) -> None:
    access = Access(allow, str(groups))
    assert [user for user in allowed + refused if may(access, user)] == allowed


def test_a_group_that_is_not_in_the_file_is_told(groups: Path) -> None:
    access = Access(["@stafff", "@guests"], str(groups))
    with pytest.raises(UserNotAllowed, match=r"names; groups_file has no group 'stafff'$"):
        access.refuse("alice")
    with pytest.raises(UserNotAllowed, match=r"that allow names$"):
        Access(["@guests"], str(groups)).refuse("alice")


def test_a_change_of_the_groups_counts_at_once(groups: Path) -> None:
    access = Access(["@staff"], str(groups))
    assert not may(access, "zoe")
    groups.write_text(GROUPS + "staff: zoe\n")
    assert may(access, "zoe")


def test_groups_that_cannot_be_read_are_told_with_the_file(groups: Path) -> None:
    access = Access(["@staff", "dora"], str(groups))
    access.read()
    groups.write_text("staff alice\n")
    with pytest.raises(ValueError, match="line 1 is not like: group: user user"):
        access.read()
    with pytest.raises(ServiceUnavailable, match=f"{groups} cannot be read"):
        access.refuse("alice")
    access.refuse("dora")
    groups.unlink()
    with pytest.raises(ServiceUnavailable, match=f"{groups} cannot be read"):
        access.refuse("alice")


@pytest.mark.parametrize("line", ["alice", ": alice", " : x"])
def test_a_line_that_is_none_is_refused_with_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        parse_groups(f"staff: bob\n{line}\n")
