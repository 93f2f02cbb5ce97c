"""The commands for jobs that are worked on later, by ``bits-client run``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bits_server.client.command.display import page, print_json, table, terminal_columns
from bits_server.client.command.options import (
    Size,
    Url,
    job_options,
    open_queue,
    priority_of,
    settings_of,
)
from bits_server.client.command.stopping import interruption
from bits_server.client.command.words import (
    FAILED,
    NOT_FINISHED,
    Failure,
    Unfinished,
    error_text,
    file_failure,
    printable,
    say,
)
from bits_server.client.job_store import JobNotFound
from bits_server.client.jobs import Job, JobState
from bits_server.client.queue import Queue, WrongState

AS_JSON = click.option("--json", "as_json", is_flag=True, help="As JSON, for scripts.")


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
    queue = open_queue(folder)
    settings = settings_of(options)
    keys: dict[str, Any] = {"name": name, "priority": priority_of(priority), "reply": reply}
    try:
        job = queue.create(file, url, settings=settings, **keys)
    except OSError as error:
        raise file_failure(error) from None
    except ValueError as error:
        raise Failure(str(error)) from None
    if as_json:
        print_json(job)
    else:
        say(job.id)


@click.command("list")
@click.option("--all", "with_final", is_flag=True, help="Also those that are over.")
@AS_JSON
@click.pass_obj
def list_jobs(folder: Path, with_final: bool, as_json: bool) -> None:
    """Show the jobs, the oldest first."""
    jobs = open_queue(folder).jobs()
    jobs = [job for job in jobs if with_final or not job.state.is_final]
    if as_json:
        print_json(jobs)
    else:
        say(table(jobs, terminal_columns()) if jobs else "There are no jobs.")


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
    _done(folder, job, lambda queue, found: queue.suspend(found.id), as_json=as_json, stops=True)


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
    _done(folder, job, lambda queue, found: queue.cancel(found.id), as_json=as_json, stops=True)


@click.command()
@click.argument("job")
@AS_JSON
@click.pass_obj
def complete(folder: Path, job: str, as_json: bool) -> None:
    """Take a JOB out of the queue that is TRANSFERRED; its reply gets its name."""
    _done(folder, job, lambda queue, found: queue.complete(found.id), as_json=as_json)


@click.command()
@click.confirmation_option(prompt="Cancel every job?")
@AS_JSON
@click.pass_obj
def reset(folder: Path, as_json: bool) -> None:
    """Cancel every job."""
    cancelled = open_queue(folder).reset()
    if as_json:
        print_json(cancelled)
    else:
        say(f"{len(cancelled)} jobs cancelled")


@click.command()
@click.option("--parallel", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option("--limit", type=Size(), help="Bytes per second of all jobs together, like 1MiB.")
@click.option("--forever", is_flag=True, help="Go on, and wait for new jobs: as a service.")
@click.option("--no-wait", is_flag=True, help="Try each job once, and wait for no retry delay.")
@click.option("--complete", "completes", is_flag=True, help="Complete each job when it is there.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print the jobs that were worked on when all is over."
)
@click.pass_obj
def run(
    folder: Path,
    parallel: int,
    limit: int | None,
    forever: bool,
    no_wait: bool,
    completes: bool,
    as_json: bool,
) -> None:
    """Work through the queue by priority, until nothing is left to do.

    Ends with 0 where every job is transferred, with 1 where one is in ERROR, and with 3 where one
    is not finished.
    """
    queue = open_queue(folder, rate_limit=limit)
    said: dict[str, JobState] = {}

    def show(job: Job) -> None:
        if said.get(job.id) is not job.state:
            said[job.id] = job.state
            reason = f"  {error_text(job.error)}" if job.error is not None else ""
            if not as_json:
                say(_line(job) + printable(reason), is_aside=True)

    if completes and forever:
        _complete_all(queue, show)
    with interruption() as stop:
        queue.run(
            parallel=parallel,
            forever=forever,
            waits=not no_wait,
            completes=completes,
            stop=stop,
            on_progress=show,
        )
    failures = _complete_all(queue, show) if completes else 0
    jobs = [job for job in queue.jobs() if job.id in said]
    if as_json:
        print_json(jobs)
    if stop.is_set():
        sys.exit(0 if forever else stop.exit_code)
    if failures or any(job.state is JobState.ERROR for job in jobs):
        sys.exit(FAILED)
    if any(job.state.is_runnable for job in jobs):
        sys.exit(NOT_FINISHED)


QUEUE_COMMANDS = [create, list_jobs, info, suspend, resume, cancel, complete, reset, run]


def _complete_all(queue: Queue, show: Callable[[Job], None]) -> int:
    """What an earlier run has left, or could not be completed. Returns how many still cannot."""
    failures = 0
    for job in queue.jobs():
        if job.state is JobState.TRANSFERRED:
            try:
                show(queue.complete(job.id))
            except WrongState:
                pass  # another process does it, or it was cancelled
            except OSError as error:
                failures += 1
                say(f"{printable(job.name)}: {file_failure(error).message}", is_aside=True)
    return failures


def _line(job: Job) -> str:
    return f"{job.id[1:9]}  {job.state.value}  {printable(job.name)}"


def _done(
    folder: Path,
    name: str,
    act: Callable[[Queue, Job], Job],
    *,
    as_json: bool,
    shows: bool = False,
    stops: bool = False,
) -> None:
    """``stops``: whoever works on the job has to let go of it."""
    queue = open_queue(folder)
    try:
        job = act(queue, queue.job(name))
    except (JobNotFound, WrongState) as error:
        raise Failure(str(error)) from None
    except OSError as error:
        raise file_failure(error) from None
    if as_json:
        print_json(job)
    else:
        say(page(job) if shows else _line(job))
    if stops and job.state.is_runnable:
        raise Unfinished("it is still worked on: it stops when its connection lets go")
