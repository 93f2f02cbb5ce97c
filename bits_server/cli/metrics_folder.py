"""Where the worker processes of gunicorn share what they count: a folder in memory.

The rule of this file: each start of the server has a folder of its own, private and new, and counts
from zero; a worker that replaces another goes on with its counts. Whoever uses a folder holds an
flock on it, so that one which a kill left behind is known as such, and removed by the next start.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from typing import Any

from bits_server.operations.metrics import share_between_processes

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # where the client library looks
PREFIX = "bits-server-metrics-"
SHARED_MEMORY = "/dev/shm"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class MetricsFolder:
    """The folder of one server; its methods are hooks of gunicorn."""

    def __init__(self, parent: str | None = None) -> None:
        """``parent``: where the folder is made; None: in memory, or with temporary files."""
        in_memory = SHARED_MEMORY if os.path.isdir(SHARED_MEMORY) else tempfile.gettempdir()
        self._parent = parent or in_memory
        self.path = ""

    def when_ready(self, arbiter: Any) -> None:
        """Make the folder, in the master, before there are workers."""
        _remove_abandoned(self._parent)
        self.path, folder = _make_locked(self._parent)
        # gunicorn's workers may have another user than its master.
        os.fchown(folder, arbiter.cfg.uid, arbiter.cfg.gid)

    def pre_fork(self, arbiter: Any, worker: Any) -> None:
        """Number the worker to come, in the master: the lowest that no living one has."""
        taken = {getattr(each, "metrics_number", None) for each in arbiter.WORKERS.values()}
        worker.metrics_number = next(n for n in range(len(taken) + 1) if n not in taken)

    def post_fork(self, _arbiter: Any, worker: Any) -> None:
        """Share, in the worker, before the application is made."""
        os.environ[VARIABLE] = self.path
        share_between_processes(self.path, worker.metrics_number)

    def on_exit(self, _arbiter: Any) -> None:
        """Remove the folder, in the master, when all workers have ended."""
        shutil.rmtree(self.path, ignore_errors=True)


def _make_locked(parent: str) -> tuple[str, int]:
    """A new folder, and the descriptor that holds its lock until the last process has ended."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX, dir=parent)
        try:
            folder = os.open(path, _FOLDER)
        except FileNotFoundError:
            continue  # another start took it for abandoned, already
        fcntl.flock(folder, fcntl.LOCK_EX)
        if os.fstat(folder).st_nlink:
            return path, folder
        os.close(folder)  # or did so now


def _remove_abandoned(parent: str) -> None:
    for name in os.listdir(parent):
        if not name.startswith(PREFIX):
            continue
        path = os.path.join(parent, name)
        try:
            folder = os.open(path, _FOLDER)
        except OSError:
            continue  # of another user, or no folder
        try:
            if os.fstat(folder).st_uid == os.geteuid():
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            continue  # in use
        finally:
            os.close(folder)
