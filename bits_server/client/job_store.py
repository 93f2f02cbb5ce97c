"""The jobs on disk: one SQLite file, so that a crash at any moment loses nothing.

The rule of this file: each change is one transaction that is on the disk when the call returns.
Whoever works on a job holds a lock of the operating system on a file of its own, which goes with
the process; what others want of it meanwhile (to stop, above all) stands in the row.
"""

from __future__ import annotations

import dataclasses
import enum
import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, cast, get_type_hints

from bits_server.client.jobs import Job, JobState

FOLDER_MODE, FILE_MODE = 0o700, 0o600
_BUSY_SECONDS = 30.0
_LAYOUT = 1
_CLAIM_TRIES, _CLAIM_PAUSE_SECONDS = 3, 0.01
_KEPT_IN_MEMORY = 10_000  # jobs; each takes some KB, and reading its text takes half a millisecond
_CREATE = """
create table if not exists jobs (
    id text primary key,
    created text not null,
    state text not null,
    wanted text not null default '',
    job text not null
)
"""


class JobNotFound(LookupError):
    """There is no job of this id or name."""


class StoreUnusable(Exception):
    """The folder cannot be used; the text says why, and what to do."""


def default_folder(environment: Mapping[str, str] | None = None) -> Path:
    """BITS_CLIENT_STATE, or bits-client in the XDG state folder. None: that of the process."""
    environment = os.environ if environment is None else environment
    if named := environment.get("BITS_CLIENT_STATE"):
        return Path(named)
    state = environment.get("XDG_STATE_HOME", "")
    base = Path(state) if state.startswith("/") else Path.home() / ".local" / "state"
    return base / "bits-client"


