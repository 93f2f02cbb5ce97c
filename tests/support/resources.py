"""What a process holds: descriptors, threads, memory."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Resources:
    """``megabytes``: resident, of its own."""

    descriptors: int
    threads: int
    megabytes: float


def of_process(pid: int) -> Resources:
    """As it is now."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", status, re.M)}
    descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    return Resources(descriptors, found["Threads"], found["RssAnon"] / 1024)
