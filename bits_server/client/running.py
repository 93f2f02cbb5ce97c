"""Working on jobs: one, or several at a time by their priority.

The rule of this file: a job is worked on by one thread of one process, which holds its claim, and
looks once or twice a second whether somebody wants it to stop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bits_server.client.bandwidth import RateLimiter, Stop
from bits_server.client.clock import Clock
from bits_server.client.credentials import Passwords
from bits_server.client.job_store import JobNotFound, JobStore
from bits_server.client.jobs import Job, JobState
from bits_server.client.transfer import Transfer

LOOK_SECONDS = 0.4


@dataclass(frozen=True)
class Running:
    """What it takes to work on jobs."""

    store: JobStore
    passwords: Passwords
    limiter: RateLimiter
    clock: Clock
    settle: Callable[[str], Job]
    on_progress: Callable[[Job], None] | None = None

    def attempt(self, job_id: str, stop: Stop) -> Job | None:
        """One attempt; None where another process is at it. Raises JobNotFound."""
        with self.store.claim(job_id) as is_ours:
            if not is_ours:
                return None
            job = self.settle(job_id)
            if job.state.is_runnable and not stop.is_set():
                self._transfer(job, stop)
            return self.settle(job_id)

    def _transfer(self, job: Job, stop: Stop) -> None:
        halt, is_over = threading.Event(), threading.Event()
        watcher = threading.Thread(target=self._watch, args=(job.id, stop, halt, is_over))
        watcher.start()
        try:
            Transfer(
                job,
                save=self._keep,
                passwords=self.passwords,
                limiter=self.limiter,
                clock=self.clock,
                on_sent=self.on_progress,
            ).run(halt)
        finally:
            is_over.set()
            watcher.join()

    def _watch(self, job_id: str, stop: Stop, halt: threading.Event, over: threading.Event) -> None:
        while not over.wait(LOOK_SECONDS):
            if stop.is_set() or self.store.wanted(job_id):
                halt.set()
                return

    def _keep(self, job: Job) -> None:
        self.store.save(job)
        if self.on_progress is not None:
            self.on_progress(job)


def run_one(running: Running, job_id: str, *, waits: bool, stop: Stop) -> Job:
    """Until the job is TRANSFERRED, waits for somebody, or is to stop."""
    while True:
        done = running.attempt(job_id, stop)
        job = done or running.store.get(job_id)
        while job.state.is_runnable and waits:
            pause = (
                LOOK_SECONDS if done is None else min(LOOK_SECONDS, _seconds_to_wait(running, job))
            )
            if stop.is_set() or stop.wait(pause):
                return job
            job = running.store.get(job_id)
            if running.on_progress is not None:
                running.on_progress(job)
            if running.store.wanted(job_id) or not _seconds_to_wait(running, job):
                break
        else:
            return job


def run_jobs(running: Running, *, parallel: int, forever: bool, waits: bool, stop: Stop) -> None:
    """The queue, by priority; the oldest job first among equals."""
    at_work: dict[str, _Worker] = {}
    tried: set[str] = set()
    while not stop.is_set():
        for job_id in [each for each, worker in at_work.items() if not worker.is_alive()]:
            at_work.pop(job_id).join()
        jobs = [job for job in running.store.all() if job.state.is_runnable]
        if not waits:
            jobs = [job for job in jobs if job.id not in tried or job.id in at_work]
        due = sorted(
            (job for job in jobs if job.id not in at_work and not _seconds_to_wait(running, job)),
            key=lambda job: (job.priority, job.created),
        )
        for job in due:
            if len(at_work) < parallel:
                if not running.store.is_claimed(job.id):
                    tried.add(job.id)
                    at_work[job.id] = _Worker(running, job)
                    at_work[job.id].start()
            else:
                _give_way(at_work, job)
                break
        if not at_work and not forever and not [job for job in jobs if waits or job in due]:
            return
        stop.wait(LOOK_SECONDS / 4)
    for worker in at_work.values():
        worker.stop.set()
    for worker in at_work.values():
        worker.join()


class _Worker(threading.Thread):
    """One attempt at one job."""

    def __init__(self, running: Running, job: Job) -> None:
        super().__init__(name=f"job {job.id}")
        self.stop = threading.Event()
        self.priority = job.priority
        self._running = running
        self._job_id = job.id

    def run(self) -> None:
        try:
            self._running.attempt(self._job_id, self.stop)
        except JobNotFound:
            pass  # somebody has removed it


def _give_way(at_work: dict[str, _Worker], job: Job) -> None:
    """Somebody of a higher priority waits: the least important job stops, and is QUEUED."""
    least = max(at_work.values(), key=lambda worker: worker.priority)
    if least.priority > job.priority:
        least.stop.set()


def _seconds_to_wait(running: Running, job: Job) -> float:
    if job.state is not JobState.TRANSIENT_ERROR or job.next_try is None:
        return 0.0
    return max(0.0, (job.next_try - running.clock.now()).total_seconds())
