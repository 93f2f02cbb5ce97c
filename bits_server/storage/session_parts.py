"""What is in a session's folder, for all who have to do with it."""

from __future__ import annotations

import errno
import os
import shutil
import stat

from bits_server.storage.disk import FILE, NO_FILE, DiskRules, new_file, read_file, remove_file
from bits_server.storage.interface import SessionBroken
from bits_server.storage.publication import REQUEST
from bits_server.storage.record import RecordUnreadable, SessionRecord

RECORD = "session.json"
NOTIFYING = "notifying"
REMOVED_PREFIX = ".removed-"
PRIVATE_MODE = 0o600


# No file, or a huge one: whoever can write to the folder put it there.
_NO_RECORD = NO_FILE | {errno.EAGAIN, errno.EFBIG}

# What was read or written last, and what it says: the next packet mostly finds these bytes again.
_known: dict[bytes, SessionRecord] = {}
_KNOWN_RECORDS = 256


def read_record(folder: int) -> SessionRecord:
    """The record in an open session folder. Raises SessionBroken where there is none."""
    try:
        text = read_file(RECORD, folder)
        record = _known.get(text)
        if record is None:
            record = SessionRecord.from_json(text)
            _remember(text, record)
        return record
    except FileNotFoundError as error:
        raise SessionBroken("the session has no record: it was never wholly made") from error
    except (RecordUnreadable, OSError) as error:
        if isinstance(error, OSError) and error.errno not in _NO_RECORD:
            raise
        raise SessionBroken(f"session.json cannot be read: {error}") from error


def print_record(record: SessionRecord) -> bytes:
    """What is going to be in ``session.json``."""
    text = record.to_json()
    _remember(text, record)
    return text


def _remember(text: bytes, record: SessionRecord) -> None:
    if len(_known) >= _KNOWN_RECORDS:
        _known.clear()
    _known[text] = record


def last_written(folder: int) -> float:
    """The youngest of a session's times, in an open session folder: seconds since 1970."""
    times = []
    for part in (REQUEST, RECORD):
        try:
            times.append(os.stat(part, dir_fd=folder, follow_symlinks=False).st_mtime)
        except FileNotFoundError:
            continue
    return max(times) if times else os.fstat(folder).st_mtime


def open_notifying(folder: int, rules: DiskRules) -> int:
    """The file whose lock is held while the server application is waited for.

    Another one, which the session group can open, it could lock too, and hold a thread for ever.
    """
    fd = os.open(NOTIFYING, os.O_RDWR | os.O_CREAT | FILE, PRIVATE_MODE, dir_fd=folder)
    if rules.session_group is None:
        return fd
    status = os.fstat(fd)
    is_ours = status.st_uid == os.fstat(folder).st_uid and status.st_nlink == 1
    if is_ours and stat.S_IMODE(status.st_mode) & ~PRIVATE_MODE == 0:
        return fd
    os.close(fd)
    remove_file(NOTIFYING, folder)
    return new_file(NOTIFYING, folder, PRIVATE_MODE)


def discard_removed(path: str) -> None:
    """Delete the folder of a session that no packet finds any more.

    What cannot be deleted now is debris, which the clean-up finds and reports.
    """
    try:
        for part in (RECORD, REQUEST):
            try:
                os.unlink(os.path.join(path, part))
            except FileNotFoundError:
                continue
        os.rmdir(path)
    except OSError:  # there is more, from a notification or by the application
        shutil.rmtree(path, ignore_errors=True)


def give_to_session_group(fd: int, rules: DiskRules, mode: int) -> None:
    """Open a file or folder of a session to those that the settings name; umask is no limit."""
    if rules.session_group is not None:
        os.fchown(fd, -1, rules.session_group)
        os.fchmod(fd, mode)
