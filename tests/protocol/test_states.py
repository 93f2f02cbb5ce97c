"""The table of what Close-Session does in each state."""

from __future__ import annotations

import pytest

from bits_server.protocol.states import ON_CLOSE, CloseAction, SessionState


def test_close_session_is_decided_for_every_state() -> None:
    assert set(ON_CLOSE) == set(SessionState)


def test_every_action_is_taken_in_some_state() -> None:
    assert set(ON_CLOSE.values()) == set(CloseAction)


@pytest.mark.parametrize(
    ("state", "action"),
    [
        (SessionState.OPENED, CloseAction.PUBLISH_EMPTY),
        (SessionState.RECEIVING, CloseAction.DISCARD),
        (SessionState.COMPLETE, CloseAction.PUBLISH),
    ],
)
def test_close_session_does_what_the_specification_says(
    state: SessionState, action: CloseAction
) -> None:
    """No Fragment: an empty file; incomplete: deleted; complete: published, again after a crash."""
    assert ON_CLOSE[state] is action
