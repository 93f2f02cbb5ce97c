"""What a job is, as values: no disk, no network, no clock here.

A job is one file that is to reach one URL. It outlives the process and the machine: the store
writes it down, the conversation moves it from state to state. States, priorities and error contexts
have the names and numbers that administrators know from ``bitsadmin`` and Start-BitsTransfer.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, IntEnum


class JobState(Enum):
    """BG_JOB_STATE, as far as an upload knows it."""

    QUEUED = "QUEUED"
    CONNECTING = "CONNECTING"
    TRANSFERRING = "TRANSFERRING"
    SUSPENDED = "SUSPENDED"
    ERROR = "ERROR"  # fatal: ``resume`` tries it once more
    TRANSIENT_ERROR = "TRANSIENT_ERROR"  # goes on by itself after the retry delay
    TRANSFERRED = "TRANSFERRED"  # waits for ``complete``
    ACKNOWLEDGED = "ACKNOWLEDGED"
    CANCELLED = "CANCELLED"

    @property
    def is_final(self) -> bool:
        """Nothing changes the job any more."""
        return self in (JobState.ACKNOWLEDGED, JobState.CANCELLED)

    @property
    def is_runnable(self) -> bool:
        """The queue may work on it, now or after the retry delay. CONNECTING and TRANSFERRING are
        what a process that died has left."""
        return self in RUNNABLE


AT_WORK = (JobState.CONNECTING, JobState.TRANSFERRING)
RUNNABLE = (JobState.QUEUED, *AT_WORK, JobState.TRANSIENT_ERROR)


class JobType(Enum):
    """BG_JOB_TYPE."""

    UPLOAD = "upload"
    UPLOAD_REPLY = "upload-reply"


class Priority(IntEnum):
    """BG_JOB_PRIORITY: the lower number goes first."""

    FOREGROUND = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


class ErrorContext(IntEnum):
    """BG_ERROR_CONTEXT: where an error came from."""

    UNKNOWN = 1
    GENERAL_QUEUE_MANAGER = 2
    QUEUE_MANAGER_NOTIFICATION = 3
    LOCAL_FILE = 4
    REMOTE_FILE = 5
    GENERAL_TRANSPORT = 6
    REMOTE_APPLICATION = 7


@dataclass(frozen=True)
class JobError:
    """Why a job stands still.

    ``hresult`` is the 32-bit number (``0x8020001F``), ``text`` a sentence that says what to do,
    ``http_status`` the answer's status where there was one.
    """

    hresult: int
    context: ErrorContext
    text: str
    http_status: int | None = None


@dataclass(frozen=True)
class LocalFile:
    """The file as it was when the job was made; another size or time later is
    BG_E_LOCAL_FILE_CHANGED. ``path`` is absolute, ``size`` in bytes, ``mtime_ns`` since 1970."""

    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class Progress:
    """``total`` and ``transferred`` in bytes of the file; of the reply, once it is known.

    ``is_uploaded``: the server has said that it has every byte.
    """

    transferred: int = 0
    total: int = 0
    is_uploaded: bool = False
    reply_transferred: int = 0
    reply_total: int | None = None


@dataclass(frozen=True)
class SessionOnServer:
    """What must be known to go on with an upload after a crash: nothing secret but the id.

    ``host_id`` replaces the host of the URL [MC-BUP] 2.2.3.2; when it could not be reached for
    ``host_id_timeout`` seconds, ``host_id_until`` (UTC) is where the host of the URL takes over
    again. ``reply_url`` is absolute, once the server has told one; ``reply_tag`` says which state
    of the reply a partial download is of.
    """

    session_id: str
    host_id: str | None = None
    host_id_timeout: float | None = None
    host_id_until: datetime | None = None
    reply_url: str | None = None
    reply_tag: str | None = None


@dataclass(frozen=True)
class Settings:
    """What may be chosen for a job. Durations in seconds, sizes in bytes, rates in bytes per
    second; ``None`` is no limit. Paths and names only: a password never stands here."""

    retry_delay: float = 600.0  # at least 5
    no_progress_timeout: float = 14 * 86_400.0
    fragment_size_limit: int = 13_000_000  # at least 5120
    rate_limit: int | None = None
    auth: str | None = None  # None: whatever the server offers; "basic", "digest", "negotiate"
    proxy: str | None = None  # None: from the environment; "" is none; else a URL without secrets
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None


@dataclass(frozen=True)
class Job:
    """One job, whole. ``reply_path`` is absolute; all times are UTC."""

    id: str  # a GUID in braces, upper case
    name: str
    type: JobType
    file: LocalFile
    url: str
    created: datetime
    modified: datetime
    priority: Priority = Priority.NORMAL
    state: JobState = JobState.QUEUED
    reply_path: str | None = None
    progress: Progress = field(default_factory=Progress)
    error: JobError | None = None
    error_count: int = 0
    settings: Settings = field(default_factory=Settings)
    session: SessionOnServer | None = None
    next_try: datetime | None = None  # for TRANSIENT_ERROR
    failing_since: datetime | None = None  # the first transient error without a byte since
    transferred_at: datetime | None = None

    def changed(self, at: datetime, **changes: object) -> Job:
        """The job with other values, modified ``at`` (UTC)."""
        return replace(self, modified=at, **changes)  # type: ignore[arg-type]
