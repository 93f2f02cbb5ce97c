"""What is told of sessions, and which of them: pure facts in, names and orders out."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server import NotificationType, VirtualDirectory
from bits_server.operations.session_list import (
    SORT_KEYS,
    STATES,
    Selection,
    facts_of,
    notification_of,
    percent_of,
    state_of,
    timestamp,
)
from bits_server.sessions.administration import SessionFacts
from bits_server.storage.record import NotificationOutcome
from tests.storage.stages import new_record

DIRECTORY = VirtualDirectory("/upload", "/srv/uploads")
NOW = 1_800_000_000.0
OUTCOME = NotificationOutcome(attempts=1, began=NOW, ended=NOW + 1, succeeded=True, status=200)


def _facts(received: int = 0, last_progress: float = NOW, **changes: Any) -> SessionFacts:
    record = replace(new_record(), created=NOW - 60, **changes)
    return SessionFacts(DIRECTORY, record.session_id, last_progress, received, record)


def _wreck() -> SessionFacts:
    return replace(_facts(), record=None, problem="not JSON")


@pytest.mark.parametrize(
    ("received", "total", "percent"),
    [(0, None, None), (0, 10, 0.0), (999_999, 1_000_000, 99.9), (5, 5, 100.0), (0, 0, 100.0)],
)
def test_percent_is_100_only_where_no_byte_is_missing(
    received: int, total: int | None, percent: float | None
) -> None:
    assert percent_of(_facts(received, total=total)) == percent


@given(st.integers(1, 1 << 63).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_percent_is_exact_for_files_of_any_size(counts: tuple[int, int]) -> None:
    received, total = counts
    percent = percent_of(_facts(received, total=total))
    assert percent is not None
    assert 0 <= percent <= 100
    assert (percent == 100) is (received == total)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "opened"),
        ({"total": 5}, "receiving"),
        ({"total": 5, "is_complete": True}, "complete"),
    ],
)
def test_the_state_is_that_of_the_record(changes: dict[str, Any], state: str) -> None:
    assert state_of(_facts(**changes)) == state
    assert state in STATES


def test_a_wreck_is_unreadable() -> None:
    assert state_of(_wreck()) == "unreadable"


@pytest.mark.parametrize(
    ("outcome", "word"),
    [
        (None, "none"),
        (OUTCOME, "succeeded"),
        (replace(OUTCOME, succeeded=False, status=403, told_status=403), "refused"),
        (replace(OUTCOME, succeeded=False, status=None, told_status=503), "failed"),
    ],
)
def test_a_notification_is_told_in_one_word(outcome: NotificationOutcome | None, word: str) -> None:
    assert notification_of(outcome) == word


@pytest.mark.parametrize(
    ("selection", "has_alice", "has_wreck"),
    [
        (Selection(), True, True),
        (Selection(user="alice"), True, False),
        (Selection(user=""), False, False),
        (Selection(states=("opened", "complete")), True, False),
        (Selection(states=("receiving",)), False, False),
        (Selection(states=("unreadable",)), False, True),
        (Selection(destination="*.zip"), True, False),
        (Selection(destination="reports/*"), True, False),
        (Selection(destination="*.ZIP"), False, False),
        (Selection(user="alice", destination="*.bin"), False, False),
    ],
)
def test_a_selection_has_what_meets_all_of_it(
    selection: Selection, has_alice: bool, has_wreck: bool
) -> None:
    alice = _facts(owner="alice", destination="reports/2026/a.zip")
    assert selection.has(alice) is has_alice
    assert selection.has(_wreck()) is has_wreck


@pytest.mark.parametrize("name", SORT_KEYS)
def test_every_order_compares_what_it_knows_of_any_session(name: str) -> None:
    of = SORT_KEYS[name]
    first = _facts(3, NOW - 50, total=5, owner="a", destination="a")
    assert first.record is not None
    first = replace(first, record=replace(first.record, created=0.0))
    second = _facts(5, NOW, total=6, owner="b", destination="b", is_complete=True)
    assert of(first) < of(second)
    of(_facts())
    of(_wreck())


def test_the_facts_have_the_names_that_programs_read() -> None:
    directory = replace(
        DIRECTORY,
        notification_type=NotificationType.BY_VALUE,
        notification_url="http://127.0.0.1/",
        session_timeout=3600,
    )
    facts = _facts(
        3,
        NOW - 10,
        owner="alice",
        total=5,
        original_url="http://h/upload/f.bin",
        notification=replace(OUTCOME, reply_url="/upload/r", copies_to_destination=True),
    )
    told = facts_of(replace(facts, directory=directory), NOW)
    assert json.loads(json.dumps(told)) == {
        "session_id": str(facts.session_id),
        "virtual_directory": "/upload",
        "state": "receiving",
        "problem": None,
        "user": "alice",
        "client_address": "192.0.2.1",
        "destination": "f.bin",
        "original_request_url": "http://h/upload/f.bin",
        "received_bytes": 3,
        "total_bytes": 5,
        "percent": 60.0,
        "created": "2027-01-15T07:59:00Z",
        "age_seconds": 60,
        "last_progress": "2027-01-15T07:59:50Z",
        "idle_seconds": 10,
        "expires": "2027-01-15T08:59:50Z",
        "notification_type": "by-value",
        "notification": {
            "outcome": "succeeded",
            "attempts": 1,
            "began": "2027-01-15T08:00:00Z",
            "ended": "2027-01-15T08:00:01Z",
            "application_status": 200,
            "client_status": None,
            "error": None,
            "copies_to_destination": True,
            "reply_url": "/upload/r",
        },
    }


def test_a_wreck_has_the_same_names_and_says_what_is_wrong() -> None:
    told = facts_of(_wreck(), NOW)
    assert told.keys() == facts_of(_facts(), NOW).keys()
    assert told["problem"] == "not JSON"
    assert told["destination"] is None


def test_a_time_that_no_clock_gave_is_told_as_unknown() -> None:
    assert timestamp(1e300) == "unknown"
    assert timestamp(time.time()).endswith("Z")
