"""How many sessions there may be, and how many bytes they may hold together.

On disk, beside the sessions::

    .owners/{key}/{GUID}/    an empty folder for each session of one user, or of one address
    .quota/{scope}/          for the virtual directory, or for one user: its folder is the lock
        sum                  bytes reserved, and when they were last counted
        {GUID}.{bytes}       an empty file for each session that has reserved something

The rule of this file: nothing here costs more with 100 000 sessions than with ten, and an error is
always on the safe side. A crash leaves a mark of a session that is gone; whoever comes to a limit
looks for those first. The number of folders in a folder is its number of links, which file systems
keep anyway.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from bits_server.protocol.errors import DiskFull, ServiceUnavailable
from bits_server.storage.disk import FILE, FOLDER
from bits_server.storage.record import SessionRecord

OWNERS_FOLDER = ".owners"
QUOTA_FOLDER = ".quota"
COUNT_SECONDS = 10.0  # so long a count is believed where counting is expensive
_SUM = "sum"
_PRIVATE = 0o700


@dataclass(frozen=True, slots=True)
class Limits:
    """0 or None: there is none. Sizes in bytes.

    ``session_limit``: of one authenticated user; ``session_limit_per_address``: of one client
    address, for the anonymous. ``quota``, ``quota_per_user``: what sessions under way may hold.
    """

    sessions_total: int = 0
    session_limit: int = 0
    session_limit_per_address: int = 0
    minimum_free_space: int = 0
    quota: int | None = None
    quota_per_user: int | None = None


class Admission:
    """The limits of one virtual directory, kept between all processes that serve it."""

    def __init__(self, sessions: str, limits: Limits, household: int) -> None:
        """``sessions``: the folder; ``household``: how many folders in it are no sessions."""
        self._sessions = sessions
        self._limits = limits
        self._household = household
        self._counted: tuple[float, int] = (-COUNT_SECONDS, 0)

    def refuse_full_disk(self) -> None:
        """Raise DiskFull where less is free than ``minimum_free_space``."""
        wanted = self._limits.minimum_free_space
        if wanted:
            status = os.statvfs(self._sessions)
            free = status.f_bavail * status.f_frsize
            if free < wanted:
                raise DiskFull(
                    f"{free} bytes are free, minimum_free_space is {wanted}: make room; uploads "
                    "that have begun go on"
                )

    def admit(self, record: SessionRecord) -> None:
        """Count a session whose folder was just made. Raises ServiceUnavailable."""
        limit = self._limits.sessions_total
        if limit and self._count_sessions() > limit:
            raise ServiceUnavailable(
                f"there are {limit} sessions, as many as sessions_total allows: see who has them, "
                "or raise it"
            )
        key, limit = self._owner(record)
        if limit:
            self._mark(key, record.guid, limit)

    def reserve(self, record: SessionRecord, total: int) -> None:
        """Room for ``total`` bytes, all or nothing; repeated it does nothing. Raises DiskFull."""
        try:
            for scope, limit in self._quotas(record):
                with self._ledger(scope) as folder:
                    self._enter(folder, f"{record.guid}.{total}", total, scope, limit)
        except DiskFull:
            self._give_back(record, total)
            raise

    def release(self, record: SessionRecord) -> None:
        """The session is gone."""
        key, limit = self._owner(record)
        if limit:
            folder = os.path.join(self._sessions, OWNERS_FOLDER, key)
            try:
                os.rmdir(os.path.join(folder, record.guid))
                os.rmdir(folder)
            except OSError:
                pass  # it was made before there was a limit; or the user has other sessions
        if record.total is not None:
            self._give_back(record, record.total)

    def forget_the_gone(self) -> None:
        """Remove the marks that crashes left."""
        for _, folder in self._folders_in(OWNERS_FOLDER):
            self._prune(folder)
            try:
                os.rmdir(folder)
            except OSError:
                continue
        for scope, _ in self._folders_in(QUOTA_FOLDER):
            with self._ledger(scope) as folder_fd:
                self._recount(folder_fd)

    def _owner(self, record: SessionRecord) -> tuple[str, int]:
        """The key under which the session counts, and its limit."""
        if record.owner:
            return _key("user", record.owner), self._limits.session_limit
        return _key("address", record.client_address), self._limits.session_limit_per_address

    def _quotas(self, record: SessionRecord) -> Iterator[tuple[str, int]]:
        if self._limits.quota is not None:
            yield "all", self._limits.quota
        if self._limits.quota_per_user is not None and record.owner:
            yield _key("user", record.owner), self._limits.quota_per_user

    def _count_sessions(self) -> int:
        counted = _count_folders(self._sessions)
        if counted is not None:
            return counted - self._household
        # btrfs does not count them, and ext4 not beyond 65 000: look now and then.
        moment, count = self._counted
        if time.monotonic() - moment >= COUNT_SECONDS:
            moment, count = time.monotonic(), len(os.listdir(self._sessions)) - self._household
        else:
            count += 1
        self._counted = (moment, count)
        return count

    def _mark(self, key: str, guid: str, limit: int) -> None:
        folder = os.path.join(self._sessions, OWNERS_FOLDER, key)
        mark = os.path.join(folder, guid)
        _make_folder(mark)
        if self._count_marks(folder) <= limit:
            return
        self._prune(folder)
        if self._count_marks(folder) > limit:
            os.rmdir(mark)
            name = "session_limit" if key.startswith("user") else "session_limit_per_address"
            raise ServiceUnavailable(
                f"this user or address has {limit} sessions, as many as {name} allows"
            )

    def _count_marks(self, folder: str) -> int:
        counted = _count_folders(folder)
        return len(os.listdir(folder)) if counted is None else counted

    def _prune(self, folder: str) -> None:
        for guid in _names(folder):
            if not self._is_alive(guid):
                try:
                    os.rmdir(os.path.join(folder, guid))
                except OSError:
                    continue

    def _is_alive(self, guid: str) -> bool:
        return os.path.isdir(os.path.join(self._sessions, guid))

    @contextmanager
    def _ledger(self, scope: str) -> Iterator[int]:
        """The folder of one quota, locked: its descriptor."""
        path = os.path.join(self._sessions, QUOTA_FOLDER, scope)
        try:
            folder = os.open(path, FOLDER)
        except FileNotFoundError:
            _make_folder(path)
            folder = os.open(path, FOLDER)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _enter(self, folder: int, mark: str, total: int, scope: str, limit: int) -> None:
        if _exists(mark, folder):
            return
        used, counted = _read_sum(folder)
        if used + total > limit and time.time() - counted > COUNT_SECONDS:
            used, counted = self._recount(folder), time.time()
        if used + total > limit:
            name = "quota" if scope == "all" else "quota_per_user"
            raise DiskFull(
                f"uploads under way hold {used} bytes, this one has {total}, {name} is {limit}"
            )
        # In this order a crash leaves a sum that is too large, never one that is too small.
        _write_sum(folder, used + total, counted)
        os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | FILE, 0o600, dir_fd=folder))

    def _give_back(self, record: SessionRecord, total: int) -> None:
        for scope, _ in self._quotas(record):
            with self._ledger(scope) as folder:
                try:
                    os.unlink(f"{record.guid}.{total}", dir_fd=folder)
                except FileNotFoundError:
                    continue
                used, counted = _read_sum(folder)
                _write_sum(folder, max(0, used - total), counted)

    def _recount(self, folder: int) -> int:
        used = 0
        for name in os.listdir(folder):
            guid, _, size = name.rpartition(".")
            if not size.isdecimal():
                continue
            if self._is_alive(guid):
                used += int(size)
            else:
                os.unlink(name, dir_fd=folder)
        _write_sum(folder, used, time.time())
        return used

    def _folders_in(self, name: str) -> Iterator[tuple[str, str]]:
        above = os.path.join(self._sessions, name)
        for each in _names(above):
            yield each, os.path.join(above, each)


def _key(kind: str, text: str) -> str:
    """A name for a user or an address that is a file name, whatever its characters."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{kind}-{digest[:32]}"


