"""The decisions about packets, pure: facts in, nothing or an error of the family out."""

from __future__ import annotations

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AccessDenied,
    EntityTooLarge,
    FragmentOutOfOrder,
    FragmentTooLarge,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.settings import VirtualDirectory
from bits_server.storage.interface import DestinationPath, DestinationState
from bits_server.storage.record import ClosedRecord, SessionRecord

MAXIMUM_OFFSET = 2**63 - 1  # of a file on Linux


def refuse_occupied(state: DestinationState, *, may_overwrite: bool) -> None:
    """Raise what refuses an upload to a destination in this state, or return."""
    if state is DestinationState.TAKEN and not may_overwrite:
        raise AccessDenied("the destination exists and allow_overwrites is off")
    if state is DestinationState.FOLDER:
        raise MalformedPacket("the destination is a folder")
    if state is DestinationState.OUTSIDE:
        raise MalformedPacket(
            "the destination leads, by a symbolic link, out of the virtual directory"
        )
    if state is DestinationState.NO_FOLDER:
        raise PathNotFound(
            "the folder of the destination does not exist: make it, or turn create_folders on"
        )


def refuse_impossible(state: DestinationState) -> None:
    """With a server application the destination need not be free, nor its folder exist.

    Many clients may upload to one URL; what the application wants is known only when it answers.
    """
    if state in (DestinationState.FOLDER, DestinationState.OUTSIDE):
        refuse_occupied(state, may_overwrite=True)


def refuse_stranger(
    record: SessionRecord | ClosedRecord, destination: DestinationPath, owner: str
) -> None:
    """Only the user who created a session, and only for its destination, may go on with it."""
    refuse_other_user(record, owner)
    if record.destination != str(destination):
        raise SessionNotFound(f"the session is of another destination, {record.destination!r}")


def refuse_other_user(record: SessionRecord | ClosedRecord, owner: str) -> None:
    """Raise SessionNotFound: nobody else is told that there is such a session."""
    if record.owner != owner:
        raise SessionNotFound("the session belongs to another user")


def refuse_oversized(content_range: ContentRange, directory: VirtualDirectory) -> None:
    """Raise EntityTooLarge for the file as a whole, FragmentTooLarge for one request.

    In this order: a client that is told of the request first would try again with less.
    """
    limit = directory.maximum_upload_size
    if limit is not None and content_range.total > limit:
        raise EntityTooLarge(
            f"the file has {content_range.total} bytes, maximum_upload_size is {limit}"
        )
    if content_range.total > MAXIMUM_OFFSET:
        raise EntityTooLarge(f"no file can have {content_range.total} bytes")
    if content_range.length > directory.maximum_fragment_size:
        raise FragmentTooLarge(
            f"the Fragment has {content_range.length} bytes, "
            f"maximum_fragment_size is {directory.maximum_fragment_size}"
        )


def refuse_changed_total(content_range: ContentRange, total: int) -> None:
    """TOTAL is the same in all Fragments of a session [MC-BUP] 2.2.6."""
    if content_range.total != total:
        raise MalformedPacket(
            f"the file had {total} bytes in the first Fragment, now {content_range.total}"
        )


def refuse_gap(content_range: ContentRange, received_length: int) -> None:
    """A Fragment may repeat bytes, not leave some out [MC-BUP] 3.2.5.2.6."""
    if content_range.first > received_length:
        raise FragmentOutOfOrder(
            f"{content_range} starts after the next expected byte, {received_length}"
        )


def is_handed_over(record: SessionRecord) -> bool:
    """Whether the server application took the request entity, and wants nothing published."""
    outcome = record.notification
    return outcome is not None and outcome.succeeded and not outcome.copies_to_destination
