"""Jobs on disk: what is saved is read again, and one process at a time works on a job."""

from __future__ import annotations

import json
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bits_server.client.job_store import JobNotFound, JobStore, StoreUnusable, default_folder
from bits_server.client.jobs import (
    ErrorContext,
    Job,
    JobError,
    JobState,
    JobType,
    LocalFile,
    Priority,
    Progress,
    SessionOnServer,
    Settings,
)

MOMENTS = st.datetimes(min_value=datetime(2000, 1, 1), timezones=st.just(UTC))
TEXTS = st.text(max_size=20)
NUMBERS = st.integers(0, 2**63)
JOBS = st.builds(
    Job,
    id=st.uuids().map(lambda each: f"{{{str(each).upper()}}}"),
    name=TEXTS,
    type=st.sampled_from(JobType),
    file=st.builds(LocalFile, path=TEXTS, size=NUMBERS, mtime_ns=NUMBERS),
    url=TEXTS,
    created=MOMENTS,
    modified=MOMENTS,
    priority=st.sampled_from(Priority),
    state=st.sampled_from(JobState),
    reply_path=st.none() | TEXTS,
    progress=st.builds(Progress, transferred=NUMBERS, total=NUMBERS, reply_total=st.none()),
    error=st.none()
    | st.builds(
        JobError,
        hresult=st.integers(0, 2**32 - 1),
        context=st.sampled_from(ErrorContext),
        text=TEXTS,
        http_status=st.none() | st.integers(100, 599),
    ),
    settings=st.builds(Settings, no_proxy=st.lists(TEXTS, max_size=3).map(tuple)),
    session=st.none()
    | st.builds(SessionOnServer, session_id=TEXTS, host_id_until=st.none() | MOMENTS),
    next_try=st.none() | MOMENTS,
    failing_since=st.none() | MOMENTS,
)


def any_job(**changes: Any) -> Job:
    now = datetime.now(UTC)
    file = LocalFile("/f", 5, 1)
    job = Job("{A}", "name", JobType.UPLOAD, file, "http://h/f", now, now)
    return replace(job, **changes)


@given(JOBS)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=40,
    deadline=None,  # each waits for the disk several times
)
def test_what_is_saved_is_read_again(tmp_path: Path, job: Job) -> None:
    store = JobStore(tmp_path)
    store.remove(job.id)
    store.add(job)
    assert JobStore(tmp_path).get(job.id) == job
    changed = job.changed(job.modified, state=JobState.QUEUED)
    store.save(changed)
    assert [each for each in store.all() if each.id == job.id] == [changed]


def test_a_job_of_another_version_has_defaults_for_what_it_lacks(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add(any_job())
    with sqlite3.connect(tmp_path / "jobs.sqlite3") as database:
        (text,) = database.execute("select job from jobs").fetchone()
        plain = json.loads(text)
        del plain["error_count"]
        plain["of_a_newer_version"] = {"x": 1}
        database.execute("update jobs set job = ?", (json.dumps(plain),))
    database.close()
    assert store.get("{A}") == any_job(
        created=store.get("{A}").created, modified=store.get("{A}").modified
    )


def test_a_newer_layout_is_left_alone(tmp_path: Path) -> None:
    JobStore(tmp_path)
    database = sqlite3.connect(tmp_path / "jobs.sqlite3")
    database.execute("pragma user_version = 99")
    database.close()
    with pytest.raises(StoreUnusable, match="newer bits-client"):
        JobStore(tmp_path)


def test_what_is_no_folder_and_what_is_no_database_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match="cannot be kept"):
        JobStore(tmp_path / "file")
    (tmp_path / "jobs.sqlite3").write_text("no database" * 100)
    with pytest.raises(StoreUnusable, match="cannot be kept"):
        JobStore(tmp_path)


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "a" / "b")
    store.add(any_job())
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b" / "jobs.sqlite3").stat().st_mode) == 0o600


def test_a_change_is_on_the_disk_before_it_counts(tmp_path: Path) -> None:
    """SQLite's FULL: the power may fail."""
    with JobStore(tmp_path)._transaction() as database:
        assert database.execute("pragma synchronous").fetchone() == (2,)
        assert database.execute("pragma journal_mode").fetchone() == ("delete",)


def test_a_job_that_is_gone(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    with pytest.raises(JobNotFound):
        store.get("{A}")
    with pytest.raises(JobNotFound):
        store.save(any_job())
    assert store.wanted("{A}") == "cancel"
    store.remove("{A}")


def test_a_claim_is_for_one_process_and_ends_with_it(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add(any_job())
    program = (
        "import sys\nfrom pathlib import Path\nfrom bits_server.client.job_store import JobStore\n"
        f"with JobStore(Path({str(tmp_path)!r})).claim('{{A}}') as is_ours:\n"
        "    print(is_ours, flush=True)\n    sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdin is not None
    try:
        assert other.stdout.readline() == b"True\n"
        assert store.is_claimed("{A}")
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
        other.stdin.close()
    with store.claim("{A}") as is_ours:
        assert is_ours
        assert store.is_claimed("{A}")
    assert not store.is_claimed("{A}")


def test_a_word_is_taken_back_by_who_did_it_and_a_later_one_stays(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add(any_job())
    store.want("{A}", "suspend")
    store.want("{A}", "cancel")
    store.heard("{A}", "suspend")
    assert store.wanted("{A}") == "cancel"
    store.heard("{A}", "cancel")
    assert store.wanted("{A}") == ""


def test_jobs_of_some_states(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    for state in JobState:
        store.add(any_job(id=f"{{{state.value}}}", state=state))
    assert len(store.all()) == len(JobState)
    some = (JobState.ERROR, JobState.QUEUED)
    assert {job.state for job in store.all(some)} == set(some)
    assert store.all(()) == []


def test_who_only_looks_refuses_nobody_a_claim(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add(any_job())
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            store.is_claimed("{A}")

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            with store.claim("{A}") as is_ours:
                assert is_ours
    finally:
        is_over.set()
        looking.join()


def test_a_full_disk_hides_no_job_and_loses_none(small_disk: Path) -> None:
    store = JobStore(small_disk / "state")
    store.add(any_job())
    filled = small_disk / "filled"
    with suppress(OSError), open(filled, "wb", 0) as file:
        while True:
            file.write(bytes(1 << 10))
    again = JobStore(small_disk / "state")
    assert len(again.all()) == 1
    changes: list[Callable[[], None]] = [
        lambda: again.save(any_job(name="other")),
        lambda: again.add(any_job(id="{B}")),
        lambda: again.want("{A}", "suspend"),
    ]
    for change in changes:
        with pytest.raises(StoreUnusable, match="full"):
            change()
    filled.unlink()
    assert [job.name for job in again.all()] == ["name"]
    again.save(any_job(name="other"))
    assert again.get("{A}").name == "other"


def test_the_usual_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    monkeypatch.delenv("BITS_CLIENT_STATE", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/of-the-process")
    assert default_folder() == Path("/of-the-process/bits-client")
    assert default_folder({}) == Path("/home/alice/.local/state/bits-client")
    assert default_folder({"XDG_STATE_HOME": "/x"}) == Path("/x/bits-client")
    assert default_folder({"XDG_STATE_HOME": "relative"}) == default_folder({})
    assert default_folder({"BITS_CLIENT_STATE": "/y", "XDG_STATE_HOME": "/x"}) == Path("/y")
