"""What somebody wants of a job that another process may be working on.

The rule of this file: a wish is a word in the store; whoever holds the job's claim, or takes it
next, does what it says.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Event

from bits_server.client.clock import Clock
from bits_server.client.conversation import Conversation
from bits_server.client.credentials import Passwords
from bits_server.client.errors import SessionLost, TransferFailed
from bits_server.client.job_store import JobStore
from bits_server.client.jobs import Job, JobState, Priority
from bits_server.client.reply import hidden_path
from bits_server.client.transport import TimeLimits, Transport

SUSPEND, CANCEL, PRIORITY = "suspend", "cancel", "priority "
PATIENCE_SECONDS = 30.0  # for whoever works on a job to let go of it
# The server removes the session by itself, in time: whoever cancels need not wait for it long.
OF_CANCEL = TimeLimits(connecting=10.0, sending=10.0, answer=30.0)


class Wishes:
    """Concerning the jobs of one store."""

    def __init__(self, store: JobStore, passwords: Passwords, clock: Clock) -> None:
        self._store = store
        self._passwords = passwords
        self._clock = clock

    def tell(self, job_id: str, wanted: str) -> Job:
        """Whoever works on it lets go in some seconds; where nobody does, it is done here.

        Returns the job as it is then, or after ``PATIENCE_SECONDS``.
        """
        self._store.want(job_id, wanted)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with self._store.claim(job_id) as is_ours:
                if is_ours:
                    return self.settle(job_id)
            if not self._store.wanted(job_id) or time.monotonic() > deadline:
                return self._store.get(job_id)
            Event().wait(0.05)

    def settle(self, job_id: str) -> Job:
        """Do what somebody wants of a job. Only under its claim."""
        wanted = self._store.wanted(job_id)
        if not wanted:
            return self._store.get(job_id)
        if wanted == CANCEL:
            self._end_on_server(self._store.get(job_id))
        job = self._store.change(job_id, lambda job: self._settled(job, wanted))
        self._store.heard(job_id, wanted)
        return job

    def _settled(self, job: Job, wanted: str) -> Job:
        now = self._clock.now()
        if job.state.is_final:
            return job
        if wanted == CANCEL:
            return job.changed(now, state=JobState.CANCELLED, session=None)
        if wanted == SUSPEND and job.state is not JobState.TRANSFERRED:
            return job.changed(now, state=JobState.SUSPENDED, next_try=None)
        if wanted.startswith(PRIORITY):
            return job.changed(now, priority=Priority[wanted.removeprefix(PRIORITY)])
        return job

    def _end_on_server(self, job: Job) -> None:
        if job.state.is_final:
            return
        if job.session is not None:
            with (
                Transport(job.settings, self._passwords, limits=OF_CANCEL) as transport,
                suppress(TransferFailed, SessionLost),
            ):
                Conversation(transport, job.url).cancel_session(job.session)
        if job.reply_path is not None:
            with suppress(OSError):  # it may lie in a folder that nobody may write to any more
                hidden_path(job.reply_path, job.id).unlink()
