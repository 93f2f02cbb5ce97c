"""An upload client for the BITS Upload Protocol, with the habits of the Windows service.

It shares ``protocol`` with the server and nothing else. The public API is what ``__all__`` names::

    from bits_server.client import Queue

    queue = Queue()
    job = queue.create("report.pdf", "https://files.example.com/upload/report.pdf")
    job = queue.run_job(job.id, on_progress=lambda job: print(job.progress.transferred))
    queue.complete(job.id)
"""

from bits_server.client.credentials import Credentials, KnownPasswords, Passwords
from bits_server.client.job_store import JobNotFound, StoreUnusable
from bits_server.client.jobs import (
    ErrorContext,
    Job,
    JobError,
    JobState,
    JobType,
    LocalFile,
    Priority,
    Progress,
    Settings,
)
from bits_server.client.queue import Queue, WrongState

__all__ = [
    "Credentials",
    "ErrorContext",
    "Job",
    "JobError",
    "JobNotFound",
    "JobState",
    "JobType",
    "KnownPasswords",
    "LocalFile",
    "Passwords",
    "Priority",
    "Progress",
    "Queue",
    "Settings",
    "StoreUnusable",
    "WrongState",
]
