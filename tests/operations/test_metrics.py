"""What is counted, under which labels, and by several processes at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server.operations.metrics import Metrics
from bits_server.protocol.errors import (
    ERROR_TABLE,
    AccessDenied,
    ApplicationRefused,
    BitsError,
    FragmentOutOfOrder,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import NotificationOutcome
from tests.operations.exposition import Exposition
from tests.operations.test_event_log import PACKET
from tests.storage.stages import new_record

UPLOAD = {"virtual_directory": "/upload"}


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(["/upload"])


def told(metrics: Metrics) -> Exposition:
    return Exposition(metrics.text())


def packet(**changes: Any) -> AnsweredPacket:
    return replace(PACKET, **{"body_bytes": 0, "seconds": 0.004, **changes})


def test_packets_bytes_and_acks_are_counted_by_directory_and_packet(metrics: Metrics) -> None:
    for size in (5, 7):
        metrics.answered(packet(body_bytes=size, body_seconds=100.0))
    metrics.answered(packet(packet="Ping", seconds=0.3))
    metrics.answered(packet(packet="", directory="", error=AccessDenied("no")))
    found = told(metrics)
    assert found.value("packets_total", packet="Fragment", outcome="taken", **UPLOAD) == 2
    nowhere = {"virtual_directory": "none", "packet": "unknown"}
    assert found.value("packets_total", outcome="refused", **nowhere) == 1
    assert found.value("received_bytes_total", **UPLOAD) == 12
    assert found.value("ack_seconds_bucket", packet="Fragment", le="0.0025") == 0
    assert found.value("ack_seconds_bucket", packet="Fragment", le="0.005") == 2
    assert found.value("ack_seconds_sum", packet="Fragment") == pytest.approx(0.008)
    assert found.value("ack_seconds_count", packet="Ping", **UPLOAD) == 1


@pytest.mark.parametrize("kind", ERROR_TABLE)
def test_a_refusal_is_counted_by_its_status_and_hresult(
    metrics: Metrics, kind: type[BitsError]
) -> None:
    error = kind("the cause")
    metrics.answered(packet(packet="Close-Session", error=error))
    hresult = "none" if error.hresult is None else f"0x{error.hresult:08X}"
    labels = {"packet": "Close-Session", "status": str(error.status), "hresult": hresult}
    assert told(metrics).value("errors_total", **labels, **UPLOAD) == 1


@pytest.mark.parametrize("what", ["Reply", "Page"])
def test_what_is_refused_and_no_packet_is_counted_too(metrics: Metrics, what: str) -> None:
    metrics.failed("/upload", what, "", "made-up", SessionNotFound("none"))
    labels = {"packet": what, "status": "500", "hresult": "0x8020001F"}
    assert told(metrics).value("errors_total", **labels, **UPLOAD) == 1


def test_nothing_that_a_client_or_application_makes_up_gets_a_label(metrics: Metrics) -> None:
    for number in range(300, 600):
        made_up = f"made-up-{number}"
        error = ApplicationRefused(made_up, number)
        metrics.failed("/upload", made_up, made_up, made_up, error)
        metrics.answered(packet(session_id=made_up, destination=made_up, error=error))
        metrics.answered(packet(directory="", packet="", error=error))
    found = told(metrics)
    assert found.value("errors_total") == 900
    assert b"made-up" not in metrics.text()
    assert found.label_values("packet") >= {"unknown", "Fragment"}
    assert len(found.label_values("status")) < 70
    assert found.value("errors_total", status="other", hresult="other") > 0


def test_a_refusal_without_hresult_is_told_by_its_status(metrics: Metrics) -> None:
    metrics.answered(packet(error=FragmentOutOfOrder("a gap")))
    assert told(metrics).value("errors_total", status="416", hresult="none") == 1


OUTCOMES: dict[str, dict[str, Any]] = {
    "succeeded": {"succeeded": True, "status": 200},
    "refused": {"status": 403, "told_status": 403},
    "unusable answer": {"status": 200, "told_status": 400},
    "unreachable": {"told_status": 503},
    "timed out": {"told_status": 504},
    "broken": {"told_status": 502},
    "other": {"told_status": 500},
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_a_notification_is_counted_by_outcome_with_its_duration(
    metrics: Metrics, name: str
) -> None:
    outcome = NotificationOutcome(1, began=100.0, ended=103.0, **OUTCOMES[name])
    metrics.notified("/upload", replace(new_record(), notification=outcome))
    found = told(metrics)
    assert found.value("notification_seconds_count", outcome=name, **UPLOAD) == 1
    assert found.value("notification_seconds_sum", outcome=name, **UPLOAD) == 3.0


def test_a_clock_that_was_set_back_makes_no_negative_duration(metrics: Metrics) -> None:
    outcome = NotificationOutcome(1, began=100.0, ended=10.0, told_status=503)
    metrics.notified("/upload", replace(new_record(), notification=outcome))
    assert told(metrics).value("notification_seconds_sum") == 0


def test_sessions_are_counted_when_they_begin_and_by_how_they_end(metrics: Metrics) -> None:
    for _ in range(4):
        metrics.session_created("/upload", new_record())
    metrics.closed("/upload", new_record(), "put somewhere")
    metrics.cancelled("/upload", new_record())
    metrics.expired("/upload", new_record())
    metrics.expired("/upload", new_record())
    found = told(metrics)
    assert found.value("opened_sessions_total", **UPLOAD) == 4
    ended = {each: found.value("ended_sessions_total", outcome=each, **UPLOAD) for each in ENDS}
    assert ended == ENDS


ENDS = {"closed": 1, "cancelled": 1, "expired": 2}


def test_a_clean_up_is_counted_with_what_it_removed(metrics: Metrics) -> None:
    report = CleanupReport(
        removed=[new_record(), new_record()],
        wrecks=[SessionId.parse(new_record().guid)],
        closed_records=5,
        debris=["a", "b", "c"],
        failures=["one"],
    )
    for _ in range(2):
        metrics.cleaned_up("/upload", report)
    found = told(metrics)
    assert found.value("cleanups_total", **UPLOAD) == 2
    assert found.value("cleanup_failures_total", **UPLOAD) == 2
    removed = {
        "session": 4,
        "unreadable session": 2,
        "closed record": 10,
        "remains of a crash": 6,
    }
    for what, count in removed.items():
        assert found.value("cleanup_removed_total", what=what, **UPLOAD) == count


def test_counters_are_there_from_the_beginning(metrics: Metrics) -> None:
    found = told(metrics)
    assert {
        *("bitsserver_packets_total", "bitsserver_received_bytes_total"),
        *("bitsserver_opened_sessions_total", "bitsserver_ended_sessions_total"),
    } <= found.names
    assert found.value("packets_total") == 0


PROCESS = """
import os, sys
from bits_server.operations.metrics import Metrics, share_between_processes, shared_folder
from bits_server.sessions.observer import AnsweredPacket
folder, number, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
share_between_processes(folder, number)
assert shared_folder() == folder
metrics = Metrics(["/upload"])
for _ in range(count):
    metrics.answered(
        AnsweredPacket(
            "/upload", "Ping", "", "", "", "", None, 200, None, 3, body_seconds=0.0, seconds=0.004
        )
    )
