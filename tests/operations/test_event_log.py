"""The log: one line for each event, which says enough and cannot be forged by a client."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.operations.event_log import EventLog
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    ERROR_TABLE,
    AuthenticationRequired,
    BitsError,
    FragmentOutOfOrder,
    MalformedPacket,
    SessionNotFound,
    UnexpectedFailure,
    hresult_name,
)
from bits_server.protocol.headers import RequestHeaders
from bits_server.protocol.packets import parse_packet
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.destination import parse_destination
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import NotificationOutcome, SessionRecord

GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
SESSION = SessionRecord(
    guid=GUID,
    destination="folder/f.bin",
    owner="",
    client_address="192.0.2.1",
    created=1_700_000_000.0,
    total=4892,
)

# What ends a line for a terminal, for an editor, or for Python.
hostile = st.text(max_size=60) | st.lists(
    st.sampled_from(
        ["\n", "\r", "\x0b", "\x0c", "\x1b[2K", "\x85", "\u2028", "\u202e", "\x00", "\ud800", "x"]
    ),
    max_size=8,
).map("".join)


@contextmanager
def written() -> Iterator[list[str]]:
    """The lines that are logged inside, each beginning with its level."""
    log, text, lines = logging.getLogger("bits_server"), io.StringIO(), list[str]()
    handler = logging.StreamHandler(text)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield lines
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        lines += text.getvalue().splitlines()  # at every character that ends a line


PACKET = AnsweredPacket(
    directory="/upload",
    packet="Fragment",
    session_id=GUID,
    user="ann",
    client_address="192.0.2.1",
    destination="/upload/f",
    offset=5,
    status=200,
    error=None,
    body_bytes=4887,
    body_seconds=2.0,
    seconds=0.00123,
)


def log_failure(error: BitsError, session_id: str = GUID, destination: str = "/upload/f") -> None:
    EventLog().answered(
        replace(
            PACKET,
            session_id=session_id,
            destination=destination,
            status=error.status,
            error=error,
        )
    )


def test_a_packet_is_one_line() -> None:
    with written() as lines:
        EventLog().answered(PACKET)
        EventLog().answered(replace(PACKET, packet="Ping", session_id="", offset=None))
    where = "'/upload/f' from 192.0.2.1 (ann): 200"
    assert lines == [
        f"INFO {GUID} Fragment {where}, 4887 bytes at 5, 1.2 ms",
        f"INFO - Ping {where}, 1.2 ms",
    ]


def test_a_fragment_is_told_to_those_who_look_closely_only() -> None:
    with written() as lines:
        EventLog().fragment_received("/upload", SESSION, ContentRange(0, 9, 4892), 10)
    assert lines == [f"DEBUG {GUID} bytes 0-9/4892 received, next is byte 10"]


def test_a_closed_session_is_told_with_its_outcome() -> None:
    with written() as lines:
        EventLog().closed("/upload", SESSION, "put in its place")
    expected = f"{GUID} session closed: /upload 'folder/f.bin', total 4892 bytes: put in its place"
    assert lines == [f"INFO {expected}"]


def test_a_session_that_was_closed_before_any_fragment_is_a_warning() -> None:
    with written() as lines:
        EventLog().closed(
            "/upload", SessionRecord(GUID, "f", "", "192.0.2.1", 0.0), "an empty file"
        )
    assert len(lines) == 1
    assert lines[0].startswith(f"WARNING {GUID} session closed: ")
    assert "unknown" in lines[0]


def test_the_checksum_is_told_where_there_is_one() -> None:
    with written() as lines:
        EventLog().closed("/upload", replace(SESSION, sha256="ab" * 32), "done")
    assert f"total 4892 bytes, SHA-256 {'ab' * 32}: done" in lines[0]


@pytest.mark.parametrize(
    ("outcome", "level", "words"),
    [
        (
            NotificationOutcome(
                2, 1.0, 3.5, succeeded=True, status=204, copies_to_destination=True
            ),
            "INFO",
            "attempt 2, 2.500 s: it answered 204 and wants the file at its destination",
        ),
        (
            NotificationOutcome(
                1, 1.0, 1.0, succeeded=True, status=200, reply_url="/x", has_reply=True
            ),
            "INFO",
            "attempt 1, 0.000 s: it answered 200 with a reply at '/x'",
        ),
        (
            NotificationOutcome(
                1, 1.0, 1.0, True, 200, reply_url="https://u:p@files:81/x@y/z?a=b@c&signature=s"
            ),
            "INFO",
            "attempt 1, 0.000 s: it answered 200 with a reply at 'https://...@files:81/x@y/z?...'",
        ),
        (
            NotificationOutcome(1, 1.0, 2.0, status=401, told_status=500, error="it answered 401"),
            "WARNING",
            "attempt 1, 1.000 s: failed, the client is told 500: it answered 401",
        ),
    ],
)
def test_a_notification_is_told_with_what_came_of_it(
    outcome: NotificationOutcome, level: str, words: str
) -> None:
    with written() as lines:
        EventLog().notified("/upload", replace(SESSION, notification=outcome))
    assert lines == [f"{level} {GUID} server application of /upload notified, {words}"]


def test_a_cancelled_session_is_told() -> None:
    with written() as lines:
        EventLog().cancelled("/upload", SESSION)
    assert lines == [f"INFO {GUID} session cancelled: /upload 'folder/f.bin'"]


def test_an_expired_session_is_told_and_is_a_warning_where_somebody_will_miss_the_file() -> None:
    with written() as lines:
        EventLog().expired("/upload", SESSION)
        EventLog().expired("/upload", replace(SESSION, is_complete=True))
    expected = f"{GUID} session expired and removed: /upload 'folder/f.bin', "
    assert lines == [
        f"INFO {expected}incomplete",
        f"WARNING {expected}complete, but never closed by its client",
    ]


def test_a_clean_up_is_told_with_what_it_did() -> None:
    with written() as lines:
        EventLog().cleaned_up("/upload", CleanupReport(found=3, closed_records=2))
    told = "3 sessions found, 0 expired and removed, 2 closed records removed"
    assert lines == [f"INFO /upload cleaned up: {told}"]


@pytest.mark.parametrize("kind", [kind for kind in ERROR_TABLE if kind is not UnexpectedFailure])
def test_a_refusal_is_one_warning_with_cause_status_and_hresult(kind: type[BitsError]) -> None:
    with written() as lines:
        log_failure(kind("the cause"))
    hresult = "-" if kind.hresult is None else f"0x{kind.hresult:08X} {hresult_name(kind.hresult)}"
    refused = f"Fragment refused with {kind.status} {hresult}"
    told = f"{refused}: '/upload/f' from 192.0.2.1 (ann): the cause. {kind.remedy}"
    assert lines == [f"WARNING {GUID} {told}"]
    assert kind.remedy.endswith("."), "every refusal says what to do"


def test_the_first_packet_of_a_client_without_credentials_is_no_warning() -> None:
    with written() as lines:
        log_failure(AuthenticationRequired("no credentials came", ("Negotiate",), is_first=True))
        log_failure(AuthenticationRequired("wrong password", ("Negotiate",), user="ann"))
    assert [line.split()[0] for line in lines] == ["INFO", "WARNING"]


def test_a_refusal_of_what_is_no_packet_of_a_session_is_told_too() -> None:
    with written() as lines:
        EventLog().failed("", "Reply", "", "a/b", SessionNotFound("none"))
    expected = "WARNING - Reply refused with 500 0x8020001F BG_E_SESSION_NOT_FOUND: 'a/b' from -: "
    assert lines[0].startswith(f"{expected}none. ")
    assert len(lines) == 1


@settings(deadline=None)
@given(hostile, hostile, hostile)
def test_a_client_cannot_forge_a_line_by_a_packet_that_is_carried_out(
    session_id: str, destination: str, address: str
) -> None:
    hostile_packet = replace(
        PACKET, session_id=session_id, destination=destination, client_address=address
    )
    with written() as lines:
        EventLog().answered(hostile_packet)
    assert len(lines) == 1
    assert lines[0].isprintable()


def test_an_unexpected_failure_is_logged_once_with_its_traceback_and_the_session() -> None:
    error = UnexpectedFailure("ZeroDivisionError: division by zero")
    try:
        _ = 1 / 0
    except ZeroDivisionError as cause:
        error.__cause__ = cause
    with written() as lines:
        log_failure(error)
    assert lines[0].startswith(f"ERROR {GUID} Fragment refused with 500 0x801901F4 ")
    assert lines[1] == "Traceback (most recent call last):"
    assert any("_ = 1 / 0" in line for line in lines)
    assert lines[-1] == "ZeroDivisionError: division by zero"
    assert len([line for line in lines if GUID in line]) == 1
    assert lines.count("Traceback (most recent call last):") == 1


def test_an_expected_refusal_has_no_traceback() -> None:
    error = FragmentOutOfOrder("a gap")
    error.__cause__ = ValueError("the cause of it")
    with written() as lines:
        log_failure(error)
    assert len(lines) == 1


@settings(deadline=None, max_examples=300)
@given(hostile, hostile)
def test_a_client_cannot_forge_a_line_by_session_id_or_destination(
    session_id: str, destination: str
) -> None:
    with written() as lines:
        log_failure(MalformedPacket("why"), session_id, destination)
    assert len(lines) == 1
    assert lines[0].isprintable()


@settings(deadline=None)
@given(hostile)
def test_a_client_cannot_forge_a_line_by_the_name_of_its_file(destination: str) -> None:
    record = SessionRecord(GUID, destination, "", "192.0.2.1", 0.0)
    log = EventLog()
    with written() as lines:
        log.fragment_received("/upload", record, ContentRange(0, 0, 1), 1)
        log.closed("/upload", record, "done")
        log.cancelled("/upload", record)
        log.expired("/upload", record)
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["Create-Session", "Fragment", "Close-Session"]),
    st.sampled_from(
        [
            *("BITS-Packet-Type", "BITS-Session-Id", "BITS-Supported-Protocols", "Content-Range"),
            *("Content-Length", "Content-Encoding"),
        ]
    ),
    st.text(st.characters(max_codepoint=255), max_size=60),
)
def test_a_client_cannot_forge_a_line_by_what_is_wrong_with_a_header(
    packet: str, name: str, value: str
) -> None:
    fields = {"BITS-Packet-Type": packet, "Content-Length": "5", "Content-Range": "bytes 0-4/5"}
    with written() as lines:
        try:
            parse_packet(RequestHeaders({**fields, name: value}.items()))
        except BitsError as error:
            log_failure(error)
    assert len(lines) <= 1
    assert all(line.isprintable() for line in lines)


@settings(deadline=None)
@given(hostile.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40))
def test_a_client_cannot_forge_a_line_by_what_is_wrong_with_a_destination(path: bytes) -> None:
    with written() as lines:
        try:
            parse_destination(path)
        except BitsError as error:
            log_failure(error)
    assert len(lines) <= 1
    assert all(line.isprintable() for line in lines)
