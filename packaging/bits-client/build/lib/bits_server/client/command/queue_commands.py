"""The commands for jobs that are worked on later, by ``bits-client run``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bits_server.client.command.display import error_text, page, print_json, table
from bits_server.client.command.options import (
    Size,
    Url,
    job_options,
    open_queue,
    priority_of,
    settings_of,
)
from bits_server.client.command.stopping import interruption
from bits_server.client.job_store import JobNotFound
from bits_server.client.jobs import Job, JobState
from bits_server.client.queue import Queue, WrongState

AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")
FAILED, NOT_FINISHED = 1, 3


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("url", type=Url())
@job_options
@AS_JSON
@click.pass_obj
def create(
    folder: Path,
    /,
    file: str,
    url: str,
    name: str,
    priority: str,
    reply: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Put the upload of FILE to URL into the queue, and print the job's id."""
    queue = open_queue(folder, asks=False)
    job = queue.create(
        file,
        url,
        name=name,
        priority=priority_of(priority),
        reply=reply,
        settings=settings_of(options),
    )
    if as_json:
        print_json(job)
    else:
        click.echo(job.id)


@click.command("list")
@click.option("--all", "with_final", is_flag=True, help="Also those that are over.")
@AS_JSON
@click.pass_obj
def list_jobs(folder: Path, with_final: bool, as_json: bool) -> None:
    """Show the jobs, the oldest first."""
    jobs = open_queue(folder, asks=False).jobs()
    jobs = [job for job in jobs if with_final or not job.state.is_final]
    if as_json:
        print_json(jobs)
    else:
        click.echo(table(jobs) if jobs else "There are no jobs.")


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def info(folder: Path, job: str, as_json: bool) -> None:
    """Show all of a JOB: an id, its first letters, or a name."""
    _done(folder, job, lambda _, found: found, as_json=as_json, shows=True)


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def suspend(folder: Path, job: str, as_json: bool) -> None:
    """Stop working on a JOB until it is resumed."""
    _done(folder, job, lambda queue, found: queue.suspend(found.id), as_json=as_json)


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def resume(folder: Path, job: str, as_json: bool) -> None:
    """Go on with a JOB that was suspended, or has met an error."""
    _done(folder, job, lambda queue, found: queue.resume(found.id), as_json=as_json)


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def cancel(folder: Path, job: str, as_json: bool) -> None:
    """End a JOB, here and on the server; its file stays."""
    _done(folder, job, lambda queue, found: queue.cancel(found.id), as_json=as_json)


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def complete(folder: Path, job: str, as_json: bool) -> None:
    """Take a JOB out of the queue that is TRANSFERRED; its reply gets its name."""
    _done(folder, job, lambda queue, found: queue.complete(found.id), as_json=as_json)


@click.command()
@click.confirmation_option(prompt="Cancel every job?")
@click.pass_obj
def reset(folder: Path) -> None:
    """Cancel every job."""
    cancelled = open_queue(folder, asks=False).reset()
    click.echo(f"{len(cancelled)} jobs cancelled")


@click.command()
@click.option("--parallel", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option("--limit", type=Size(), help="Bytes per second of all jobs together, like 1MiB.")
@click.option("--forever", is_flag=True, help="Go on, and wait for new jobs: as a service.")
@click.option("--no-wait", is_flag=True, help="Try each job once, and wait for no retry delay.")
@click.option("--complete", "completes", is_flag=True, help="Complete each job when it is there.")
@click.pass_obj
def run(
    folder: Path, parallel: int, limit: int | None, forever: bool, no_wait: bool, completes: bool
) -> None:
    """Work through the queue by priority, until nothing is left to do.

    Ends with 0 where every job is transferred, with 1 where one is in ERROR, and with 3 where one
    is not finished.
    """
    queue = open_queue(folder, asks=False, rate_limit=limit)
    said: dict[str, JobState] = {}

    def show(job: Job) -> None:
        if said.get(job.id) is not job.state:
            said[job.id] = job.state
            reason = f"  {error_text(job.error)}" if job.error is not None else ""
            click.echo(f"{job.id[1:9]}  {job.state.value}  {job.name}{reason}", err=True)

    with interruption() as stop:
        queue.run(
            parallel=parallel, forever=forever, waits=not no_wait, stop=stop, on_progress=show
        )
    if completes:
        for job in queue.jobs():
            if job.state is JobState.TRANSFERRED:
                show(queue.complete(job.id))
    if stop.is_set():
        sys.exit(0 if forever else stop.exit_code)
    states = {job.state for job in queue.jobs() if job.id in said}
    if JobState.ERROR in states:
        sys.exit(FAILED)
    if any(state.is_runnable for state in states):
        sys.exit(NOT_FINISHED)


QUEUE_COMMANDS = [create, list_jobs, info, suspend, resume, cancel, complete, reset, run]


def _done(
    folder: Path,
    name: str,
    act: Callable[[Queue, Job], Job],
    *,
    as_json: bool,
    shows: bool = False,
) -> None:
    queue = open_queue(folder, asks=False)
    try:
        job = act(queue, queue.job(name))
    except (JobNotFound, WrongState) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    if as_json:
        print_json(job)
    else:
        click.echo(page(job) if shows else f"{job.id[1:9]}  {job.state.value}  {job.name}")
