"""The one translator from exceptions to the family of errors."""

from __future__ import annotations

import errno

import pytest

from bits_server.protocol.errors import (
    BitsError,
    DiskFull,
    EntityTooLarge,
    MalformedPacket,
    SessionNotFound,
    UnexpectedFailure,
)
from bits_server.web.error_answers import to_bits_error


def test_a_member_of_the_family_is_its_own_answer() -> None:
    error = SessionNotFound("gone")
    assert to_bits_error(error) is error


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EFBIG, EntityTooLarge),
        (errno.ENAMETOOLONG, MalformedPacket),
        (errno.EIO, UnexpectedFailure),
        (errno.EACCES, UnexpectedFailure),
    ],
)
def test_what_the_operating_system_says_has_its_row(number: int, kind: type[BitsError]) -> None:
    error = OSError(number, "as the system says")
    answer = to_bits_error(error)
    assert type(answer) is kind
    assert answer.__cause__ is error
    assert "as the system says" in str(answer)


def test_anything_else_is_an_unexpected_failure_that_names_it() -> None:
    answer = to_bits_error(KeyError("x"))
    assert type(answer) is UnexpectedFailure
    assert "KeyError" in str(answer)
