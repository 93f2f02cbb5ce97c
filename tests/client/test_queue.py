"""The queue: order, stopping, and what several processes do with the same jobs."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from bits_server.client import (
    Job,
    JobNotFound,
    JobState,
    Priority,
    Queue,
    Settings,
    StoreUnusable,
    WrongState,
)
from bits_server.client.reply import hidden_path, put_in_place
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault
from tests.support.waiting import wait_until

NO_PROXY = Settings(proxy="", retry_delay=5.0)


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(100_000))
    return path


def made(queue: Queue, iis: FakeIis, file: Path, name: str = "f.bin", **keys: object) -> Job:
    settings = replace(NO_PROXY, **keys.pop("settings", {}))  # type: ignore[arg-type]
    return queue.create(
        file,
        f"{iis.url}/upload/{name}",
        name=name,
        settings=settings,
        **keys,  # type: ignore[arg-type]
    )


class Background:
    """``queue.run`` in a thread."""

    def __init__(self, run: Callable[[threading.Event], object]) -> None:
        self.stop = threading.Event()
        self._thread = threading.Thread(target=run, args=(self.stop,))

    def __enter__(self) -> Background:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def test_a_job_from_its_making_to_its_end(queue: Queue, file: Path) -> None:
    seen: list[Job] = []
    with FakeIis() as iis:
        job = made(queue, iis, file)
        assert job.state is JobState.QUEUED
        queue.run(on_progress=seen.append)
        assert iis.files == {"/upload/f.bin": file.read_bytes()}
    assert queue.job(job.id).state is JobState.TRANSFERRED
    assert {each.state for each in seen} >= {JobState.CONNECTING, JobState.TRANSFERRING}
    assert queue.complete(job.id).state is JobState.ACKNOWLEDGED
    assert queue.complete(job.id).state is JobState.ACKNOWLEDGED, "again is no harm"
    for act in (queue.cancel, queue.suspend, queue.resume):
        with pytest.raises(WrongState, match="ACKNOWLEDGED"):
            act(job.id)


def test_the_order_is_by_priority_and_then_by_age(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        for name, priority in (
            ("low", Priority.LOW),
            ("first", Priority.NORMAL),
            ("second", Priority.NORMAL),
            ("foreground", Priority.FOREGROUND),
            ("high", Priority.HIGH),
        ):
            made(queue, iis, file, name, priority=priority)
        queue.run(parallel=1)
        assert [path.rpartition("/")[2] for path in iis.files] == [
            *("foreground", "high", "first", "second", "low")
        ]


def test_several_at_a_time(queue: Queue, file: Path) -> None:
    gate = threading.Barrier(3, timeout=20)
    with FakeIis() as iis:
        iis.script("Create-Session", *[Fault(before=gate.wait)] * 3)
        for number in range(3):
            made(queue, iis, file, str(number))
        queue.run(parallel=3)
        assert len(iis.files) == 3


def test_a_more_important_job_takes_the_place_of_another(queue: Queue, file: Path) -> None:
    first, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        first.set()
        go_on.wait(20)

    with FakeIis() as iis:
        iis.script("Create-Session", Fault(before=wait))
        slow = made(queue, iis, file, "slow", settings={"rate_limit": 60_000})
        with Background(lambda stop: queue.run(parallel=1, stop=stop)):
            assert first.wait(20)
            made(queue, iis, file, "urgent", priority=Priority.FOREGROUND)
            go_on.set()
            wait_until(lambda: queue.job(slow.id).state is JobState.TRANSFERRED)
        assert [path.rpartition("/")[2] for path in iis.files] == ["urgent", "slow"]
        assert iis.count("Create-Session") == 2, "the first went on where it stopped"


class TestAJobThatIsWorkedOn:
    """By one object of Queue, while another one, as another process, wants something of it."""

    @pytest.fixture
    def other(self, tmp_path: Path) -> Queue:
        return Queue(tmp_path / "state")

    def test_is_suspended_and_resumed(self, queue: Queue, other: Queue, file: Path) -> None:
        with FakeIis() as iis:
            job = made(queue, iis, file, settings={"rate_limit": 50_000})
            with Background(lambda stop: queue.run(forever=True, stop=stop)):
                wait_until(lambda: other.job(job.id).state is JobState.TRANSFERRING)
                assert other.suspend(job.id).state is JobState.SUSPENDED
                assert not other.store.is_claimed(job.id)
                unlimited = replace(NO_PROXY, rate_limit=None)
                other.store.change(job.id, lambda job: replace(job, settings=unlimited))
                assert other.resume(job.id).state is JobState.QUEUED
                wait_until(lambda: other.job(job.id).state is JobState.TRANSFERRED)
            assert iis.files == {"/upload/f.bin": file.read_bytes()}

    def test_is_cancelled_here_and_on_the_server(
        self, queue: Queue, other: Queue, file: Path
    ) -> None:
        with FakeIis() as iis:
            job = made(queue, iis, file, settings={"rate_limit": 50_000})
            with Background(lambda stop: queue.run(stop=stop)):
                wait_until(lambda: iis.count("Create-Session") == 1)
                assert other.cancel(job.id).state is JobState.CANCELLED
            assert iis.kinds()[-1] == "Cancel-Session"
            assert iis.sessions == {}

    def test_is_not_worked_on_twice(self, queue: Queue, other: Queue, file: Path) -> None:
        with FakeIis() as iis:
            job = made(queue, iis, file, settings={"rate_limit": 100_000})
            with Background(lambda stop: queue.run(stop=stop)):
                wait_until(lambda: queue.store.is_claimed(job.id))
                assert other.run_job(job.id).state is JobState.TRANSFERRED, "it waits"
            assert iis.count("Create-Session") == 1


def test_a_word_that_nobody_heard_is_heard_by_the_next(queue: Queue, file: Path) -> None:
    """Whoever worked on the job died before it looked."""
    with FakeIis() as iis:
        job = made(queue, iis, file)
        queue.store.want(job.id, "suspend")
        queue.run(waits=False)
        assert iis.requests == []
    assert queue.job(job.id).state is JobState.SUSPENDED


def test_what_a_dead_process_left_goes_on(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        job = made(queue, iis, file)
        queue.store.save(job.changed(job.created, state=JobState.TRANSFERRING))
        queue.run()
        assert len(iis.files) == 1


def test_a_transient_error_is_waited_out(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        iis.script("Create-Session", Fault(status=503))
        job = made(queue, iis, file)
        queue.run(waits=False)
        failed = queue.job(job.id)
        assert failed.state is JobState.TRANSIENT_ERROR
        soon = datetime.now(UTC) + timedelta(seconds=0.3)
        queue.store.save(replace(failed, next_try=soon))
        queue.run()
        assert datetime.now(UTC) >= soon
    assert queue.job(job.id).state is JobState.TRANSFERRED


def test_resume_does_not_wait_for_the_retry_delay(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        iis.script("Create-Session", Fault(status=503), Fault(status=403))
        job = made(queue, iis, file)
        queue.run(waits=False)
        queue.resume(job.id)
        queue.run(waits=False)
        assert queue.job(job.id).state is JobState.ERROR
        assert queue.resume(job.id).error is None
        queue.run(waits=False)
    assert queue.job(job.id).state is JobState.TRANSFERRED


def test_a_reply_gets_its_name_when_the_job_is_completed(
    queue: Queue, file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "reply.bin"
    with FakeIis(reply=b"a reply") as iis:
        job = made(queue, iis, file, reply=place)
        queue.run()
    assert not place.exists()
    with pytest.raises(WrongState):
        queue.complete(made(queue, iis, file, "other").id)
    queue.complete(job.id)
    assert place.read_bytes() == b"a reply"
    assert {path.name for path in tmp_path.iterdir()} == {"state", "local.bin", "reply.bin"}


def test_a_job_is_found_by_its_id_its_beginning_and_its_name(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        job, other = made(queue, iis, file, "a"), made(queue, iis, file, "b")
    for name in (job.id, job.id[1:-1].lower(), job.id[1:9], "a"):
        assert queue.job(name).id == job.id
    for name in ("", "c", "{}", job.id[1:3]):
        with pytest.raises(JobNotFound):
            queue.job(name)
    assert queue.unfinished(file, other.url, None) == other
    assert [job.state for job in queue.reset()] == [JobState.CANCELLED] * 2
    assert queue.unfinished(file, other.url, None) is None


def sent_by(iis: FakeIis) -> list[str]:
    """Whose Fragments came, in order."""
    return [each.target.rpartition("/")[2] for each in iis.requests if each.kind == "Fragment"]


class TestLowPriority:
    """It waits while somebody works on a job that is not low, whoever that is."""

    def test_a_low_job_does_not_begin_beside_others(self, queue: Queue, file: Path) -> None:
        with FakeIis() as iis:
            made(queue, iis, file, "low", priority=Priority.LOW)
            settings = {"rate_limit": 100_000, "fragment_size_limit": 10_000}
            made(queue, iis, file, "normal", settings=settings)
            queue.run(parallel=2)
            assert sent_by(iis) == [*["normal"] * 10, "low"]

    def test_a_low_job_stops_for_one_of_another_process(
        self, queue: Queue, file: Path, tmp_path: Path
    ) -> None:
        other = Queue(tmp_path / "state")
        slow = {"rate_limit": 40_000, "fragment_size_limit": 10_000}
        with FakeIis() as iis:
            low = made(queue, iis, file, "low", priority=Priority.LOW, settings=slow)
            with Background(lambda stop: queue.run_job(low.id, stop=stop)):
                wait_until(lambda: iis.count("Fragment") >= 1)
                normal = made(other, iis, file, "normal", settings=slow)
                assert other.run_job(normal.id).state is JobState.TRANSFERRED
                begun = sent_by(iis).index("normal")
                wait_until(lambda: queue.job(low.id).state is JobState.TRANSFERRED)
            order = sent_by(iis)
            last = len(order) - order[::-1].index("normal")
            # It looks twice a second, and what is on its way is not called back.
            assert order[begun:last].count("low") <= 4, order
            assert order[last:].count("low") >= 3, order
            assert iis.count("Create-Session") == 2, "it went on where it was"
            assert {each: len(content) for each, content in iis.files.items()} == {
                "/upload/low": 100_000,
                "/upload/normal": 100_000,
            }

    def test_low_jobs_do_not_wait_for_each_other(self, queue: Queue, file: Path) -> None:
        gate = threading.Barrier(2, timeout=20)
        with FakeIis() as iis:
            iis.script("Create-Session", *[Fault(before=gate.wait)] * 2)
            for name in ("a", "b"):
                made(queue, iis, file, name, priority=Priority.LOW)
            queue.run(parallel=2)
            assert len(iis.files) == 2

    def test_nobody_waits_for_a_job_that_waits_itself(self, queue: Queue, file: Path) -> None:
        with FakeIis() as iis:
            iis.script("Create-Session", Fault(status=503))
            waiting = made(queue, iis, file, "normal")
            queue.run(waits=False)
            low = made(queue, iis, file, "low", priority=Priority.LOW)
            assert queue.run_job(low.id).state is JobState.TRANSFERRED
            assert queue.job(waiting.id).state is JobState.TRANSIENT_ERROR


def test_who_gave_way_is_tried_again_though_nobody_waits(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        iis.script("Fragment", Fault(before=lambda: made(queue, iis, file, "f", priority=TOP)))
        slow = {"rate_limit": 50_000, "fragment_size_limit": 10_000}
        made(queue, iis, file, "slow", settings=slow)
        queue.run(parallel=1, waits=False)
        assert list(iis.files) == ["/upload/f", "/upload/slow"]


TOP = Priority.FOREGROUND


def test_a_new_priority_counts_at_once(queue: Queue, file: Path, tmp_path: Path) -> None:
    other = Queue(tmp_path / "state")
    with FakeIis() as iis:
        job = made(queue, iis, file, settings={"rate_limit": 50_000})
        with Background(lambda stop: queue.run(stop=stop)):
            wait_until(lambda: iis.count("Create-Session") == 1)
            assert other.set_priority(job.id, Priority.LOW).priority is Priority.LOW
            wait_until(lambda: queue.job(job.id).state is JobState.TRANSFERRED)
        assert queue.job(job.id).priority is Priority.LOW
        queue.complete(job.id)
        with pytest.raises(WrongState):
            queue.set_priority(job.id, TOP)


def test_what_a_dead_process_left_is_shown_as_queued(queue: Queue, file: Path) -> None:
    with FakeIis() as iis:
        job = made(queue, iis, file)
    queue.store.save(job.changed(job.created, state=JobState.TRANSFERRING))
    assert queue.job(job.id).state is JobState.QUEUED
    with queue.store.claim(job.id):
        assert queue.job(job.id).state is JobState.TRANSFERRING


class TestCompleting:
    def test_a_crash_after_the_reply_got_its_name(
        self, queue: Queue, file: Path, tmp_path: Path
    ) -> None:
        with FakeIis(reply=b"a reply") as iis:
            job = made(queue, iis, file, reply=tmp_path / "reply")
            queue.run()
        put_in_place(str(tmp_path / "reply"), job.id)
        assert queue.complete(job.id).state is JobState.ACKNOWLEDGED
        assert (tmp_path / "reply").read_bytes() == b"a reply"

    def test_a_reply_that_is_gone_is_told(self, queue: Queue, file: Path, tmp_path: Path) -> None:
        with FakeIis(reply=b"a reply") as iis:
            job = made(queue, iis, file, reply=tmp_path / "reply")
            queue.run()
        hidden_path(str(tmp_path / "reply"), job.id).unlink()
        with pytest.raises(FileNotFoundError):
            queue.complete(job.id)
        assert queue.job(job.id).state is JobState.TRANSFERRED

    def test_while_somebody_is_at_it(self, queue: Queue, file: Path) -> None:
        with FakeIis() as iis:
            job = made(queue, iis, file)
            queue.run()
        with queue.store.claim(job.id), pytest.raises(WrongState):
            queue.complete(job.id)

    def test_as_soon_as_it_is_there(self, queue: Queue, file: Path) -> None:
        seen: list[Job] = []
        with FakeIis() as iis:
            job = made(queue, iis, file)
            run = partial(queue.run, forever=True, completes=True, on_progress=seen.append)
            with Background(lambda stop: run(stop=stop)):
                wait_until(lambda: queue.job(job.id).state is JobState.ACKNOWLEDGED)
        assert seen[-1].state is JobState.ACKNOWLEDGED

    def test_no_folder_for_the_reply_makes_no_job(
        self, queue: Queue, file: Path, tmp_path: Path
    ) -> None:
        with FakeIis() as iis, pytest.raises(FileNotFoundError):
            made(queue, iis, file, reply=tmp_path / "missing" / "reply")
        assert queue.jobs() == []


class TestWhatIsNoErrorOfAJob:
    """Ends the work on all of them, and none is lost."""

    def test_what_on_progress_raises(self, queue: Queue, file: Path) -> None:
        def fail(job: Job) -> None:
            if job.name == "bad":
                raise ZeroDivisionError

        with FakeIis() as iis:
            slow = made(queue, iis, file, "slow", settings={"rate_limit": 20_000})
            made(queue, iis, file, "bad")
            with pytest.raises(ZeroDivisionError):
                queue.run(on_progress=fail)
            assert queue.job(slow.id).state is JobState.QUEUED

    def test_a_store_that_cannot_be_written(
        self, queue: Queue, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FakeIis() as iis:
            job = made(queue, iis, file)
            save, full = queue.store.save, StoreUnusable("the disk is full")

            def fail(job: Job) -> None:
                if job.progress.transferred:
                    raise full
                save(job)

            for run in (queue.run, partial(queue.run_job, job.id)):
                with monkeypatch.context() as patch:
                    patch.setattr(queue.store, "save", fail)
                    with pytest.raises(StoreUnusable):
                        run()
            assert queue.run_job(job.id).state is JobState.TRANSFERRED
            assert iis.files == {"/upload/f.bin": file.read_bytes()}


def test_thousands_of_jobs_are_listed_and_looked_for_in_no_time(queue: Queue, file: Path) -> None:
    """Each was parsed anew several times a second: with 300 of them that took all the time."""
    with FakeIis() as iis:
        job = made(queue, iis, file)
        with queue.store._transaction() as database:
            (text,) = database.execute("select job from jobs").fetchone()
            for number in range(3000):
                key = f"{{{number}}}"
                row = (key, "2026", "QUEUED", text.replace(job.id, key))
                database.execute(
                    "insert into jobs (id, created, state, job) values (?, ?, ?, ?)", row
                )
    queue.jobs()
    began = time.process_time()
    for _ in range(10):
        assert len(queue.jobs()) == 3001
        assert queue.unfinished(file, "http://other/", None) is None
    assert time.process_time() - began < 5.0, "half a millisecond for each took 30 s"