class JobStore:
    """The jobs of one user, in one folder. May be shared between threads."""

    def __init__(self, folder: Path) -> None:
        """Makes the folder where there is none. Raises StoreUnusable."""
        self.folder = folder
        self._file = folder / "jobs.sqlite3"
        try:
            folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            os.close(os.open(self._file, os.O_RDWR | os.O_CREAT, FILE_MODE))
        except OSError as error:
            raise self._unusable(error) from error
        with self._transaction(writes=False) as database:
            layout = database.execute("pragma user_version").fetchone()[0]
        if layout > _LAYOUT:
            raise StoreUnusable(f"{self._file} was made by a newer bits-client")
        if layout < _LAYOUT:  # else nothing is written: a full disk hides no job
            with self._transaction() as database:
                database.execute(_CREATE)
                database.execute(f"pragma user_version = {_LAYOUT}")

    def add(self, job: Job) -> None:
        """Keep a new job."""
        with self._transaction() as database:
            database.execute(
                "insert into jobs (id, created, state, job) values (?, ?, ?, ?)",
                (job.id, job.created.isoformat(), job.state.value, _printed(job)),
            )

    def save(self, job: Job) -> None:
        """Keep what a job has become. Raises JobNotFound."""
        with self._transaction() as database:
            self._write(database, job)

    def change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        """Read, change and keep a job, with nobody in between. Raises JobNotFound."""
        with self._transaction() as database:
            changed = change(self._read(database, job_id))
            self._write(database, changed)
        return changed

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        with self._transaction(writes=False) as database:
            return self._read(database, job_id)

    def all(self, states: Iterable[JobState] = JobState) -> list[Job]:
        """Every job in one of ``states``, the oldest first."""
        values = [state.value for state in states]
        marks = ", ".join("?" * len(values))
        with self._transaction(writes=False) as database:
            rows = database.execute(
                f"select job from jobs where state in ({marks}) order by created, id", values
            ).fetchall()
        return [_parsed(row[0]) for row in rows]

    def remove(self, job_id: str) -> None:
        """Forget a job that may be gone already."""
        with self._transaction() as database:
            database.execute("delete from jobs where id = ?", (job_id,))
        with suppress(FileNotFoundError):
            os.unlink(self._lock_path(job_id))

    def want(self, job_id: str, wanted: str) -> None:
        """Tell whoever works on the job what is wanted of it: a word, or nothing."""
        with self._transaction() as database:
            database.execute("update jobs set wanted = ? where id = ?", (wanted, job_id))

    def heard(self, job_id: str, wanted: str) -> None:
        """What that word wanted is done; another one, which came meanwhile, stays."""
        with self._transaction() as database:
            database.execute(
                "update jobs set wanted = '' where id = ? and wanted = ?", (job_id, wanted)
            )

    def wanted(self, job_id: str) -> str:
        """The word; also for a job that is gone."""
        with self._transaction(writes=False) as database:
            row = database.execute("select wanted from jobs where id = ?", (job_id,)).fetchone()
        return row[0] if row else "cancel"

    @contextmanager
    def claim(self, job_id: str) -> Iterator[bool]:
        """Work on a job alone; False where somebody else does. Raises StoreUnusable."""
        try:
            fd = os.open(self._lock_path(job_id), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            yield _locked(fd)
        finally:
            os.close(fd)

    def is_claimed(self, job_id: str) -> bool:
        """Whether somebody works on it at this moment."""
        with self.claim(job_id) as is_ours:
            return not is_ours

    def _lock_path(self, job_id: str) -> Path:
        return self.folder / f"{job_id.strip('{}').lower()}.lock"

    def _write(self, database: sqlite3.Connection, job: Job) -> None:
        done = database.execute(
            "update jobs set state = ?, job = ? where id = ?",
            (job.state.value, _printed(job), job.id),
        )
        if not done.rowcount:
            raise JobNotFound(f"there is no job {job.id}")

    def _read(self, database: sqlite3.Connection, job_id: str) -> Job:
        row = database.execute("select job from jobs where id = ?", (job_id,)).fetchone()
        if row is None:
            raise JobNotFound(f"there is no job {job_id}")
        return _parsed(row[0])

    @contextmanager
    def _transaction(self, *, writes: bool = True) -> Iterator[sqlite3.Connection]:
        """A connection for each: threads and forks cannot get into each other's way.

        Raises StoreUnusable, and then nothing has changed.
        """
        try:
            connection = sqlite3.connect(self._file, timeout=_BUSY_SECONDS, isolation_level=None)
            with closing(connection):
                connection.execute("pragma synchronous = full")
                connection.execute("begin immediate" if writes else "begin")
                try:
                    yield connection
                    connection.execute("commit")
                except BaseException:
                    with suppress(sqlite3.Error):
                        connection.execute("rollback")
                    raise
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> StoreUnusable:
        reason = error.strerror if isinstance(error, OSError) else error
        return StoreUnusable(f"the jobs cannot be kept in {self.folder}: {reason}")


def _locked(fd: int) -> bool:
    """Whether the lock is ours now. Who only looks holds it for a moment: that is no refusal."""
    for left in reversed(range(_CLAIM_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if left:
                time.sleep(_CLAIM_PAUSE_SECONDS)
    return False


def _printed(value: Job) -> str:
    return json.dumps(dataclasses.asdict(value), default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, enum.Enum):
        return value.value
    raise TypeError(f"{value!r} has no form in JSON")


def as_plain(job: Job) -> dict[str, Any]:
    """The job as JSON has it: for scripts."""
    plain: dict[str, Any] = json.loads(_printed(job))
    return plain


@lru_cache(_KEPT_IN_MEMORY)
def _parsed(text: str) -> Job:
    job: Job = _value_of(Job, json.loads(text))
    return job


def _value_of(kind: Any, plain: Any) -> Any:
    """A value of an annotated type from its form in JSON; what an older version lacks has its
    default, and what a newer one has more is left out."""
    if plain is None:
        return None
    options = getattr(kind, "__args__", ())
    if type(None) in options:
        kind = next(each for each in options if each is not type(None))
    if dataclasses.is_dataclass(kind):
        hints = _hints_of(cast(type, kind))
        known = {name: value for name, value in plain.items() if name in hints}
        return kind(**{name: _value_of(hints[name], value) for name, value in known.items()})  # type: ignore[operator]
    if kind is datetime:
        return datetime.fromisoformat(plain)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(plain)
    return tuple(plain) if isinstance(plain, list) else plain


@cache
def _hints_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)
