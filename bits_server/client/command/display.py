"""Jobs for the eyes, as a table or a page; and for scripts as JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
from tqdm.utils import disp_len, disp_trim

from bits_server.client.command.words import error_text, printable, size_text
from bits_server.client.errors import name_of
from bits_server.client.job_store import as_plain
from bits_server.client.jobs import Job

_HEADINGS = ("ID", "STATE", "PRIORITY", "DONE", "OF", "NAME")
_NUMBERS = ("DONE", "OF")
_DROPPED_FIRST = ("PRIORITY", "OF", "DONE")  # where the terminal is narrow
_LEAST_OF_NAME = 8


def print_json(value: Job | Sequence[Job]) -> None:
    plain = [_plain(job) for job in value] if isinstance(value, Sequence) else _plain(value)
    # As ASCII: a name may hold what no terminal should see, or what is no text at all.
    click.echo(json.dumps(plain, indent=2))


def _plain(job: Job) -> dict[str, Any]:
    """With the words that people and other commands use, and not the numbers of the store."""
    plain = as_plain(job) | {"priority": job.priority.name.lower()}
    if job.error is not None:
        plain["error"] |= {
            "hresult": f"0x{job.error.hresult:08X}",
            "name": name_of(job.error.hresult),
            "context": job.error.context.name,
        }
    return plain


def terminal_columns() -> int | None:
    """Of the terminal that standard output is; None where it is none."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns
    except (OSError, ValueError):
        return None


def percent(job: Job) -> str:
    progress = job.progress
    if progress.total == 0:
        return "100 %" if progress.is_uploaded else "0 %"
    return f"{100 * progress.transferred // progress.total} %"


def table(jobs: Sequence[Job], columns: int | None = None) -> str:
    """A line for each job. ``columns``: of the terminal, into which it has to fit, if any."""
    rows = [dict(zip(_HEADINGS, _HEADINGS, strict=True)), *map(_row_of, jobs)]
    widths = {name: max(disp_len(row[name]) for row in rows) for name in _HEADINGS}
    shown = list(_HEADINGS)
    for name in _DROPPED_FIRST:
        if columns is not None and _width_of(shown, widths) > columns:
            shown.remove(name)
    lines = []
    for row in rows:
        cells = [
            _padded(row[name], widths[name], is_number=name in _NUMBERS) for name in shown[:-1]
        ]
        line = "  ".join([*cells, row["NAME"]]).rstrip()
        if columns is not None and disp_len(line) > columns:
            line = disp_trim(line, columns - 1) + "…"
        lines.append(line)
    return "\n".join(lines)


def _row_of(job: Job) -> dict[str, str]:
    return {
        "ID": job.id[1:9],
        "STATE": job.state.value,
        "PRIORITY": job.priority.name.lower(),
        "DONE": percent(job),
        "OF": size_text(job.progress.total),
        "NAME": printable(job.name),
    }


def _width_of(shown: Sequence[str], widths: dict[str, int]) -> int:
    """With something of the name."""
    return sum(widths[name] + 2 for name in shown if name != "NAME") + _LEAST_OF_NAME


def _padded(text: str, width: int, *, is_number: bool) -> str:
    blank = " " * (width - disp_len(text))
    return blank + text if is_number else text + blank


def page(job: Job) -> str:
    """All of a job that its owner wants to know."""
    settings, progress = job.settings, job.progress
    rows = [
        ("id", job.id),
        ("name", job.name),
        ("type", job.type.value),
        ("state", job.state.value),
        ("priority", job.priority.name.lower()),
        ("file", job.file.path),
        ("URL", job.url),
        ("done", f"{progress.transferred} of {progress.total} bytes, {percent(job)}"),
    ]
    if job.reply_path is not None:
        known = "" if progress.reply_total is None else f" of {progress.reply_total}"
        rows.append(("reply", f"{job.reply_path}, {progress.reply_transferred}{known}"))
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
    return "\n".join(f"{name.ljust(width)}  {printable(value)}" for name, value in rows)


def _when(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