sys.stdout.buffer.write(metrics.text())
sys.stdout.flush()
os.kill(os.getpid(), 9)
"""


def count_in_a_process(folder: Path, number: int, count: int) -> Exposition:
    ran = subprocess.run(
        [sys.executable, "-c", PROCESS, str(folder), str(number), str(count)],
        capture_output=True,
    )
    assert ran.returncode == -9, ran.stderr
    return Exposition(ran.stdout)


def test_processes_count_together_and_a_successor_goes_on(tmp_path: Path) -> None:
    """Each is killed at its end; the third has the number of the first."""
    assert count_in_a_process(tmp_path, 0, 2).value("packets_total", packet="Ping") == 2
    assert count_in_a_process(tmp_path, 1, 3).value("packets_total", packet="Ping") == 5
    files = sorted(path.name for path in tmp_path.iterdir())
    found = count_in_a_process(tmp_path, 0, 4)
    assert sorted(path.name for path in tmp_path.iterdir()) == files
    assert found.value("packets_total", packet="Ping", outcome="taken", **UPLOAD) == 9
    assert found.value("ack_seconds_bucket", le="0.005") == 9
    assert found.value("received_bytes_total") == 27


def test_a_process_that_is_just_making_its_file_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "counter_9.db").touch()
    assert count_in_a_process(tmp_path, 0, 2).value("packets_total", packet="Ping") == 2
