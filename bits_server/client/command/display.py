"""Jobs for the eyes, as a bar that moves, a table or a page; and for scripts as JSON."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import click
from tqdm import tqdm

from bits_server.client.errors import name_of
from bits_server.client.job_store import as_plain
from bits_server.client.jobs import Job, JobError, JobState

LINE_SECONDS = 5.0  # without a terminal a line so often


def print_json(value: Job | Sequence[Job]) -> None:
    plain = [as_plain(job) for job in value] if isinstance(value, Sequence) else as_plain(value)
    click.echo(json.dumps(plain, indent=2, ensure_ascii=False))


def size_text(size: float) -> str:
    """Bytes in words: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def error_text(error: JobError) -> str:
    """The error with its number, name and remedy."""
    return f"0x{error.hresult:08X} {name_of(error.hresult)}: {error.text}"


def percent(job: Job) -> str:
    progress = job.progress
    if progress.total == 0:
        return "100 %" if progress.is_uploaded else "0 %"
    return f"{100 * progress.transferred // progress.total} %"


def table(jobs: Sequence[Job]) -> str:
    """A line for each job, no wider than the terminal where that can be."""
    rows = [("ID", "STATE", "PRIORITY", "DONE", "OF", "NAME")]
    for job in jobs:
        done, size = percent(job), size_text(job.progress.total)
        priority = job.priority.name.lower()
        rows.append((job.id[1:9], job.state.value, priority, done, size, job.name))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    left = max(8, shutil.get_terminal_size((100, 24)).columns - sum(widths) - 10)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in (3, 4) else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        name = row[5] if len(row[5]) <= left else row[5][: left - 1] + "…"
        lines.append("  ".join([*cells, _printable(name)]).rstrip())
    return "\n".join(lines)


def page(job: Job) -> str:
    """All of a job that its owner wants to know."""
    settings, progress = job.settings, job.progress
    rows = [
        ("id", job.id),
        ("name", _printable(job.name)),
        ("type", job.type.value),
        ("state", job.state.value),
        ("priority", job.priority.name.lower()),
        ("file", _printable(job.file.path)),
        ("URL", job.url),
        ("done", f"{progress.transferred} of {progress.total} bytes, {percent(job)}"),
    ]
    if job.reply_path is not None:
        known = "" if progress.reply_total is None else f" of {progress.reply_total}"
        rows.append(("reply", f"{_printable(job.reply_path)}, {progress.reply_transferred}{known}"))
    if job.error is not None:
        rows.append(("error", error_text(job.error)))
        status = job.error.http_status
        context = f"{job.error.context.value} {job.error.context.name}"
        rows.append(("context", context + ("" if status is None else f", HTTP status {status}")))
    rows += [("errors", str(job.error_count)), ("created", _when(job.created))]
    rows += [("modified", _when(job.modified))]
    if job.next_try is not None:
        rows.append(("next try", _when(job.next_try)))
    if job.transferred_at is not None:
        rows.append(("transferred", _when(job.transferred_at)))
    limit = settings.rate_limit
    rows.append(("limit", "none" if limit is None else f"{size_text(limit)}/s"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {value}" for name, value in rows)


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _printable(text: str) -> str:
    """A file's name must not move the cursor."""
    return "".join(each if each.isprintable() else "?" for each in text)


class Bar:
    """The progress of one job: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, job: Job, *, is_quiet: bool = False) -> None:
        self._lock = threading.Lock()
        self._is_quiet = is_quiet
        self._said = float("-inf")
        self._state: JobState | None = None
        self._is_reply = False
        self._bar = self._made(job.progress.total, job.progress.transferred, job.name)

    def _made(self, total: int | None, initial: int, name: str) -> tqdm[Any] | None:
        if self._is_quiet or not sys.stderr.isatty():
            return None
        return tqdm(
            total=total,
            initial=initial,
            desc=_printable(name)[:24],
            unit="B",
            unit_scale=True,
            dynamic_ncols=True,
            file=sys.stderr,
            leave=True,
            mininterval=0.1,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, job: Job) -> None:
        """May be called from any thread."""
        with self._lock:
            if self._is_quiet:
                return
            self._say_state(job)
            progress = job.progress
            if progress.reply_total is not None and not self._is_reply:
                self._is_reply = True
                if self._bar is not None:
                    self._bar.close()
                    self._bar = self._made(progress.reply_total, 0, "reply")
            done = progress.reply_transferred if self._is_reply else progress.transferred
            total = progress.reply_total if self._is_reply else progress.total
            if self._bar is not None:
                self._bar.update(done - self._bar.n)
            elif time.monotonic() - self._said >= LINE_SECONDS:
                self._said = time.monotonic()
                click.echo(f"{size_text(done)} of {size_text(total or 0)}", err=True)

    def _say_state(self, job: Job) -> None:
        if job.state is self._state:
            return
        self._state = job.state
        if job.state is JobState.TRANSIENT_ERROR and job.error is not None:
            again = f"; next try at {_when(job.next_try)}" if job.next_try else ""
            self._say(f"{error_text(job.error)}{again}")

    def _say(self, text: str) -> None:
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            click.echo(text, err=True)
