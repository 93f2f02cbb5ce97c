"""The sessions of one virtual directory as folders below ``BITS-Sessions``.

On disk::

    BITS-Sessions/
        {GUID}/             one session: session.json, request, response
        .closed/{GUID}      a record, for an hour, of a session that a Close-Session removed
        .removed-{GUID}/    a session on its way out: no packet finds it
        .swept-sessions, .swept-leftovers    their times are those of the last clean-ups
        .owners/, .quota/   who has how many sessions and bytes: see ``limits``

The rule of this file: no process's memory holds anything. Any worker, after any restart, serves
any packet of any session; a folder that is listed is never listed on the way of a packet.
"""

from __future__ import annotations

import os
import pwd
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from bits_server.protocol.session_id import SessionId
from bits_server.storage.destination_tree import DestinationTree
from bits_server.storage.disk import (
    FILE,
    FOLDER,
    DiskRules,
    read_file,
    replace_file,
    session_folder_mode,
    write_all,
)
from bits_server.storage.interface import (
    DestinationPath,
    DestinationState,
    FolderUnusable,
    LocalPaths,
)
from bits_server.storage.limits import Limits
from bits_server.storage.publication import REQUEST
from bits_server.storage.record import (
    CLOSED_RECORD_SECONDS,
    ClosedRecord,
    RecordUnreadable,
    SessionRecord,
)
from bits_server.storage.replies import RESPONSE
from bits_server.storage.session_folder import FolderSession
from bits_server.storage.session_parts import (
    PRIVATE_MODE,
    RECORD,
    REMOVED_PREFIX,
    give_to_session_group,
    print_record,
)
from bits_server.storage.sweeping import SweepableFolder

SESSIONS_FOLDER = "BITS-Sessions"
NO_LIMITS = Limits()


def refuse_unusable(root: str) -> None:
    """Raise FolderUnusable where ``root`` cannot be a virtual directory; change nothing."""
    if not os.path.isdir(root):
        raise FolderUnusable(f"{root} is not a folder; create it: mkdir -p {root}")
    if not os.access(root, os.R_OK | os.W_OK | os.X_OK):
        remedy = "chown or chmod it"
        if os.statvfs(root).f_flag & os.ST_RDONLY:
            remedy = (
                "it is mounted read-only; under systemd name it in ReadWritePaths of the unit "
                "(systemctl edit bits-server), and restart"
            )
        raise FolderUnusable(
            f"{root} is not writable for the user {os.geteuid()} of this process; {remedy}"
        )
    sessions = os.path.join(root, SESSIONS_FOLDER)
    # In this order: another process may be making it at this moment.
    if os.path.lexists(sessions) and not (
        os.path.isdir(sessions) and os.access(sessions, os.R_OK | os.W_OK | os.X_OK)
    ):
        raise FolderUnusable(
            f"{sessions} is no folder that the user {os.geteuid()} of this process can write to; "
            "chown it, or move it away"
        )


def refuse_other_owner(root: str) -> None:
    """Raise FolderUnusable where the server of ``root`` runs as somebody else.

    What this process writes into a session that server could not read, even if we are root.
    """
    sessions = os.path.join(root, SESSIONS_FOLDER)
    try:
        owner = os.stat(sessions).st_uid
    except FileNotFoundError:
        return  # there is no session
    if owner != os.geteuid():
        raise FolderUnusable(
            f"{sessions} belongs to the user {_name_of(owner)}: run this command as that user, "
            f"for instance with: sudo -u {_name_of(owner)} bits-server ..."
        )


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"#{user}"  # as sudo has it


