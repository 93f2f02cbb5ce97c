"""The table of what Close-Session does in each state."""

from __future__ import annotations

import pytest

from bits_server.protocol.states import (
    ON_CLOSE,
    ON_CLOSE_HANDED_OVER,
    CloseAction,
    SessionState,
)


def test_close_session_is_decided_for_every_state() -> None:
    assert set(ON_CLOSE) == set(ON_CLOSE_HANDED_OVER) == set(SessionState)


def test_every_action_is_taken_in_some_state() -> None:
    assert {*ON_CLOSE.values(), *ON_CLOSE_HANDED_OVER.values()} == set(CloseAction)


def test_what_the_server_application_keeps_is_not_published() -> None:
    """Nothing that it did not see is left to it: an incomplete upload is deleted as ever."""
    for state, action in ON_CLOSE_HANDED_OVER.items():
        is_seen = state is not SessionState.RECEIVING
        assert action is (CloseAction.HAND_OVER if is_seen else CloseAction.DISCARD)


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
