"""The queue of one user: jobs are made, worked on by priority, and taken out again.

The rule of this file: whoever changes a job holds its claim, or leaves a word (``wishes``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event
from uuid import uuid4

from bits_server.client.addresses import is_usable
from bits_server.client.bandwidth import RateLimiter, Stop
from bits_server.client.clock import SYSTEM_CLOCK, Clock
from bits_server.client.credentials import KnownPasswords, Passwords
from bits_server.client.job_store import JobNotFound, JobStore, default_folder
from bits_server.client.jobs import (
    AT_WORK,
    Job,
    JobState,
    JobType,
    Priority,
    Progress,
    Settings,
)
from bits_server.client.local_file import describe
from bits_server.client.reply import put_in_place
from bits_server.client.running import Running, run_one
from bits_server.client.scheduling import Choices, run_jobs
from bits_server.client.wishes import CANCEL, PRIORITY, SUSPEND, Wishes

KEPT_DAYS = 7  # a job that is over stays in the list so long

OnProgress = Callable[[Job], None]


class WrongState(Exception):
    """What was asked for is impossible in the state of the job (BG_E_INVALID_STATE)."""


class Queue:
    """The jobs in a folder. May be shared between threads, and with other processes."""

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        passwords: Passwords | None = None,
        rate_limit: int | None = None,
        environment: Mapping[str, str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """``folder``: None is that of ``bits-client``, by BITS_CLIENT_STATE and XDG_STATE_HOME of
        ``environment``; where that is None, too, of the process.

        ``passwords``: where credentials come from; None: there are none. ``rate_limit``: bytes per
        second of all jobs together. Raises StoreUnusable.
        """
        self.store = JobStore(Path(folder) if folder else default_folder(environment))
        self._passwords = passwords or KnownPasswords()
        self._limiter = RateLimiter(rate_limit)
        self._clock = clock
        self._wishes = Wishes(self.store, self._passwords, clock)
        self._has_removed_old = False

    def create(
        self,
        file: str | Path,
        url: str,
        *,
        name: str = "",
        priority: Priority = Priority.NORMAL,
        reply: str | Path | None = None,
        settings: Settings | None = None,
    ) -> Job:
        """A new job, QUEUED. ``reply``: where the reply of an upload-reply job goes.

        Raises OSError where the file cannot be looked at or is no regular file, and where there is
        no folder for the reply; ValueError where the URL is none of http
        or https, or where it, or that of the proxy, has a user or password in it: both are kept.
        """
        chosen = settings or Settings()
        if not is_usable(url):
            raise ValueError("the URL is none of http or https, or has a user in it")
        if "@" in (chosen.proxy or ""):
            raise ValueError("the URL of the proxy has a user in it")
        if reply is not None:
            os.stat(os.path.dirname(os.path.abspath(reply)))
        now = self._clock.now()
        local = describe(str(file))
        job = Job(
            id=f"{{{str(uuid4()).upper()}}}",
            name=name or os.path.basename(local.path),
            type=JobType.UPLOAD if reply is None else JobType.UPLOAD_REPLY,
            file=local,
            url=url,
            created=now,
            modified=now,
            priority=priority,
            reply_path=None if reply is None else os.path.abspath(reply),
            progress=Progress(total=local.size),
            settings=chosen,
        )
        self.store.add(job)
        self._remove_old()
        return job

    def jobs(self) -> list[Job]:
        """All of them, the oldest first, with those that are over."""
        return [self._as_it_is(job) for job in self.store.all()]

    def job(self, name: str) -> Job:
        """By id, by the beginning of one, or by name. Raises JobNotFound."""
        wanted = name.strip("{}").upper()
        jobs = self.jobs()
        found = [job for job in jobs if job.id.strip("{}") == wanted]
        found = found or [job for job in jobs if job.name == name and not job.state.is_final]
        found = found or [job for job in jobs if len(wanted) >= 4 and job.id[1:].startswith(wanted)]
        if len(found) != 1:
            how_many = "no job" if not found else f"{len(found)} jobs"
            raise JobNotFound(f"{how_many} of the id or name {name!r}")
        return found[0]

    def unfinished(self, file: str | Path, url: str, reply: str | Path | None) -> Job | None:
        """The newest job for the same file and URL that is not over."""
        path = os.path.abspath(file)
        reply_path = None if reply is None else os.path.abspath(reply)
        for job in reversed(self.store.all(state for state in JobState if not state.is_final)):
            if (job.file.path, job.url, job.reply_path) == (path, url, reply_path):
                return self._as_it_is(job)
        return None

    def suspend(self, job_id: str) -> Job:
        """Stop working on it until ``resume``. Raises JobNotFound, WrongState."""
        _refuse_final(self.store.get(job_id), "suspended")
        return self._wishes.tell(job_id, SUSPEND)

    def resume(self, job_id: str) -> Job:
        """Work on it (again), at once; after an error too. Raises JobNotFound, WrongState."""

        def resumed(job: Job) -> Job:
            _refuse_final(job, "resumed")
            if job.state is JobState.TRANSFERRED:
                return job
            now = self._clock.now()
            return job.changed(
                now, state=JobState.QUEUED, next_try=None, error=None, failing_since=None
            )

        self.store.want(job_id, "")
        with self.store.claim(job_id) as is_ours:
            return self.store.change(job_id, resumed) if is_ours else self.store.get(job_id)

    def cancel(self, job_id: str) -> Job:
        """End it, here and on the server. Raises JobNotFound, WrongState."""
        _refuse_final(self.store.get(job_id), "cancelled")
        return self._wishes.tell(job_id, CANCEL)

    def complete(self, job_id: str) -> Job:
        """Take a TRANSFERRED job out of the queue; its reply gets its name.

        Raises JobNotFound, WrongState, OSError.
        """

        def completed(job: Job) -> Job:
            if job.state is JobState.ACKNOWLEDGED:
                return job
            if job.state is not JobState.TRANSFERRED:
                raise WrongState(f"the job is {job.state.value}, and not yet TRANSFERRED")
            if job.reply_path is not None:
                put_in_place(job.reply_path, job.id)
            return job.changed(self._clock.now(), state=JobState.ACKNOWLEDGED)

        with self.store.claim(job_id) as is_ours:
            if not is_ours:  # somebody cancels it just now, or is not yet done with it
                raise WrongState("somebody works on the job")
            return self.store.change(job_id, completed)

    def reset(self) -> list[Job]:
        """Cancel every job that is not over."""
        return [self.cancel(job.id) for job in self.jobs() if not job.state.is_final]

    def set_priority(self, job_id: str, priority: Priority) -> Job:
        """Counts at once: whoever works on it begins anew. Raises JobNotFound, WrongState."""
        _refuse_final(self.store.get(job_id), "changed")
        return self._wishes.tell(job_id, PRIORITY + priority.name)

    def run(
        self,
        *,
        parallel: int = 3,
        forever: bool = False,
        waits: bool = True,
        completes: bool = False,
        stop: Stop | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Work through the queue by priority, ``parallel`` jobs at a time, until nothing is left.

        ``waits``: for jobs whose retry delay has not passed. ``forever``: for new jobs too.
        ``completes``: each job as soon as it is TRANSFERRED; where that fails, it stays so.
        ``on_progress`` is called from other threads; what it raises ends all this. Raises
        StoreUnusable.
        """

        def complete(job_id: str) -> None:
            with suppress(OSError, WrongState):
                job = self.complete(job_id)
                if on_progress is not None:
                    on_progress(job)

        choices = Choices(parallel, waits, forever, complete if completes else None)
        run_jobs(self._running(on_progress), choices, stop or Event())

    def run_job(
        self,
        job_id: str,
        *,
        waits: bool = True,
        stop: Stop | None = None,
        on_progress: OnProgress | None = None,
    ) -> Job:
        """Work on one job alone, and wait out what passes by itself.

        Raises JobNotFound, StoreUnusable.
        """
        return run_one(self._running(on_progress), job_id, waits=waits, stop=stop or Event())

    def _running(self, on_progress: OnProgress | None) -> Running:
        settle = self._wishes.settle
        return Running(self.store, self._passwords, self._limiter, self._clock, settle, on_progress)

    def _as_it_is(self, job: Job) -> Job:
        """QUEUED, where whoever worked on it died."""
        is_left = job.state in AT_WORK and not self.store.is_claimed(job.id)
        return replace(job, state=JobState.QUEUED) if is_left else job

    def _remove_old(self) -> None:
        if self._has_removed_old:
            return
        self._has_removed_old = True
        long_ago = self._clock.now() - timedelta(days=KEPT_DAYS)
        for job in self.store.all(state for state in JobState if state.is_final):
            if job.modified < long_ago:
                self.store.remove(job.id)


def _refuse_final(job: Job, what: str) -> None:
    if job.state.is_final:
        raise WrongState(f"the job is {job.state.value}, and cannot be {what} any more")