class FilesystemStore(SweepableFolder):
    """A SessionStore with all optional parts, in the folder ``root`` of a virtual directory."""

    def __init__(
        self,
        root: str,
        rules: DiskRules,
        *,
        create_folders: bool = False,
        limits: Limits = NO_LIMITS,
    ) -> None:
        """Changes nothing on disk; ``prepare`` does."""
        super().__init__(os.path.join(root, SESSIONS_FOLDER), limits)
        self._root = root
        self._rules = rules
        self._tree = DestinationTree(root, self._sessions, rules, create_folders=create_folders)

    def prepare(self) -> None:
        """Make ``BITS-Sessions`` where it is missing. Raises FolderUnusable."""
        refuse_unusable(self._root)
        try:
            self._make_folders()
        except OSError as error:
            raise FolderUnusable(f"{error.filename}: {error.strerror}") from error

    def try_out(self) -> None:
        refuse_unusable(self._root)
        # What has such a name is removed by the clean-up, should this process end before it is.
        path = os.path.join(self._sessions, f"{REMOVED_PREFIX}{SessionId.new()}")
        try:
            self._make_session_folder(path)
            try:
                with open(os.path.join(path, RECORD), "xb") as file:
                    file.write(b"{}")
            finally:
                shutil.rmtree(path)
        except OSError as error:
            raise FolderUnusable(
                f"no session can be made in {self._sessions}: {error.strerror}"
            ) from error

    def free_bytes(self) -> int:
        status = os.statvfs(self._sessions)
        return status.f_bavail * status.f_frsize

    def create(self, record: SessionRecord) -> None:
        self._admission.refuse_full_disk()
        path = self._path(record.session_id)
        self._make_session_folder(path)
        try:
            self._admission.admit(record)
            self._fill(path, record)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise

    def open(self, session_id: SessionId) -> FolderSession:
        session = self._session(session_id)
        try:
            session.read()
        except BaseException:
            session.close()
            raise
        return session

    @contextmanager
    def locked(self, session_id: SessionId) -> Iterator[FolderSession]:
        with closing(self._session(session_id)) as session, session.locked():
            yield session

    def session_ids(self) -> Iterator[SessionId]:
        return (session_id for session_id, _ in self.progress())

    def local_paths(self, session_id: SessionId) -> LocalPaths:
        folder = self._path(session_id)
        return LocalPaths(os.path.join(folder, REQUEST), os.path.join(folder, RESPONSE))

    def closed_record(self, session_id: SessionId) -> ClosedRecord | None:
        try:
            record = ClosedRecord.from_json(read_file(f"{self._closed}/{session_id}"))
        except (FileNotFoundError, RecordUnreadable):
            return None
        return record if time.time() - record.closed < CLOSED_RECORD_SECONDS else None

    def examine(self, destination: DestinationPath) -> DestinationState:
        return self._tree.examine(destination)

    def publish_empty(self, destination: DestinationPath) -> bool:
        with self._tree.parent_of(destination, create=True) as parent:
            name, mode = destination.segments[-1], self._rules.file_mode
            try:
                fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE, mode, dir_fd=parent)
            except FileExistsError:
                return False
            try:
                os.fchmod(fd, mode)
            finally:
                os.close(fd)
            if self._rules.sync_on_close:
                os.fsync(parent)
            return True

    def _session(self, session_id: SessionId) -> FolderSession:
        path = self._path(session_id)
        return FolderSession(path, self._rules, self._tree, self._admission, self._keep_closed)

    def _make_session_folder(self, path: str) -> None:
        mode = session_folder_mode(self._rules.session_mode)
        try:
            os.mkdir(path, mode)
        except FileNotFoundError:  # somebody tidied BITS-Sessions away under us
            self._make_folders()
            os.mkdir(path, mode)

    def _fill(self, path: str, record: SessionRecord) -> None:
        sync, group = self._rules.sync_each_fragment, self._rules.session_group
        # No rename needed: nobody knows the id yet.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE
        fd = os.open(f"{path}/{RECORD}", flags, PRIVATE_MODE)
        try:
            write_all(fd, print_record(record), 0)
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)
        if not sync and group is None:
            return
        folder = os.open(path, FOLDER | os.O_NOFOLLOW)
        try:
            give_to_session_group(
                folder, self._rules, session_folder_mode(self._rules.session_mode)
            )
            if sync:
                os.fsync(folder)
                self._sync_sessions_folder()
        finally:
            os.close(folder)

    def _keep_closed(self, closed: ClosedRecord) -> None:
        try:
            folder = os.open(self._closed, FOLDER)
        except FileNotFoundError:
            self._make_folders()
            folder = os.open(self._closed, FOLDER)
        try:
            sync = self._rules.sync_on_close
            replace_file(closed.guid, closed.to_json(), folder, PRIVATE_MODE, sync=sync)
        finally:
            os.close(folder)

    def _sync_sessions_folder(self) -> None:
        folder = os.open(self._sessions, FOLDER)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _make_folders(self) -> None:
        # Never the root: it may be unmounted.
        for folder in (self._sessions, *self._household_folders()):
            try:
                os.mkdir(folder, 0o700)
            except FileExistsError:
                continue
        group = self._rules.session_group
        if group is not None:
            os.chown(self._sessions, -1, group)
        os.chmod(self._sessions, 0o700 if group is None else 0o710)
        for folder in self._household_folders():
            os.chmod(folder, 0o700)

    def _path(self, session_id: SessionId) -> str:
        return os.path.join(self._sessions, str(session_id))
