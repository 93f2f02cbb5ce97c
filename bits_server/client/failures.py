"""What becomes of a job whose attempt has failed: it waits, or it gives up."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from bits_server.client.errors import BG_E_NO_PROGRESS, TransferFailed
from bits_server.client.jobs import Job, JobError, JobState

SHORTEST_RETRY_SECONDS = 5.0


def after_failure(job: Job, failure: TransferFailed, now: datetime) -> dict[str, Any]:
    """What changes of the job. ``now``: UTC.

    A transient error is tried again after the retry delay, until no byte has come through for the
    no-progress time-out, which begins with the first error, as on Windows.
    """
    changes: dict[str, Any] = {
        "state": JobState.ERROR,
        "error": failure.error,
        "error_count": job.error_count + 1,
    }
    if not failure.is_transient:
        return changes
    since = changes["failing_since"] = job.failing_since or now
    if (now - since).total_seconds() >= job.settings.no_progress_timeout:
        return {**changes, "error": _no_progress(failure, since)}
    delay = max(SHORTEST_RETRY_SECONDS, job.settings.retry_delay)
    changes |= {"state": JobState.TRANSIENT_ERROR, "next_try": now + timedelta(seconds=delay)}
    session = job.session
    if session is not None and session.host_id_timeout is not None:
        # The clock of the host id runs from its first failure on [MC-BUP] 3.1.5.1.7.
        until = session.host_id_until or now + timedelta(seconds=session.host_id_timeout)
        changes["session"] = replace(session, host_id_until=until)
    return changes


def _no_progress(failure: TransferFailed, since: datetime) -> JobError:
    error = failure.error
    when = f"{since:%Y-%m-%d %H:%M} UTC"
    text = f"no byte came through since the error of {when}; last of all {error.text}"
    return JobError(BG_E_NO_PROGRESS, error.context, text, error.http_status)
