"""``bits-client transfer``: one file, now, with a bar; the same command goes on after a crash."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bits_server.client.command.asking import Asking
from bits_server.client.command.bar import Bar
from bits_server.client.command.display import print_json
from bits_server.client.command.options import (
    Url,
    job_options,
    open_queue,
    priority_of,
    settings_of,
)
from bits_server.client.command.stopping import Interruption, interruption
from bits_server.client.command.words import (
    FAILED,
    NOT_FINISHED,
    Failure,
    error_text,
    file_failure,
    say,
)
from bits_server.client.jobs import Job, JobState, Priority, Settings
from bits_server.client.local_file import describe
from bits_server.client.queue import Queue


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("url", type=Url())
@job_options
@click.option("--json", "as_json", is_flag=True, help="Print the job as JSON when it is over.")
@click.option("--no-wait", is_flag=True, help="Do not wait for the retry delay: end with 3.")
@click.pass_obj
def transfer(
    folder: Path,
    /,
    file: str,
    url: str,
    name: str,
    priority: str,
    reply: str | None,
    as_json: bool,
    no_wait: bool,
    **options: Any,
) -> None:
    """Upload FILE to URL, and wait for it.

    Called again with the same FILE and URL it goes on where it stopped. A FILE that has changed
    meanwhile begins anew.
    """
    asking = Asking() if Asking.is_possible() and not as_json else None
    queue = open_queue(folder, prompt=asking)
    chosen = settings_of(options)
    job = _job_for(queue, file, url, name, priority_of(priority), reply, chosen)
    with interruption() as stop, Bar(job, is_quiet=as_json, waits=not no_wait) as bar:
        if asking is not None:
            asking.bar, asking.stop = bar, stop
        job = queue.run_job(job.id, waits=not no_wait, stop=stop, on_progress=bar.show)
    if job.state is JobState.TRANSFERRED:
        try:
            job = queue.complete(job.id)
        except OSError as error:
            raise file_failure(error, f"; {_again(file)}") from None
    if as_json:
        print_json(job)
    sys.exit(_told(job, stop, is_quiet=as_json))


def _job_for(
    queue: Queue,
    file: str,
    url: str,
    name: str,
    priority: Priority,
    reply: str | None,
    settings: Settings,
) -> Job:
    """The one that was begun for the same file and URL, or a new one."""
    try:
        now = describe(file)
        begun = queue.unfinished(file, url, reply)
        if begun is not None and now != begun.file:
            queue.cancel(begun.id)
            begun = None
        if begun is None:
            keys: dict[str, Any] = {"name": name, "priority": priority, "reply": reply}
            return queue.create(file, url, settings=settings, **keys)
    except OSError as error:
        raise file_failure(error) from None
    except ValueError as error:
        raise Failure(str(error)) from None
    with queue.store.claim(begun.id) as is_ours:
        if not is_ours:
            raise Failure("another process uploads this file to this URL already")
        queue.store.change(begun.id, lambda job: replace(job, settings=settings, priority=priority))
    return queue.resume(begun.id)


def _told(job: Job, stop: Interruption, *, is_quiet: bool) -> int:
    """The exit code; and a sentence for whoever waits."""
    code, text = FAILED, f"the job is {job.state.value}"
    if job.state is JobState.ACKNOWLEDGED:
        code, text = 0, ""
    elif job.state is JobState.ERROR and job.error is not None:
        text = error_text(job.error)
    elif stop.is_set():
        code, text = stop.exit_code, f"stopped; {_again(job.file.path)}"
    elif job.state is JobState.TRANSIENT_ERROR and job.error is not None:
        code, text = NOT_FINISHED, f"{error_text(job.error)}; {_again(job.file.path)}"
    elif job.state is JobState.SUSPENDED:
        code, text = NOT_FINISHED, f"suspended; bits-client resume {job.id[1:9]}"
    if text and not is_quiet:
        say(text, is_aside=True)
    return code


def _again(file: str) -> str:
    return f"the same command goes on with {file}"
