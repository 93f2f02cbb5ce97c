"""The progress of one job: a line that moves on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm
from tqdm.utils import disp_len, disp_trim

from bits_server.client.command.words import (
    duration_text,
    error_text,
    printable,
    say,
    size_text,
)
from bits_server.client.jobs import Job, JobState

LINE_SECONDS = 5.0  # without a terminal a line so often
LONGEST_NAME = 24

# (the least columns for it, what the numbers take of them, the form): the wider, the more is said.
_FORMS = (
    (70, 44, "{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} {rate_fmt} {remaining} left"),
    (52, 41, "{desc} {percentage:.0f}% of {total_fmt}B, {rate_fmt}, {remaining} left"),
    (30, 24, "{desc} {percentage:.0f}% {rate_fmt} {remaining}"),
    (0, 0, "{percentage:.0f}% {rate_fmt} {remaining}"),
)


class _Meter(tqdm):  # type: ignore[type-arg]
    """Fits into the columns that the terminal has at this moment."""

    @property
    def format_dict(self) -> Any:
        values = super().format_dict
        columns = values["ncols"] or 80
        _, numbers, values["bar_format"] = next(form for form in _FORMS if columns >= form[0])
        left = min(LONGEST_NAME, columns - numbers)
        name = values["prefix"].removesuffix(": ")
        values["prefix"] = name if disp_len(name) <= left else f"{disp_trim(name, left - 1)}…"
        return values


class Bar:
    """``is_quiet``: show nothing. ``waits``: say when a transient error is tried again."""

    def __init__(self, job: Job, *, is_quiet: bool = False, waits: bool = True) -> None:
        self._lock = threading.RLock()
        self._is_quiet = is_quiet
        self._waits = waits
        self._began = time.monotonic()
        self._began_with = job.progress.transferred
        self._said_at = float("-inf")
        self._said = ""
        self._state: JobState | None = None
        self._is_reply = False
        self._meter = self._made(job.progress.total, job.progress.transferred, job.name)

    def _made(self, total: int | None, initial: int, name: str) -> _Meter | None:
        if self._is_quiet or not sys.stderr.isatty():
            return None
        return _Meter(
            total=total,
            initial=initial,
            desc=printable(name),
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
        if self._meter is not None:
            self._meter.close()

    @contextmanager
    def out_of_the_way(self) -> Iterator[None]:
        """While something else is written to the terminal."""
        with self._lock, nullcontext() if self._meter is None else _Meter.external_write_mode():
            yield

    def show(self, job: Job) -> None:
        """May be called from any thread."""
        with self._lock:
            if self._is_quiet:
                return
            self._say_state(job)
            progress = job.progress
            if progress.reply_total is not None and not self._is_reply:
                self._is_reply = True
                self._began, self._began_with = time.monotonic(), 0
                if self._meter is not None:
                    self._meter.close()
                    self._meter = self._made(progress.reply_total, 0, "reply")
            done = progress.reply_transferred if self._is_reply else progress.transferred
            total = progress.reply_total if self._is_reply else progress.total
            if self._meter is not None:
                self._meter.update(done - self._meter.n)
            else:
                self._say_progress(done, total or 0, is_last=job.state is JobState.TRANSFERRED)

    def _say_state(self, job: Job) -> None:
        if job.state is self._state:
            return
        self._state = job.state
        if job.state is JobState.TRANSIENT_ERROR and job.error is not None and self._waits:
            wait = 0.0 if job.next_try is None else (job.next_try - job.modified).total_seconds()
            with self.out_of_the_way():
                say(f"{error_text(job.error)}; next try in {duration_text(wait)}", is_aside=True)

    def _say_progress(self, done: int, total: int, *, is_last: bool) -> None:
        now = time.monotonic()
        if not is_last and now - self._said_at < LINE_SECONDS:
            return
        self._said_at = now
        text = f"{size_text(done)} of {size_text(total)}"
        if (seconds := now - self._began) > 1:
            rate = (done - self._began_with) / seconds
            text += f", {size_text(max(rate, 0.0))}/s"
            if rate > 0 and done < total:
                text += f", {duration_text((total - done) / rate)} left"
        if text != self._said:
            self._said = text
            say(text, is_aside=True)
