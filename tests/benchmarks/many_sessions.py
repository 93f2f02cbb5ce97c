"""A Fragment where many sessions are open, against one where few are: two servers in one run."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.sweep import fill, fragment_seconds
from tests.support.live_server import LiveServer

FEW = 10


def compare(scratch: Path, many: int, rounds: int, fragments: int) -> dict[int, float]:
    """The median time of a 64 KiB Fragment in seconds, by the number of open sessions."""
    seconds: dict[int, list[float]] = {FEW: [], many: []}
    with ExitStack() as stack:
        servers = {}
        for count in seconds:
            folder = scratch / f"sessions-{count}"
            folder.mkdir()
            fill(folder, count, are_expired=False)
            server = LiveServer(folder, log_file=scratch / f"sessions-{count}.log")
            servers[count] = stack.enter_context(server)
        for number in range(-1, rounds):
            for count, server in servers.items():
                measured = fragment_seconds(server, f"round-{number}", fragments)
                if number >= 0:  # the first round warms up
                    seconds[count] += measured
    return {count: statistics.median(measured) for count, measured in seconds.items()}
