"""A server, or any command of ours, that kills itself with SIGKILL at a chosen step on disk.

``python -m tests.support.dying_server N SIDE MARKS COMMAND...``: the N-th call that changes the
disk is the last thing that happens, SIDE ("before" or "after") of it. The calls of all workers
count together, through the length of the file MARKS. N of 0 only counts.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

STEPS = (
    "fchmod",
    "fdatasync",
    "fsync",
    "link",
    "mkdir",
    "pwrite",
    "rename",
    "replace",
    "rmdir",
    "unlink",
)


def arm(last: int, side: str, marks: str) -> None:
    """Replace the functions of ``os`` by ones that count and die."""
    fd = os.open(marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    real_fstat, real_write = os.fstat, os.write

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            real_write(fd, b".")
            is_last = real_fstat(fd).st_size == last
            if is_last and side == "before":
                os.killpg(0, signal.SIGKILL)
            result = real(*arguments, **options)
            if is_last:
                os.killpg(0, signal.SIGKILL)
            return result

        return step

    for name in STEPS:
        setattr(os, name, dying(getattr(os, name)))


if __name__ == "__main__":
    from bits_server.cli import main
    from bits_server.web import application  # noqa: F401  # imports write caches: before we count

    arm(int(sys.argv[1]), sys.argv[2], sys.argv[3])
    main(sys.argv[4:], prog_name="bits-server")
