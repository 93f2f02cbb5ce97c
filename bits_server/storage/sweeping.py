"""What the clean-up and a count see of ``BITS-Sessions``, and how things are removed from it.

The rule of this file: nothing is removed that does not look exactly like something of ours; a
stranger's file is reported and stays. A session's folder is renamed under its lock before it is
deleted.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.storage.disk import FILE, FOLDER, remove_file
from bits_server.storage.interface import Leftover, LeftoverKind, Sweep
from bits_server.storage.limits import OWNERS_FOLDER, QUOTA_FOLDER, Admission, Limits
from bits_server.storage.publication import REQUEST
from bits_server.storage.record import RecordUnreadable, SessionRecord
from bits_server.storage.session_parts import (
    PRIVATE_MODE,
    RECORD,
    REMOVED_PREFIX,
    discard_removed,
)

CLOSED_FOLDER = ".closed"
SWEPT = {Sweep.SESSIONS: ".swept-sessions", Sweep.LEFTOVERS: ".swept-leftovers"}

_HOUSEHOLD_FOLDERS = (CLOSED_FOLDER, OWNERS_FOLDER, QUOTA_FOLDER)
_HOUSEHOLD = {*_HOUSEHOLD_FOLDERS, *SWEPT.values()}
_GUID = r"\{[0-9A-F]{8}(?:-[0-9A-F]{4}){3}-[0-9A-F]{12}\}"
_REMOVED = re.compile(re.escape(REMOVED_PREFIX) + _GUID)
_CLOSED_RECORD = re.compile(_GUID + r"(?:\.new)?")


class SweepableFolder:
    """The Sweepable and Countable parts of the file store, for one folder ``BITS-Sessions``."""

    def __init__(self, sessions: str, limits: Limits) -> None:
        self._sessions = sessions
        self._closed = os.path.join(sessions, CLOSED_FOLDER)
        self._admission = Admission(sessions, limits, len(_HOUSEHOLD_FOLDERS))

    @contextmanager
    def cleaning(self) -> Iterator[bool]:
        """The lock is on a folder that is there anyway: a clean-up by root leaves no file."""
        try:
            folder = os.open(self._closed, FOLDER)
        except FileNotFoundError:
            yield True  # no session was ever made here: nobody can be in the way
            return
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(folder)

    def last_swept(self, what: Sweep) -> float:
        try:
            return os.stat(os.path.join(self._sessions, SWEPT[what])).st_mtime
        except FileNotFoundError:
            return 0.0

    def _household_folders(self) -> list[str]:
        """What is there as long as ``BITS-Sessions`` is."""
        return [os.path.join(self._sessions, name) for name in _HOUSEHOLD_FOLDERS]

    def note_swept(self, what: Sweep) -> None:
        if what is Sweep.SESSIONS:
            self._admission.forget_the_gone()
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(os.path.join(self._sessions, SWEPT[what]), flags, PRIVATE_MODE)
        except FileNotFoundError:
            return  # somebody tidied BITS-Sessions away under us
        try:
            os.utime(fd)
        finally:
            os.close(fd)

    def progress(self) -> Iterator[tuple[SessionId, float]]:
        for entry in self._entries(self._sessions):
            session_id = _session_of(entry)
            if session_id is None:
                continue
            try:
                yield session_id, _last_written(entry.path)
            except FileNotFoundError:
                continue  # it ended meanwhile

    def states(self) -> Iterator[SessionState | None]:
        for entry in self._entries(self._sessions):
            if _session_of(entry) is None:
                continue
            try:
                yield _read_record(entry.path).state
            except (FileNotFoundError, RecordUnreadable):
                if os.path.lexists(entry.path):  # else it ended meanwhile
                    yield None

    def remove_wreck(self, session_id: SessionId) -> None:
        path = os.path.join(self._sessions, str(session_id))
        folder = os.open(path, FOLDER | os.O_NOFOLLOW)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            removed = os.path.join(self._sessions, REMOVED_PREFIX + str(session_id))
            os.rename(path, removed)
            discard_removed(removed)
        finally:
            os.close(folder)

    def leftovers(self) -> Iterator[Leftover]:
        for entry in self._entries(self._sessions):
            if _session_of(entry) is None and entry.name not in _HOUSEHOLD:
                is_ours = _REMOVED.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
                kind = LeftoverKind.DEBRIS if is_ours else LeftoverKind.FOREIGN
                yield from _leftover(kind, entry.name, entry)
        for entry in self._entries(self._closed):
            is_ours = _CLOSED_RECORD.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
            kind = LeftoverKind.CLOSED_RECORD if is_ours else LeftoverKind.FOREIGN
            yield from _leftover(kind, f"{CLOSED_FOLDER}/{entry.name}", entry)

    def remove_leftover(self, leftover: Leftover) -> None:
        path = os.path.join(self._sessions, leftover.name)
        if leftover.kind is LeftoverKind.DEBRIS:
            discard_removed(path)
            if os.path.lexists(path):
                raise OSError(f"{path} could not be removed wholly")
        elif leftover.kind is LeftoverKind.CLOSED_RECORD:
            folder = os.open(self._closed, FOLDER)
            try:
                remove_file(os.path.basename(path), folder)
            finally:
                os.close(folder)

    def _entries(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            entries = os.scandir(folder)
        except FileNotFoundError:
            return
        with entries:
            yield from entries


def _session_of(entry: os.DirEntry[str]) -> SessionId | None:
    """The session whose folder this is: its name as we print it, and no link."""
    try:
        session_id = SessionId.parse(entry.name)
    except SessionNotFound:
        return None
    is_ours = str(session_id) == entry.name and entry.is_dir(follow_symlinks=False)
    return session_id if is_ours else None


def _read_record(path: str) -> SessionRecord:
    """As ``session_folder.read_record``, by path: half the price. Raises OSError too."""
    fd = os.open(f"{path}/{RECORD}", os.O_RDONLY | FILE)
    try:
        return SessionRecord.from_json(os.read(fd, os.fstat(fd).st_size))
    finally:
        os.close(fd)


def _last_written(path: str) -> float:
    """As ``session_folder.last_written``, by path: two looks for a live session, not five."""
    times = []
    for part in (RECORD, REQUEST):
        try:
            times.append(os.lstat(f"{path}/{part}").st_mtime)
        except FileNotFoundError:
            continue
    return max(times) if times else os.lstat(path).st_mtime


def _leftover(kind: LeftoverKind, name: str, entry: os.DirEntry[str]) -> Iterator[Leftover]:
    try:
        yield Leftover(kind, name, entry.stat(follow_symlinks=False).st_mtime)
    except FileNotFoundError:
        return  # gone meanwhile
