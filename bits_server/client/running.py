"""Working on one job: the attempts, and who may interrupt them.

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
from bits_server.client.job_store import JobStore, StoreUnusable
from bits_server.client.jobs import AT_WORK, Job, JobState, Priority
from bits_server.client.transfer import Transfer

LOOK_SECONDS = 0.4
GRACE_SECONDS = 2.0  # for an answer that is on its way, before the connection is cut


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
        """One attempt; None where another process is at it. Raises JobNotFound, StoreUnusable."""
        with self.store.claim(job_id) as is_ours:
            if not is_ours:
                return None
            job = self.settle(job_id)
            if job.state.is_runnable and not stop.is_set():
                self._transfer(job, stop)
            return self.settle(job_id)

    def yields(self, job: Job) -> bool:
        """Whether it is of low priority, and somebody works on one that is not."""
        if job.priority is not Priority.LOW:
            return False
        at_work = self.store.all(AT_WORK)
        return any(
            other.priority < Priority.LOW and self.store.is_claimed(other.id)
            for other in at_work
            if other.id != job.id
        )

    def seconds_to_wait(self, job: Job) -> float:
        """For the retry delay; no longer than that where the clock was set back."""
        if job.state is not JobState.TRANSIENT_ERROR or job.next_try is None:
            return 0.0
        left = (job.next_try - self.clock.now()).total_seconds()
        return max(0.0, min(left, (job.next_try - job.modified).total_seconds()))

    def _transfer(self, job: Job, stop: Stop) -> None:
        halt, is_over = threading.Event(), threading.Event()
        transfer = Transfer(
            job,
            save=self._keep,
            passwords=self.passwords,
            limiter=self.limiter,
            clock=self.clock,
            on_sent=self.on_progress,
        )

        def watch() -> None:
            while not is_over.wait(LOOK_SECONDS):
                if transfer.lines.is_overdue:
                    transfer.lines.cut()
                    return
                if stop.is_set() or self._is_unwanted(job):
                    halt.set()
                    if not is_over.wait(GRACE_SECONDS):
                        transfer.lines.cut()
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            transfer.run(halt)
        finally:
            is_over.set()
            watcher.join()

    def _is_unwanted(self, job: Job) -> bool:
        try:
            return bool(self.store.wanted(job.id)) or self.yields(job)
        except StoreUnusable:
            return False  # whoever works on the job finds out by himself

    def _keep(self, job: Job) -> None:
        self.store.save(job)
        if self.on_progress is not None:
            self.on_progress(job)


def run_one(running: Running, job_id: str, *, waits: bool, stop: Stop) -> Job:
    """Until the job is TRANSFERRED, waits for somebody, or is to stop."""
    while True:
        job = running.store.get(job_id)
        while job.state.is_runnable and running.yields(job):
            if stop.is_set() or stop.wait(LOOK_SECONDS):
                return job
            job = running.store.get(job_id)
        done = running.attempt(job_id, stop)
        job = done or running.store.get(job_id)
        while job.state.is_runnable:
            if not waits and (done is None or job.state is JobState.TRANSIENT_ERROR):
                return job
            pause = (
                LOOK_SECONDS if done is None else min(LOOK_SECONDS, running.seconds_to_wait(job))
            )
            if stop.is_set() or stop.wait(pause):
                return job
            job = running.store.get(job_id)
            if running.on_progress is not None:
                running.on_progress(job)
            if running.store.wanted(job_id) or not running.seconds_to_wait(job):
                break
        else:
            return job
