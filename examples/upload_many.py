"""Upload every file of a folder, three at a time, and go on where an earlier run stopped.

    python examples/upload_many.py FOLDER https://files.example.com/upload

Passwords come from BITS_CLIENT_USER and BITS_CLIENT_PASSWORD.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

from bits_server.client import Job, JobState, KnownPasswords, Queue


def show(job: Job) -> None:
    """Called from the threads that upload."""
    progress = job.progress
    print(f"{job.name}: {job.state.value}, {progress.transferred} of {progress.total} bytes")


def main(folder: Path, url: str) -> int:
    queue = Queue(passwords=KnownPasswords(os.environ))
    jobs = []
    for file in sorted(path for path in folder.iterdir() if path.is_file()):
        target = f"{url.rstrip('/')}/{quote(file.name)}"
        begun = queue.unfinished(file, target, None)
        jobs.append(queue.create(file, target) if begun is None else queue.resume(begun.id))
    queue.run(parallel=3, waits=False, on_progress=show)
    failed = 0
    for job in (queue.job(each.id) for each in jobs):
        if job.state is JobState.TRANSFERRED:
            queue.complete(job.id)
        else:
            failed += 1
            print(f"{job.name}: {job.state.value}: {job.error.text if job.error else 'stopped'}")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} FOLDER URL")
    sys.exit(main(Path(sys.argv[1]), sys.argv[2]))
