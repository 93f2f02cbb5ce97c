"""Several jobs at a time, by their priority.

The rule of this file: it decides who works and who gives way; what a job has become is read from
the store, and nothing of it is kept here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from bits_server.client.bandwidth import Stop
from bits_server.client.job_store import JobNotFound
from bits_server.client.jobs import RUNNABLE, Job, JobState, Priority
from bits_server.client.running import LOOK_SECONDS, Running

Complete = Callable[[str], object]


@dataclass(frozen=True)
class Choices:
    """``waits``: for jobs whose retry delay has not passed. ``forever``: for new jobs too.
    ``complete``: what becomes of a job that is TRANSFERRED, if anything."""

    parallel: int
    waits: bool = True
    forever: bool = False
    complete: Complete | None = None


def run_jobs(running: Running, choices: Choices, stop: Stop) -> None:
    """The queue, by priority; the oldest job first among equals. Raises what a job raised."""
    round_ = _Round(running, choices)
    try:
        while not stop.is_set() and round_.goes_on():
            stop.wait(LOOK_SECONDS / 4)
    finally:
        round_.end()
    round_.reap()


class _Round:
    """The jobs that are worked on here. ``_tried``: those that have failed once."""

    def __init__(self, running: Running, choices: Choices) -> None:
        self._running = running
        self._choices = choices
        self._at_work: dict[str, _Worker] = {}
        self._tried: set[str] = set()

    def goes_on(self) -> bool:
        """Begin what can be begun; whether there is, or may be, anything left to do."""
        self.reap()
        jobs = [job for job in self._running.store.all(RUNNABLE) if self._may_try(job)]
        due = [
            job
            for job in jobs
            if job.id not in self._at_work and not self._running.seconds_to_wait(job)
        ]
        for job in sorted(due, key=lambda job: (job.priority, job.created)):
            if len(self._at_work) >= self._choices.parallel:
                self._give_way_to(job)
                break
            if not self._is_behind(job) and not self._running.store.is_claimed(job.id):
                self._begin(job)
        return bool(self._at_work or jobs or self._choices.forever)

    def reap(self) -> None:
        """Take leave of those that are done. Raises what made one fail."""
        for job_id in [each for each, worker in self._at_work.items() if not worker.is_alive()]:
            worker = self._at_work.pop(job_id)
            worker.join()
            if worker.failure is not None:
                raise worker.failure

    def end(self) -> None:
        """All stop, and are QUEUED."""
        for worker in self._at_work.values():
            worker.stop.set()
        for worker in self._at_work.values():
            worker.join()

    def _may_try(self, job: Job) -> bool:
        if self._choices.waits or job.id in self._at_work:
            return True
        if job.state is JobState.TRANSIENT_ERROR:
            return job.id not in self._tried and not self._running.seconds_to_wait(job)
        return not self._running.store.is_claimed(job.id)

    def _begin(self, job: Job) -> None:
        self._tried.add(job.id)
        self._at_work[job.id] = _Worker(self._running, job, self._choices.complete)
        self._at_work[job.id].start()

    def _is_behind(self, job: Job) -> bool:
        """Low priority yields to all others, here and in other processes."""
        if job.priority is not Priority.LOW:
            return False
        is_busy = any(worker.priority < Priority.LOW for worker in self._at_work.values())
        return is_busy or self._running.yields(job)

    def _give_way_to(self, job: Job) -> None:
        """Somebody of a higher priority waits: the least important job stops."""
        least = max(self._at_work.values(), key=lambda worker: worker.priority)
        if least.priority > job.priority:
            least.stop.set()


class _Worker(threading.Thread):
    """One attempt at one job. ``failure``: what was no error of the job's own."""

    def __init__(self, running: Running, job: Job, complete: Complete | None) -> None:
        super().__init__(name=f"job {job.id}")
        self.stop = threading.Event()
        self.priority = job.priority
        self.failure: Exception | None = None
        self._running = running
        self._job_id = job.id
        self._complete = complete

    def run(self) -> None:
        try:
            job = self._running.attempt(self._job_id, self.stop)
            if job is not None and job.state is JobState.TRANSFERRED and self._complete is not None:
                self._complete(self._job_id)
        except JobNotFound:
            pass  # somebody has removed it
        except Exception as error:
            self.failure = error
