"""The records of a session as JSON: printed and read back, and everything else refused."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.storage.record import (
    ClosedRecord,
    NotificationOutcome,
    RecordUnreadable,
    SessionRecord,
)

GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
SESSION = SessionRecord(
    guid=GUID,
    destination="folder/f.bin",
    owner="",
    client_address="192.0.2.1",
    created=1_700_000_000.25,
)
OUTCOME: dict[str, Any] = asdict(
    NotificationOutcome(1, 1_700_000_000.25, 1_700_000_001.25, succeeded=True, status=200)
)
CLOSED = ClosedRecord(guid=GUID, destination="folder/f.bin", owner="", closed=1_700_000_000.25)
RECORDS: list[SessionRecord | ClosedRecord] = [SESSION, CLOSED]
Kind = type[SessionRecord] | type[ClosedRecord]

texts = st.text(st.characters(), max_size=40)  # surrogates too
paths = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
moments = st.floats(allow_nan=False, allow_infinity=False)
lengths = st.none() | st.integers(0, 2**64)
guids = st.uuids().map(lambda guid: f"{{{guid}}}".upper())

urls = st.from_regex(r"\A[!-~]{1,60}\Z")
successes = st.builds(
    NotificationOutcome,
    attempts=st.integers(1, 99),
    began=moments,
    ended=moments,
    succeeded=st.just(True),
    status=st.integers(200, 299),
    copies_to_destination=st.booleans(),
    reply_url=st.none() | urls,
    has_reply=st.booleans(),
)
failures = st.builds(
    NotificationOutcome,
    attempts=st.integers(1, 99),
    began=moments,
    ended=moments,
    status=st.none() | st.integers(100, 999),
    told_status=st.integers(300, 599),
    error=texts,
)


def hidden_name(record: SessionRecord) -> str:
    """The only one that a session uses; the file of that name is deleted with it."""
    return f".{record.guid[1:-1].lower()}.publishing"


session_records = st.builds(
    SessionRecord,
    guid=guids,
    destination=paths,
    owner=texts,
    client_address=texts,
    created=moments,
    total=lengths,
    is_complete=st.booleans(),
    publishing_device=lengths,
    publishing_inode=lengths,
    original_url=texts,
    sha256=st.none() | st.from_regex(r"\A[0-9a-f]{64}\Z"),
    notification=st.none() | successes | failures,
).filter(lambda record: record.total is not None or not record.is_complete)
session_records = st.tuples(session_records, st.booleans()).map(
    lambda drawn: replace(drawn[0], publishing_name=hidden_name(drawn[0])) if drawn[1] else drawn[0]
)
closed_records = st.builds(ClosedRecord, guid=guids, destination=texts, owner=texts, closed=moments)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def facts_of(record: SessionRecord | ClosedRecord) -> dict[str, Any]:
    facts = json.loads(record.to_json())
    assert isinstance(facts, dict)
    return facts


def with_facts(record: SessionRecord | ClosedRecord, **changes: object) -> bytes:
    return json.dumps({**facts_of(record), **changes}).encode()


@settings(deadline=None)
@given(session_records | closed_records)
def test_reading_is_the_inverse_of_printing(record: SessionRecord | ClosedRecord) -> None:
    assert type(record).from_json(record.to_json()) == record


@settings(deadline=None)
@given(session_records | closed_records)
def test_a_record_is_one_line_of_ascii_that_says_its_format(
    record: SessionRecord | ClosedRecord,
) -> None:
    text = record.to_json()
    assert text.isascii()
    assert b"\n" not in text
    assert json.loads(text) == {"format": 1, **asdict(record)}


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([SessionRecord, ClosedRecord]), st.binary(max_size=200))
def test_random_bytes_are_unreadable(kind: Kind, text: bytes) -> None:
    with pytest.raises(RecordUnreadable):
        kind.from_json(text)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([SessionRecord, ClosedRecord]), json_values)
def test_any_other_json_is_unreadable(kind: Kind, value: object) -> None:
    with pytest.raises(RecordUnreadable):
        kind.from_json(json.dumps(value).encode())


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(RECORDS), st.data())
def test_a_damaged_record_is_read_as_something_of_the_right_types_or_unreadable(
    record: SessionRecord | ClosedRecord, data: st.DataObject
) -> None:
    text = bytearray(record.to_json())
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = type(record).from_json(bytes(text))
    except RecordUnreadable:
        return
    for name, value in asdict(record).items():
        assert type(getattr(found, name)) is type(value), name


@pytest.mark.parametrize("record", RECORDS)
def test_no_prefix_of_a_record_is_a_record(record: SessionRecord | ClosedRecord) -> None:
    text = record.to_json()
    for length in range(len(text)):
        with pytest.raises(RecordUnreadable):
            type(record).from_json(text[:length])


@pytest.mark.parametrize("record", RECORDS)
def test_a_missing_fact_makes_a_record_unreadable(record: SessionRecord | ClosedRecord) -> None:
    facts = facts_of(record)
    optional = {each.name for each in fields(record) if each.default is not MISSING}
    for name in facts.keys() - optional:
        rest = {other: value for other, value in facts.items() if other != name}
        with pytest.raises(RecordUnreadable):
            type(record).from_json(json.dumps(rest).encode())


def test_a_record_of_a_version_that_knew_less_is_read_with_the_defaults() -> None:
    facts = facts_of(SESSION)
    for name in ("original_url", "notification", "publishing_name"):
        del facts[name]
    assert SessionRecord.from_json(json.dumps(facts).encode()) == SESSION


@pytest.mark.parametrize("record", RECORDS)
def test_an_unknown_fact_makes_a_record_unreadable(record: SessionRecord | ClosedRecord) -> None:
    with pytest.raises(RecordUnreadable, match="colour"):
        type(record).from_json(with_facts(record, colour="blue"))


def test_the_one_kind_of_record_is_not_read_as_the_other() -> None:
    with pytest.raises(RecordUnreadable):
        SessionRecord.from_json(CLOSED.to_json())
    with pytest.raises(RecordUnreadable):
        ClosedRecord.from_json(SESSION.to_json())


@pytest.mark.parametrize("number", [None, 0, 2, "1", [1], {}])
def test_another_format_is_unreadable(number: object) -> None:
    for record in RECORDS:
        with pytest.raises(RecordUnreadable, match="format"):
            type(record).from_json(with_facts(record, format=number))


WRONG: dict[str, list[object]] = {
    "guid": [None, 1, True, [GUID], {}],
    "destination": [None, 1, False, ["f.bin"]],
    "owner": [None, 0, False],
    "client_address": [None, 0, []],
    "created": [None, "1700000000", True, False, 1, [1.0]],
    "total": ["5", 5.0, True, False, [5]],
    "is_complete": [None, 0, 1, "true", "", []],
    "publishing_device": ["5", 5.0, True, False],
    "publishing_inode": ["5", 5.0, True, False],
    "publishing_name": [5, True, ["name"]],
    "original_url": [None, 5, []],
    "sha256": [5, True, []],
    "notification": [5, "", [], True],
}


@pytest.mark.parametrize("name", WRONG)
def test_a_fact_of_the_wrong_type_makes_a_session_unreadable(name: str) -> None:
    """A truth value is no number, although Python takes it for one."""
    for value in WRONG[name]:
        with pytest.raises(RecordUnreadable, match=name):
            SessionRecord.from_json(with_facts(SESSION, **{name: value}))


def test_every_fact_of_a_session_has_its_wrong_types_in_this_module() -> None:
    assert WRONG.keys() == facts_of(SESSION).keys() - {"format"}


@pytest.mark.parametrize("value", [None, "1700000000", True, 1, []])
def test_a_moment_of_the_wrong_type_makes_a_closed_record_unreadable(value: object) -> None:
    with pytest.raises(RecordUnreadable, match="closed"):
        ClosedRecord.from_json(with_facts(CLOSED, closed=value))


@pytest.mark.parametrize(("opening", "end"), [("[", "]"), ('{"a":', "}")])
@pytest.mark.parametrize("depth", [1, 10, *range(900, 1000, 7), 5_000, 100_000])
def test_deep_nesting_is_unreadable_and_not_a_crash(opening: str, end: str, depth: int) -> None:
    nested = opening * depth + "1" + end * depth
    inside = CLOSED.to_json().decode().replace('"owner": ""', f'"owner": {nested}')
    assert nested in inside
    for text in (nested, inside):
        with pytest.raises(RecordUnreadable):
            ClosedRecord.from_json(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"' + GUID.encode() + b'"',
        b"\xff\xfe",
        b"\x00" * 4096,
        SESSION.to_json() + b"x",
        SESSION.to_json() * 2,
        SESSION.to_json().replace(b'"total": null', b'"total": ' + b"9" * 5_000),
    ],
    ids=range(10),
)
def test_what_is_found_after_a_crash_is_unreadable(text: bytes) -> None:
    with pytest.raises(RecordUnreadable):
        SessionRecord.from_json(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": True},
        {"format": 1.0},
        {"guid": "7"},
        {"total": -5},
        {"total": None, "is_complete": True},
        {"created": float("nan")},
        {"destination": "a\0b"},
        {"destination": "\ud800"},
        {"publishing_name": "../outside"},
        {"publishing_name": "/etc/hostname"},
        {"publishing_name": ".htaccess"},
        {"publishing_name": hidden_name(SESSION).upper()},
        {"sha256": "AB" * 32},
        {"sha256": "ab\r\nX: y"},
        {"notification": {}},
        {"notification": {**OUTCOME, "colour": "blue"}},
        {"notification": {**OUTCOME, "attempts": "1"}},
        {"notification": {**OUTCOME, "succeeded": 1}},
        {"notification": {**OUTCOME, "ended": float("inf")}},
        {"notification": {**OUTCOME, "reply_url": "/a\r\nX: y"}},
        {"notification": {**OUTCOME, "succeeded": False}},
        {"notification": {**OUTCOME, "succeeded": False, "told_status": 200}},
    ],
    ids=str,
)
def test_a_record_that_no_version_wrote_is_unreadable(changes: dict[str, object]) -> None:
    with pytest.raises(RecordUnreadable):
        SessionRecord.from_json(with_facts(SESSION, **changes))


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({}, SessionState.OPENED),
        ({"total": 5}, SessionState.RECEIVING),
        ({"total": 0}, SessionState.RECEIVING),
        ({"total": 5, "is_complete": True}, SessionState.COMPLETE),
    ],
)
def test_the_state_follows_from_the_facts(facts: dict[str, Any], state: SessionState) -> None:
    assert replace(SESSION, **facts).state is state


def test_the_session_id_is_the_guid_as_a_value() -> None:
    assert SESSION.session_id == SessionId.parse(GUID)
    assert str(SESSION.session_id) == SESSION.guid
