"""``bits-client transfer``: one file, now, with a bar; the same command goes on after a crash."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from bits_server.client.command.display import Bar, error_text, print_json
from bits_server.client.command.options import (
    Url,
    job_options,
    open_queue,
    priority_of,
    settings_of,
)
from bits_server.client.command.stopping import NOT_FINISHED, Interruption, interruption
from bits_server.client.jobs import Job, JobState, Priority, Settings
from bits_server.client.local_file import describe
from bits_server.client.queue import Queue

FAILED = 1


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
    queue = open_queue(folder, asks=not as_json)
    chosen = settings_of(options)
    job = _job_for(queue, file, url, name, priority_of(priority), reply, chosen)
    with interruption() as stop, Bar(job, is_quiet=as_json) as bar:
        job = queue.run_job(job.id, waits=not no_wait, stop=stop, on_progress=bar.show)
    if job.state is JobState.TRANSFERRED:
        try:
            job = queue.complete(job.id)
        except OSError as error:
            raise click.ClickException(f"{reply}: {error.strerror}; {_again(file)}") from None
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
    begun = queue.unfinished(file, url, reply)
    if begun is not None and describe(file) != begun.file:
        queue.cancel(begun.id)
        begun = None
    if begun is None:
        return queue.create(file, url, name=name, priority=priority, reply=reply, settings=settings)
    if queue.store.is_claimed(begun.id):
        raise click.ClickException("another process uploads this file to this URL already")

    def chosen(job: Job) -> Job:
        return replace(job, settings=settings, priority=priority)

    queue.store.change(begun.id, chosen)
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
        click.echo(text, err=True)
    return code


def _again(file: str) -> str:
    return f"the same command goes on with {file}"