def _count_folders(path: str) -> int | None:
    """How many folders are in a folder; None where its file system does not count them."""
    links = os.stat(path).st_nlink
    return links - 2 if links >= 2 else None


def _make_folder(path: str) -> None:
    """With those above it; somebody may be removing an empty one at this moment."""
    for _ in range(10):
        try:
            os.makedirs(path, _PRIVATE)
            return
        except FileExistsError:
            return
        except FileNotFoundError:
            continue
    os.makedirs(path, _PRIVATE)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _read_sum(folder: int) -> tuple[int, float]:
    """Bytes, and when they were counted; a sum that cannot be read was never counted."""
    try:
        fd = os.open(_SUM, os.O_RDONLY | FILE, dir_fd=folder)
    except FileNotFoundError:
        return 0, 0.0
    try:
        used, counted = os.read(fd, 100).split()
        return int(used), float(counted)
    except ValueError:
        return 1 << 63, 0.0
    finally:
        os.close(fd)


def _write_sum(folder: int, used: int, counted: float) -> None:
    fd = os.open(_SUM, os.O_WRONLY | os.O_CREAT | FILE, 0o600, dir_fd=folder)
    try:
        os.pwrite(fd, b"%20d %20.3f" % (used, counted), 0)
    finally:
        os.close(fd)
