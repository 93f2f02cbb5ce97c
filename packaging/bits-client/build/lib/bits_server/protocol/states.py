"""The states of a session, and what Close-Session does in each, as a table [MC-BUP] 3.2.5.2.7.

A state is derived from the durable facts of the session, never kept beside them.
"""

from __future__ import annotations

from enum import Enum


class SessionState(Enum):
    """How far an upload has come."""

    OPENED = "opened"  # no Fragment came yet: nobody knows how long the file will be
    RECEIVING = "receiving"  # the total is known, bytes are missing
    COMPLETE = "complete"  # every byte is there


class CloseAction(Enum):
    """What Close-Session does before it removes the session."""

    PUBLISH_EMPTY = "put an empty file at the destination if nothing has that name"
    DISCARD = "delete the partial upload"
    PUBLISH = "put the request entity at the destination"
    HAND_OVER = "nothing: the file is the server application's, which asked for no copy"


ON_CLOSE: dict[SessionState, CloseAction] = {
    SessionState.OPENED: CloseAction.PUBLISH_EMPTY,
    SessionState.RECEIVING: CloseAction.DISCARD,
    SessionState.COMPLETE: CloseAction.PUBLISH,
}

# Where the server application took the request entity and wants nothing at the destination [SDK].
ON_CLOSE_HANDED_OVER: dict[SessionState, CloseAction] = {
    SessionState.OPENED: CloseAction.HAND_OVER,
    SessionState.RECEIVING: CloseAction.DISCARD,
    SessionState.COMPLETE: CloseAction.HAND_OVER,
}
