"""All servers against each other in one run: ``make bench``, or ``python -m tests.benchmarks``."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks import many_sessions
from tests.benchmarks.contestants import contestants
from tests.benchmarks.load import generator
from tests.benchmarks.measurement import (
    KIB,
    MIB,
    Bytes,
    Figures,
    Run,
    Workload,
    measure,
    of_fragments,
)
from tests.benchmarks.report import report
from tests.support.waiting import wait_until

TMPFS = Path("/dev/shm")


def workloads(*, is_quick: bool) -> list[Workload]:
    """What is sent, in the order of the report."""
    if is_quick:
        fragments = [of_fragments(64 * KIB, 2, MIB), of_fragments(4 * MIB, 8, 64 * MIB)]
        return [*fragments, Workload(2, 10, 10 * KIB, 10 * KIB)]
    return [
        *(
            of_fragments(fragment, connections, 128 * MIB if fragment < MIB else 512 * MIB)
            for fragment in (64 * KIB, MIB, 4 * MIB, 13 * MIB)
            for connections in (1, 8)
        ),
        Workload(1, 400, 10 * KIB, 10 * KIB),
        Workload(8, 100, 10 * KIB, 10 * KIB),
    ]


def run(scratch: Path, arguments: argparse.Namespace) -> str:
    """Measure everything; the report."""
    planned = workloads(is_quick=arguments.quick)
    planned = [each for each in planned if arguments.only in each.title]
    runs: dict[Workload, dict[str, list[Run]]] = {}
    source = Bytes(scratch / "source", max(each.file_bytes for each in planned))
    with (
        contestants(scratch) as servers,
        generator(max(each.connections for each in planned)) as load,
    ):
        for server in servers:
            wait_until(server.has_started)
            measure(server, Workload(8, 4, 64 * KIB, 16 * KIB), source, load)
        for workload in planned:
            runs[workload] = {server.name: [] for server in servers}
            for number in range(arguments.rounds):
                begin = number % len(servers)  # nobody always comes first, or after the same
                for server in servers[begin:] + servers[:begin]:
                    runs[workload][server.name].append(measure(server, workload, source, load))
    fragments = 20 if arguments.quick else 500
    sessions = (
        many_sessions.compare(scratch, arguments.sessions, arguments.rounds, fragments)
        if arguments.sessions
        else {}
    )
    return report(
        {
            workload: {name: Figures.of(measured) for name, measured in of_server.items()}
            for workload, of_server in runs.items()
        },
        sessions,
        arguments.rounds,
        "tmpfs" if scratch.is_relative_to(TMPFS) else "the disk",
        "make bench",
    )


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a few megabytes only: whether all of it works")
    add("--rounds", type=int, default=5, help="runs of each workload, interleaved")
    add("--only", default="", help="the workloads with this in their title, like '4 MiB, 8'")
    add("--sessions", type=int, default=100_000, help="open sessions beside a Fragment; 0: skip")
    add("--folder", type=Path, help="where to write  [default: tmpfs where there is one]")
    add("--output", type=Path, help="the file for the report  [default: standard output]")
    arguments = parser.parse_args(words)
    folder = arguments.folder
    if folder is None and os.access(TMPFS, os.W_OK):
        folder = TMPFS
    with tempfile.TemporaryDirectory(prefix="bits-bench-", dir=folder) as scratch:
        text = run(Path(scratch), arguments)
    if arguments.output is None:
        print(text)
    else:
        arguments.output.write_text(text)


if __name__ == "__main__":
    main()
