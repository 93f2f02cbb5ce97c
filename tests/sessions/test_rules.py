"""The decisions about packets, each at its border."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AccessDenied,
    BitsError,
    EntityTooLarge,
    FragmentOutOfOrder,
    FragmentTooLarge,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.sessions import rules
from bits_server.settings import VirtualDirectory
from bits_server.storage.interface import DestinationPath, DestinationState
from bits_server.storage.record import ClosedRecord, SessionRecord

DESTINATION = DestinationPath(("folder", "f.bin"))
EMPTY = ContentRange(0, -1, 0)
MIB = 1 << 20


def directory(**settings: int) -> VirtualDirectory:
    return VirtualDirectory("/upload", "/srv/uploads", **settings)  # type: ignore[arg-type]


def test_a_free_destination_is_not_refused() -> None:
    for may_overwrite in (True, False):
        rules.refuse_occupied(DestinationState.FREE, may_overwrite=may_overwrite)


def test_a_file_at_the_destination_is_refused_unless_it_may_be_overwritten() -> None:
    rules.refuse_occupied(DestinationState.TAKEN, may_overwrite=True)
    with pytest.raises(AccessDenied, match="allow_overwrites"):
        rules.refuse_occupied(DestinationState.TAKEN, may_overwrite=False)


@pytest.mark.parametrize("may_overwrite", [True, False])
@pytest.mark.parametrize(
    ("state", "error"),
    [
        (DestinationState.FOLDER, MalformedPacket),
        (DestinationState.OUTSIDE, MalformedPacket),
        (DestinationState.NO_FOLDER, PathNotFound),
    ],
)
def test_what_is_no_place_for_a_file_is_refused_whatever_the_overwrite_rule(
    state: DestinationState, error: type[BitsError], may_overwrite: bool
) -> None:
    with pytest.raises(error):
        rules.refuse_occupied(state, may_overwrite=may_overwrite)


@pytest.mark.parametrize("state", DestinationState)
def test_an_upload_without_overwriting_goes_on_only_where_nothing_is(
    state: DestinationState,
) -> None:
    if state is DestinationState.FREE:
        rules.refuse_occupied(state, may_overwrite=False)
    else:
        with pytest.raises(BitsError):
            rules.refuse_occupied(state, may_overwrite=False)


def records(owner: str, destination: str) -> list[SessionRecord | ClosedRecord]:
    return [
        SessionRecord("{id}", destination, owner, client_address="192.0.2.1", created=0.0),
        ClosedRecord("{id}", destination, owner, closed=0.0),
    ]


@pytest.mark.parametrize("owner", ["", "ann"])
def test_the_owner_may_go_on_with_the_session_for_its_destination(owner: str) -> None:
    for record in records(owner, "folder/f.bin"):
        rules.refuse_stranger(record, DESTINATION, owner)


@pytest.mark.parametrize(
    ("owner", "stranger"),
    [("ann", "bob"), ("ann", ""), ("", "ann"), ("ann", "Ann"), ("ann", "ann ")],
)
def test_to_another_user_there_is_no_such_session(owner: str, stranger: str) -> None:
    for record in records(owner, "folder/f.bin"):
        with pytest.raises(SessionNotFound):
            rules.refuse_stranger(record, DESTINATION, stranger)


@pytest.mark.parametrize(
    "destination", ["folder/g.bin", "f.bin", "folder", "Folder/f.bin", "folder/f.bin/x", ""]
)
def test_for_another_destination_there_is_no_such_session(destination: str) -> None:
    for record in records("ann", destination):
        with pytest.raises(SessionNotFound):
            rules.refuse_stranger(record, DESTINATION, "ann")


def test_the_other_user_is_not_told_the_destination_of_a_session() -> None:
    for record in records("ann", "secret/name"):
        with pytest.raises(SessionNotFound) as caught:
            rules.refuse_stranger(record, DESTINATION, "bob")
        assert "secret" not in str(caught.value)


def test_a_file_of_the_allowed_size_passes_and_one_byte_more_does_not() -> None:
    limited = directory(maximum_upload_size=1000)
    rules.refuse_oversized(ContentRange(0, 9, 1000), limited)
    with pytest.raises(EntityTooLarge, match="maximum_upload_size is 1000"):
        rules.refuse_oversized(ContentRange(0, 9, 1001), limited)


def test_a_limit_of_0_allows_empty_files_only() -> None:
    limited = directory(maximum_upload_size=0)
    rules.refuse_oversized(EMPTY, limited)
    with pytest.raises(EntityTooLarge):
        rules.refuse_oversized(ContentRange(0, 0, 1), limited)


def test_without_a_limit_a_file_may_be_what_the_file_system_can_hold() -> None:
    rules.refuse_oversized(ContentRange(0, 9, 2**63 - 1), directory())
    with pytest.raises(EntityTooLarge):
        rules.refuse_oversized(ContentRange(0, 9, 2**63), directory())


def test_a_fragment_of_the_allowed_size_passes_and_one_byte_more_does_not() -> None:
    limited = directory(maximum_fragment_size=MIB)
    rules.refuse_oversized(ContentRange(5, 4 + MIB, 9 * MIB), limited)
    with pytest.raises(FragmentTooLarge, match="maximum_fragment_size"):
        rules.refuse_oversized(ContentRange(5, 5 + MIB, 9 * MIB), limited)


def test_by_default_a_request_may_bring_64_mib() -> None:
    rules.refuse_oversized(ContentRange(0, 64 * MIB - 1, 2**40), directory())
    with pytest.raises(FragmentTooLarge):
        rules.refuse_oversized(ContentRange(0, 64 * MIB, 2**40), directory())


def test_a_file_that_is_too_large_is_told_so_before_its_fragment_is() -> None:
    """Otherwise the client would come again with smaller fragments, and in vain."""
    limited = directory(maximum_upload_size=MIB, maximum_fragment_size=10_000)
    with pytest.raises(EntityTooLarge):
        rules.refuse_oversized(ContentRange(0, 2 * MIB - 1, 2 * MIB), limited)


def test_the_total_stays_the_same_in_all_fragments() -> None:
    rules.refuse_changed_total(ContentRange(5, 9, 10), 10)
    rules.refuse_changed_total(EMPTY, 0)
    wrong = [(ContentRange(5, 9, 10), 11), (EMPTY, 1), (ContentRange(0, 0, 1), 0)]
    for content_range, total in wrong:
        with pytest.raises(MalformedPacket):
            rules.refuse_changed_total(content_range, total)


@settings(deadline=None)
@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_a_fragment_may_repeat_bytes_and_leave_none_out(first: int, received: int) -> None:
    content_range = ContentRange(first, first + 4, first + 5)
    if first <= received:
        rules.refuse_gap(content_range, received)
    else:
        with pytest.raises(FragmentOutOfOrder, match=f"next expected byte, {received}$"):
            rules.refuse_gap(content_range, received)


def test_the_next_expected_byte_is_no_gap_and_the_one_after_it_is() -> None:
    rules.refuse_gap(ContentRange(7, 9, 10), 7)
    rules.refuse_gap(EMPTY, 0)
    with pytest.raises(FragmentOutOfOrder):
        rules.refuse_gap(ContentRange(8, 9, 10), 7)
