"""Abandoned sessions, old closed records and what crashes left go away; nothing else does."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bits_server.operations.event_log import EventLog
from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.cleanup import PAUSE_EVERY, Cleanup
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import SessionObserver
from bits_server.storage.interface import LeftoverKind, StoredSession, Sweep
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import FileStage, StoreStage, closed_record_of, run_at_once

GUID = "{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"
HOUR = 3_600.0
DAY = 24 * HOUR
TIMEOUT = 14 * DAY


class Clock:
    """The time now, or later."""

    def __init__(self) -> None:
        self.later = 0.0

    def __call__(self) -> float:
        return time.time() + self.later


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cleanup(stage: StoreStage, observer: RecordingObserver, clock: Clock) -> Cleanup:
    return _cleanup(stage, observer, clock)


def _cleanup(
    stage: StoreStage,
    observer: SessionObserver,
    clock: Callable[[], float] = time.time,
    timeout: float = TIMEOUT,
) -> Cleanup:
    return Cleanup("/upload", stage.store, observer, session_timeout=timeout, clock=clock)


def _run(cleanup: Cleanup, *, dry_run: bool = False) -> CleanupReport:
    report = cleanup.run(dry_run=dry_run)
    assert report is not None
    return report


# sessions


def test_a_session_without_progress_goes_when_its_time_is_over(
    stage: StoreStage, cleanup: Cleanup, observer: RecordingObserver
) -> None:
    expired, fresh = stage.create("old.bin"), stage.create("new.bin")
    stage.age(expired, TIMEOUT + 60)
    stage.age(fresh, TIMEOUT - 60)
    stage.deleted.add(expired)
    report = _run(cleanup)
    assert report.found == 2
    assert [record.session_id for record in report.removed] == [expired]
    assert list(stage.store.session_ids()) == [fresh]
    assert observer.events == [("expired", "/upload", str(expired))]
    with pytest.raises(SessionNotFound):
        stage.store.open(expired)
    assert stage.store.closed_record(expired) is None


def test_the_timeout_decides(stage: StoreStage, observer: RecordingObserver) -> None:
    session_id = stage.create()
    stage.age(session_id, 2 * HOUR)
    assert _run(_cleanup(stage, observer, timeout=3 * HOUR)).removed == []
    stage.deleted.add(session_id)
    assert len(_run(_cleanup(stage, observer, timeout=HOUR)).removed) == 1


def test_bytes_that_came_late_count_as_progress(stage: StoreStage, cleanup: Cleanup) -> None:
    session_id = stage.create()
    stage.age(session_id, TIMEOUT + 60)
    with stage.open(session_id) as session:
        session.append(b"late", 0)
    assert _run(cleanup).removed == []
    assert list(stage.store.session_ids()) == [session_id]


def test_a_session_that_moves_on_between_the_look_and_the_lock_stays(
    stage: StoreStage,
    cleanup: Cleanup,
    observer: RecordingObserver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session_id = stage.create()
    stage.age(session_id, TIMEOUT + 60)
    real_open = stage.store.open

    def moving_on(session_id: SessionId) -> StoredSession:
        session = real_open(session_id)
        session.append(b"just in time", 0)
        return session

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "open", moving_on)
        report = _run(cleanup)
    assert (report.found, report.removed, report.wrecks) == (1, [], [])
    assert observer.events == []
    with stage.open(session_id) as session:
        assert session.received_length() == len(b"just in time")


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_a_session_that_ends_meanwhile_is_no_wreck_and_no_failure(
    stage: StoreStage,
    cleanup: Cleanup,
    observer: RecordingObserver,
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    session_id = stage.create()
    stage.age(session_id, TIMEOUT + 60)
    real_open = stage.store.open

    def ending(session_id: SessionId) -> StoredSession:
        early = real_open(session_id)
        late = real_open(session_id)
        stage.delete(late)
        late.close()
        if moment == "before it is locked":
            return early
        early.close()
        return real_open(session_id)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "open", ending)
        report = _run(cleanup)
    assert (report.found, report.removed, report.wrecks, report.failures) == (1, [], [], [])
    assert observer.events == []


def test_a_complete_session_that_nobody_closed_goes_with_a_warning(
    stage: StoreStage, caplog: pytest.LogCaptureFixture
) -> None:
    complete, incomplete = stage.create_complete(b"all of it", "f.bin"), stage.create("g.bin")
    for session_id in (complete, incomplete):
        stage.age(session_id, TIMEOUT + 60)
        stage.deleted.add(session_id)
    with caplog.at_level(logging.INFO, logger="bits_server"):
        _run(_cleanup(stage, EventLog()))
    levels = {record.getMessage().split()[0]: record.levelno for record in caplog.records}
    assert levels == {str(complete): logging.WARNING, str(incomplete): logging.INFO}
    assert "never closed" in caplog.text
    assert stage.files() == {}, "what nobody closed is not published"


def test_a_wreck_goes_when_its_time_is_over(stage: StoreStage, cleanup: Cleanup) -> None:
    old, young = stage.create(), stage.create()
    for session_id in (old, young):
        stage.break_record(session_id)
    stage.age(old, TIMEOUT + 60)
    report = _run(cleanup)
    assert (report.found, report.wrecks, report.removed) == (2, [old], [])
    assert list(stage.store.session_ids()) == [young]


def test_one_session_that_cannot_be_removed_does_not_keep_the_others(
    stage: StoreStage, cleanup: Cleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [stage.create() for _ in range(5)]
    for session_id in sessions:
        stage.age(session_id, TIMEOUT + 60)
    real_open = stage.store.open

    def failing(session_id: SessionId) -> StoredSession:
        if session_id == sessions[2]:
            raise PermissionError("may not")
        return real_open(session_id)

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "open", failing)
        report = _run(cleanup)
    assert len(report.removed) == 4
    assert report.failures == [f"{sessions[2]}: may not"]
    assert list(stage.store.session_ids()) == [sessions[2]]
    assert len(_run(cleanup).removed) == 1


def test_threads_that_serve_get_their_turn_now_and_then(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    for number in range(2 * PAUSE_EVERY):
        stage.create(f"{number}.bin")
    pauses: list[None] = []
    Cleanup(
        "/upload",
        stage.store,
        observer,
        session_timeout=TIMEOUT,
        pause=lambda: pauses.append(None),
    ).run()
    assert len(pauses) == 2


# what else there is


def test_closed_records_go_after_an_hour(stage: StoreStage, cleanup: Cleanup) -> None:
    kept, old = stage.create(), stage.create()
    for session_id in (kept, old):
        with stage.open(session_id) as session:
            stage.delete(session, closed_record_of(session.record))
    _age_closed_record(stage, kept, HOUR - 60)
    _age_closed_record(stage, old, HOUR + 60)
    assert _run(cleanup).closed_records == 1
    [left] = stage.leftovers(LeftoverKind.CLOSED_RECORD)
    assert left.name.endswith(str(kept))
    assert stage.store.closed_record(kept) is not None


def test_debris_goes_after_some_minutes(stage: StoreStage, cleanup: Cleanup) -> None:
    debris = stage.plant(LeftoverKind.DEBRIS, GUID)
    assert _run(cleanup).debris == []
    stage.age_leftover(debris, 660)
    assert _run(cleanup).debris == [debris.name]
    assert list(stage.store.leftovers()) == []


def test_what_is_foreign_is_told_and_stays(stage: StoreStage, cleanup: Cleanup) -> None:
    planted = stage.plant(LeftoverKind.FOREIGN, "notes.txt")
    stage.age_leftover(planted, 10 * TIMEOUT)
    for _ in range(2):
        assert _run(cleanup).foreign == ["notes.txt"]
    assert [found.name for found in stage.store.leftovers()] == ["notes.txt"]


def test_a_leftover_that_cannot_be_removed_is_told(
    stage: StoreStage, cleanup: Cleanup, monkeypatch: pytest.MonkeyPatch
) -> None:
    debris = stage.plant(LeftoverKind.DEBRIS, GUID)
    stage.age_leftover(debris, DAY)

    def fail(_leftover: object) -> None:
        raise OSError("cannot")

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "remove_leftover", fail)
        report = _run(cleanup)
    assert (report.debris, report.failures) == ([], [f"{debris.name}: cannot"])


def test_a_dry_run_says_the_same_and_changes_nothing(
    stage: StoreStage, cleanup: Cleanup, observer: RecordingObserver
) -> None:
    expired, wreck, closed = stage.create(), stage.create(), stage.create()
    stage.break_record(wreck)
    for session_id in (expired, wreck):
        stage.age(session_id, TIMEOUT + 60)
    with stage.open(closed) as session:
        stage.delete(session, closed_record_of(session.record))
    _age_closed_record(stage, closed, 2 * HOUR)
    stage.age_leftover(stage.plant(LeftoverKind.DEBRIS, GUID), DAY)
    stage.plant(LeftoverKind.FOREIGN, "notes.txt")

    def everything() -> tuple[object, ...]:
        leftovers = {(found.kind, found.name, found.since) for found in stage.store.leftovers()}
        swept = [stage.store.last_swept(what) for what in Sweep]
        return dict(stage.store.progress()), leftovers, swept

    before = everything()
    reports = [_run(cleanup, dry_run=True) for _ in range(2)]
    assert everything() == before
    assert observer.events == []
    assert reports[0] == reports[1]
    assert [record.session_id for record in reports[0].removed] == [expired]
    assert (reports[0].wrecks, reports[0].closed_records) == ([wreck], 1)
    assert _run(cleanup) == reports[0], "what would be removed is what is removed"
    assert list(stage.store.session_ids()) == []


# whose turn it is


def test_nothing_is_done_while_another_one_cleans(
    stage: StoreStage, cleanup: Cleanup, observer: RecordingObserver
) -> None:
    stage.age(stage.create(), TIMEOUT + 60)
    with stage.another_store().cleaning():
        assert cleanup.run() is None
        assert cleanup.run_if_due(1) is None
    assert len(list(stage.store.session_ids())) == 1
    assert observer.events == []
    assert _run(cleanup).found == 1


def test_a_regular_cleanup_runs_once_in_its_interval(
    stage: StoreStage, cleanup: Cleanup, clock: Clock, observer: RecordingObserver
) -> None:
    assert cleanup.run_if_due(12 * HOUR) is not None, "none was ever made here"
    assert cleanup.run_if_due(12 * HOUR) is None
    expired = stage.create()
    stage.age(expired, TIMEOUT)
    clock.later = 12 * HOUR - 60
    report = cleanup.run_if_due(12 * HOUR)
    assert report is not None, "closed records are looked at every hour"
    assert (report.found, report.removed) == (0, []), "sessions are not"
    clock.later = 12 * HOUR + 60
    report = cleanup.run_if_due(12 * HOUR)
    assert report is not None
    assert [record.session_id for record in report.removed] == [expired]
    assert observer.names() == ["cleaned_up", "cleaned_up", "expired", "cleaned_up"]


def test_a_short_interval_holds_for_everything(
    stage: StoreStage, cleanup: Cleanup, clock: Clock
) -> None:
    assert cleanup.run_if_due(60) is not None
    assert cleanup.run_if_due(60) is None
    stage.create()
    clock.later = 90
    report = cleanup.run_if_due(60)
    assert report is not None
    assert report.found == 1


def test_a_clock_that_was_once_ahead_does_not_stop_the_regular_cleanup(
    cleanup: Cleanup, clock: Clock
) -> None:
    assert cleanup.run_if_due(12 * HOUR) is not None
    clock.later = -DAY
    assert cleanup.run_if_due(12 * HOUR) is not None


def test_a_cleanup_by_hand_does_not_delay_the_regular_one(
    stage: StoreStage, cleanup: Cleanup
) -> None:
    _run(cleanup)
    assert [stage.store.last_swept(what) for what in Sweep] == [0, 0]
    assert cleanup.run_if_due(12 * HOUR) is not None


def test_a_regular_cleanup_that_fails_is_due_again(
    cleanup: Cleanup, stage: StoreStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError("cannot list")

    with monkeypatch.context() as patch:
        patch.setattr(stage.store, "progress", fail)
        with pytest.raises(OSError, match="cannot list"):
            cleanup.run_if_due(12 * HOUR)
    report = cleanup.run_if_due(12 * HOUR)
    assert report is not None


def test_of_several_threads_that_find_it_due_one_cleans(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    sessions = [stage.create(f"{number}.bin") for number in range(20)]
    for session_id in sessions:
        stage.age(session_id, TIMEOUT + 60)
        stage.deleted.add(session_id)
    reports: list[CleanupReport | None] = []

    def serve() -> None:
        reports.append(_cleanup(stage, observer).run_if_due(12 * HOUR))

    run_at_once(*[serve] * 6)
    [report] = [report for report in reports if report is not None]
    assert len(report.removed) == 20
    assert observer.names().count("cleaned_up") == 1


_WORKER = """
import sys
from bits_server.operations.event_log import EventLog
from bits_server.sessions.cleanup import Cleanup
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
store = FilesystemStore(sys.argv[1], DiskRules())
cleanup = Cleanup("/upload", store, EventLog(), session_timeout=3600)
print("ready", flush=True)
sys.stdin.readline()
report = cleanup.run_if_due(43200)
print(-1 if report is None else len(report.removed), flush=True)
"""


def test_of_several_processes_that_find_it_due_one_cleans(tmp_path: Path) -> None:
    stage = FileStage(tmp_path)
    for number in range(30):
        stage.age(stage.create(f"{number}.bin"), 2 * HOUR)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(stage.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        removed = [int(worker.communicate(timeout=60)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert sorted(removed) == [-1, -1, -1, 30]
    assert list(stage.store.session_ids()) == []
    stage.assert_nothing_left()


# what the log says


def test_the_summary_names_what_an_administrator_should_know(
    stage: StoreStage, cleanup: Cleanup, observer: RecordingObserver
) -> None:
    expired = stage.create()
    stage.age(expired, TIMEOUT + 60)
    stage.age_leftover(stage.plant(LeftoverKind.DEBRIS, GUID), DAY)
    stage.plant(LeftoverKind.FOREIGN, "no\ttes.txt")
    cleanup.run_if_due(HOUR)
    directory, summary = observer.events[-1][1:]
    assert directory == "/upload"
    assert summary == (
        "1 sessions found, 1 expired and removed, 0 closed records removed, "
        "1 remains of a crash removed, not ours and left: 'no\\ttes.txt'"
    )


def _age_closed_record(stage: StoreStage, session_id: SessionId, seconds: float) -> None:
    [found] = [
        leftover
        for leftover in stage.leftovers(LeftoverKind.CLOSED_RECORD)
        if leftover.name.endswith(str(session_id))
    ]
    stage.age_leftover(found, seconds)
