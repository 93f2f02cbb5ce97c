"""What a server used: processor time and memory of all its processes, from the kernel."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path

_SCHEDULED = 2  # the kernel's CPUCLOCK_SCHED


def tree_of(root: int) -> frozenset[int]:
    """A process and all its living descendants."""
    found = {root}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for task in Path(f"/proc/{pid}/task").iterdir():
            children = {int(child) for child in (task / "children").read_text().split()}
            waiting += children - found
            found |= children
    return frozenset(found)


def cpu_seconds(pids: frozenset[int]) -> float:
    """User and system time so far, of all threads, ended ones included; to the nanosecond.

    The clock is the one of clock_getcpuclockid(3); /proc/PID/stat has only hundredths.
    """
    return sum(time.clock_gettime((~pid << 3) | _SCHEDULED) for pid in pids)


def are_idle(pids: frozenset[int]) -> bool:
    """Whether they used next to no processor time for a tenth of a second."""
    before = cpu_seconds(pids)
    threading.Event().wait(0.1)
    return cpu_seconds(pids) - before < 0.005


def forget_peak(pids: frozenset[int]) -> None:
    """Begin anew to look for the highest resident memory."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_bytes(pids: frozenset[int]) -> int:
    """The highest resident memory of each process, added up; shared pages count each time."""
    total = 0
    for pid in pids:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.M)
        assert found is not None
        total += int(found[1]) * 1024
    return total
