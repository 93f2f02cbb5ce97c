"""The figures as Markdown: the machine, the goals, the tables."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bits_server.version import VERSION
from tests.benchmarks.contestants import BARE, BARE_GTHREAD, BEHIND, DIRECT, PUT
from tests.benchmarks.many_sessions import FEW
from tests.benchmarks.measurement import MIB, Figures, Workload

Results = Mapping[Workload, Mapping[str, Figures]]

EXPLANATION = """\
Each server was started once; the runs of one workload followed each other closely, server after
server, round after round. Figures are the medians of {rounds} round(s), p50 and p99 those of all
rounds together. Every stored file was compared with what was sent. CPU is user and system time of
all processes of a server (nginx and gunicorn together where both serve); the load generator shares
the processors and is not counted. Peak memory is that of the worker processes, added up; MB and GB
are powers of ten, KiB and MiB powers of two. By PUT each fragment is stored as a file of its own,
and nobody puts the pieces together. The bare application is sent the same packets, reads each body
and keeps nothing; it runs once under the worker class of this server, which serves a packet that
comes at once in the thread of the one before, and once under gunicorn's own. Files were written to
{file_system}.
"""


@dataclass(frozen=True)
class Goal:
    """``value`` is to be ``limit`` or less, or where ``is_floor`` or more."""

    text: str
    value: float
    limit: float
    is_floor: bool = False

    @property
    def is_met(self) -> bool:
        return self.value >= self.limit if self.is_floor else self.value <= self.limit


def report(
    results: Results, sessions: Mapping[int, float], rounds: int, file_system: str, command: str
) -> str:
    """All of RESULTS.md. ``sessions``: seconds of a Fragment by number of sessions."""
    parts = [
        "# What was measured\n",
        f"Made by `{command}`, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on {machine()}.\n",
        EXPLANATION.format(rounds=rounds, file_system=file_system),
        "## Goals\n",
        "\n".join(_goal_lines(results, sessions)) + "\n",
    ]
    for workload, of_server in results.items():
        parts += [_title(workload), "\n".join(_lines(workload, of_server)) + "\n"]
    return "\n".join(parts)


def machine() -> str:
    """Processors, kernel and versions; nothing that names the machine."""
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
    versions = [f"{name} {version(name)}" for name in ("gunicorn", "Werkzeug")]
    return ", ".join(
        [
            f"{os.cpu_count()} cores ({_processor()})",
            f"{platform.system()} {platform.release().split('-')[0]}",
            f"Python {platform.python_version()}",
            *versions,
            "nginx " + nginx.rpartition("/")[2].split()[0],
            f"bits-server {VERSION}",
        ]
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def goals(results: Results, sessions: Mapping[int, float]) -> Iterator[Goal]:
    """Those that these results can say something about."""
    for workload, of_server in results.items():
        if workload.is_of_small_files:
            noun = "connection" if workload.connections == 1 else "connections"
            for bare, where in ((BARE_GTHREAD, "gunicorn's own worker"), (BARE, "our worker")):
                yield Goal(
                    f"CPU of a file of {workload.title} {noun}: ratio to {BARE}, {where}",
                    of_server[DIRECT].cpu_milliseconds_per_file
                    / of_server[bare].cpu_milliseconds_per_file,
                    1.4,
                )
        elif workload.fragment_bytes == 4 * MIB and workload.connections == 8:
            for name, speed, cpu in ((DIRECT, 0.9, 1.3), (BEHIND, 0.5, 2.6)):
                ours, yardstick = of_server[name], of_server[PUT]
                yield Goal(
                    f"{name}: throughput, ratio to {PUT}",
                    ours.megabytes_per_second / yardstick.megabytes_per_second,
                    speed,
                    is_floor=True,
                )
                yield Goal(
                    f"{name}: CPU per GB, ratio to {PUT}",
                    ours.cpu_per_gigabyte / yardstick.cpu_per_gigabyte,
                    cpu,
                )
    peaks = [of_server[DIRECT].peak_megabytes for of_server in results.values()]
    yield Goal("peak memory of two workers, all workloads, MB", max(peaks), 130)
    for count, seconds in sessions.items():
        if count != FEW:
            text = f"p50 of a Fragment with {count} sessions: ratio to {FEW} sessions"
            yield Goal(text, seconds / sessions[FEW], 2)


def _goal_lines(results: Results, sessions: Mapping[int, float]) -> Iterator[str]:
    yield "| goal | limit | measured | |"
    yield "| --- | --- | --- | --- |"
    for goal in goals(results, sessions):
        bound = "at least" if goal.is_floor else "at most"
        verdict = "met" if goal.is_met else "**missed**"
        yield f"| {goal.text} | {bound} {goal.limit:g} | {goal.value:.2f} | {verdict} |"


def _title(workload: Workload) -> str:
    noun = "connection" if workload.connections == 1 else "connections"
    what = "Files" if workload.is_of_small_files else "Fragments"
    return f"## {what} of {workload.title} {noun}\n"


def _lines(workload: Workload, of_server: Mapping[str, Figures]) -> Iterator[str]:
    if workload.is_of_small_files:
        yield "| server | files/s | CPU ms/file | packets/s | p50 ms | p99 ms | peak MB |"
    else:
        yield "| server | MB/s | CPU s/GB | packets/s | p50 ms | p99 ms | peak MB |"
    yield "| --- |" + " ---: |" * 6
    for name, figures in of_server.items():
        speed = f"{figures.megabytes_per_second:.0f} | {figures.cpu_per_gigabyte:.2f}"
        if workload.is_of_small_files:
            speed = f"{figures.files_per_second:.0f} | {figures.cpu_milliseconds_per_file:.2f}"
        yield (
            f"| {name} | {speed} | {figures.packets_per_second:.0f} "
            f"| {figures.p50_milliseconds:.2f} | {figures.p99_milliseconds:.2f} "
            f"| {figures.peak_megabytes:.0f} |"
        )
