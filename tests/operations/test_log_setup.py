"""Log lines go to standard error, once each."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server import LogFormat, LogLevel, Settings, SettingsError, VirtualDirectory
from bits_server.operations.event_log import EventLog
from bits_server.operations.log_setup import HumanFormatter, log_as_set, set_up_logging
from bits_server.protocol.errors import AccessDenied, UnexpectedFailure
from tests.operations.test_event_log import GUID, PACKET, SESSION


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Our logger as it is before anybody set it up."""
    log = logging.getLogger("bits_server")
    level, handlers, propagate = log.level, log.handlers, log.propagate
    log.handlers, log.propagate = [], True
    yield log
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


def test_a_line_has_its_time_and_level_and_comes_once_however_often_it_is_set_up(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        set_up_logging()
    log.info("a session was created")
    log.debug("a fragment came")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("20")
    assert printed.err.endswith(" INFO a session was created\n")


def test_the_level_can_be_changed(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(logging.DEBUG)
    log.debug("a fragment came")
    assert "DEBUG a fragment came" in capsys.readouterr().err


def test_other_loggers_are_left_alone(log: logging.Logger) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    set_up_logging()
    assert (root.level, list(root.handlers)) == before
    assert not log.propagate, "a program that embeds us does not get our lines twice"


def written_as_json(printed: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in printed.splitlines()]


def test_as_json_a_packet_has_its_fields(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(log_format=LogFormat.JSON)
    EventLog().answered(PACKET)
    error = AccessDenied("the cause")
    EventLog().answered(replace(PACKET, error=error, status=403, offset=None, user=""))
    packet, refusal = written_as_json(capsys.readouterr().err)
    assert log.handlers
    assert packet.pop("time").endswith("Z")
    assert packet == {
        "level": "INFO",
        "event": "packet",
        "message": (
            f"{GUID} Fragment '/upload/f' from 192.0.2.1 (ann): 200, 4887 bytes at 5, 1.2 ms"
        ),
        "session_id": GUID,
        "user": "ann",
        "client_address": "192.0.2.1",
        "virtual_directory": "/upload",
        "destination": "/upload/f",
        "packet": "Fragment",
        "offset": 5,
        "bytes": 4887,
        "status": 200,
        "duration": 0.00123,
        "waited_for_client": 2.0,
    }
    assert (refusal["level"], refusal["event"]) == ("WARNING", "refusal")
    assert (refusal["status"], refusal["hresult"]) == (403, "0x80070005")
    assert "the cause. Remove the file" in refusal["message"]
    assert not {"user", "offset"} & refusal.keys(), "what does not apply is left out"


def test_as_json_an_event_and_a_failure_are_one_line_each(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(log_format=LogFormat.JSON)
    EventLog().closed("/upload", replace(SESSION, sha256="ab" * 32), "done")
    error = UnexpectedFailure("a defect")
    error.__cause__ = ZeroDivisionError("by zero")
    EventLog().answered(replace(PACKET, error=error, status=500))
    log.info("a line\nof two")
    closed, failure, line = written_as_json(capsys.readouterr().err)
    assert (closed["event"], closed["outcome"]) == ("session_closed", "done")
    assert closed["sha256"] == "ab" * 32
    assert "ZeroDivisionError: by zero" in failure["traceback"]
    assert line["message"] == "a line\nof two"


def settings_with(**changes: Any) -> Settings:
    return Settings((VirtualDirectory("/upload", "/srv/uploads"),), **changes)


def test_the_settings_say_what_is_logged(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    log_as_set(settings_with(log_level=LogLevel.WARNING))
    log.info("a packet")
    log.warning("a refusal")
    assert "a packet" not in (printed := capsys.readouterr().err)
    assert "a refusal" in printed


def test_a_file_that_was_moved_away_is_made_anew(log: logging.Logger, tmp_path: Path) -> None:
    """As logrotate does it, without a signal."""
    file = tmp_path / "bits-server.log"
    log_as_set(settings_with(log_file=str(file)))
    try:
        log.info("before")
        file.rename(tmp_path / "bits-server.log.1")
        log.info("after")
    finally:
        set_up_logging()
    assert file.read_text().endswith(" INFO after\n")
    assert (tmp_path / "bits-server.log.1").read_text().endswith(" INFO before\n")
    modes = {each.stat().st_mode & 0o777 for each in tmp_path.glob("bits-server.log*")}
    assert modes <= {0o640, 0o600}, "session ids are not for everybody"


def test_a_file_that_cannot_be_written_is_named(log: logging.Logger, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        log_as_set(settings_with(log_file=str(tmp_path / "missing" / "log")))
    assert (caught.value.table, caught.value.key) == ("[server]", "log_file")
    assert log.handlers == [], "what was set before stays"


@pytest.mark.parametrize("created", [0.0, 1_700_000_000.9996, 1_700_000_000.0, 1_711_846_799.5])
def test_a_line_for_people_is_as_the_standard_library_prints_it(created: float) -> None:
    try:
        raise ValueError("why")
    except ValueError as error:
        cause = (type(error), error, error.__traceback__)
    record = logging.LogRecord("bits_server", logging.ERROR, "", 0, "%r ended", ("f",), cause)
    record.created, record.msecs = created, (created - int(created)) * 1000
    standard = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    ours = HumanFormatter()
    assert ours.format(record) == ours.format(record) == standard.format(record)
