"""One session as a folder on disk: ``session.json``, ``request``, ``response``, and its locks.

The rule of this file: the length of ``request`` is the truth about what was received. The lock is
an flock on the folder, taken for one write at a time and never while anybody waits for the
network; whoever gets it looks first whether the folder still has its name. Who waits for the server
application holds an flock on the file ``notifying``.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from bits_server.protocol.errors import (
    EntityVanished,
    FragmentOutOfOrder,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.storage import replies
from bits_server.storage.destination_tree import DestinationTree, identity
from bits_server.storage.disk import (
    FILE,
    FOLDER,
    NO_FILE,
    DiskRules,
    open_regular,
    remove_file,
    replace_file,
    write_all,
)
from bits_server.storage.interface import Buffer, DestinationPath, Reply, SessionBroken
from bits_server.storage.limits import Admission
from bits_server.storage.publication import REQUEST, Publication
from bits_server.storage.record import ClosedRecord, SessionRecord
from bits_server.storage.session_parts import (
    PRIVATE_MODE,
    RECORD,
    REMOVED_PREFIX,
    discard_removed,
    give_to_session_group,
    last_written,
    open_notifying,
    print_record,
    read_record,
)


class FolderSession:
    """A StoredSession of the file store. Not to be shared between threads."""

    record: SessionRecord

    def __init__(
        self,
        path: str,
        rules: DiskRules,
        tree: DestinationTree,
        admission: Admission,
        keep_closed: Callable[[ClosedRecord], None],
    ) -> None:
        """Open the folder ``path``; the record is not read yet. Raises SessionNotFound."""
        self._path = path
        self._rules = rules
        self._tree = tree
        self._admission = admission
        self._keep_closed = keep_closed
        try:
            self._folder = os.open(path, FOLDER | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SessionNotFound("no session has this id") from error
        self._identity: tuple[int, int] | None = None  # of the folder: it never changes

    def read(self) -> None:
        """Read the record. Raises SessionBroken."""
        self.record = read_record(self._folder)
        if self.record.guid != os.path.basename(self._path):
            raise SessionBroken(f"session.json is that of {self.record.guid}")

    def close(self) -> None:
        os.close(self._folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        with self._flock():
            self.read()
            yield

    @contextmanager
    def notifying(self) -> Iterator[None]:
        try:
            fd = open_notifying(self._folder, self._rules)
        except FileNotFoundError as error:
            raise SessionNotFound("the session was removed meanwhile") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def save(self, record: SessionRecord, *, lasting: bool = False) -> None:
        rules = self._rules
        self._save(record, sync=rules.sync_on_close if lasting else rules.sync_each_fragment)

    def reserve(self, total: int) -> None:
        self._admission.reserve(self.record, total)

    def received_length(self) -> int:
        if self.record.is_complete:
            assert self.record.total is not None
            return self.record.total
        try:
            status = os.stat(REQUEST, dir_fd=self._folder, follow_symlinks=False)
        except FileNotFoundError:
            self._refuse_if_removed()
            return 0
        if not stat.S_ISREG(status.st_mode):
            raise EntityVanished("what stands in the place of the request entity is no file")
        return self._refuse_longer(status.st_size)

    def append(self, block: Buffer, at: int) -> int:
        with self._flock():
            try:
                entity = os.open(REQUEST, os.O_WRONLY | FILE, dir_fd=self._folder)
            except FileNotFoundError:
                self.read()
                return self.write(block, at)
            except OSError as error:
                raise _vanished_or(error) from None
            return self._write(entity, block, at)

    def write(self, block: Buffer, at: int) -> int:
        if self.record.is_complete:  # the application may have taken the entity away
            return self.received_length()
        flags = os.O_WRONLY | os.O_CREAT | FILE
        try:
            entity = os.open(REQUEST, flags, self._rules.session_mode, dir_fd=self._folder)
        except OSError as error:
            raise _vanished_or(error) from None
        try:
            give_to_session_group(entity, self._rules, self._rules.session_mode)
        except BaseException:
            os.close(entity)
            raise
        return self._write(entity, block, at)

    def last_progress(self) -> float:
        return last_written(self._folder)

    def touch(self) -> None:
        os.utime(RECORD, dir_fd=self._folder, follow_symlinks=False)

    def make_durable(self) -> None:
        try:
            entity = os.open(REQUEST, os.O_RDONLY | FILE, dir_fd=self._folder)
        except FileNotFoundError:
            return  # nothing was received yet
        try:
            os.fdatasync(entity)
        finally:
            os.close(entity)
        os.fsync(self._folder)

    def open_request_entity(self) -> BinaryIO:
        try:
            entity, status = open_regular(REQUEST, self._folder)
        except OSError as error:
            self._refuse_if_removed()
            raise EntityVanished(
                f"the request entity cannot be opened: {error.strerror}"
            ) from error
        if status.st_size != (self.record.total or 0):  # none: no Fragment came
            entity.close()
            raise EntityVanished(f"the request entity has {status.st_size} bytes now")
        return entity

    @contextmanager
    def new_reply(self) -> Iterator[BinaryIO]:
        try:
            with replies.new(self._folder, sync=self._rules.sync_on_close) as file:
                give_to_session_group(file.fileno(), self._rules, self._rules.session_mode)
                yield file
        except FileNotFoundError:
            self._refuse_if_removed()
            raise

    def discard_reply(self) -> None:
        replies.discard(self._folder)

    def open_reply(self) -> Reply | None:
        return replies.open_reply(self._folder)

    def publish(self, destination: DestinationPath, *, overwrite: bool) -> None:
        with self._tree.parent_of(destination, create=True) as parent:
            name = destination.segments[-1]
            save = partial(self._save, sync=self._rules.sync_on_close)
            publication = Publication(self.record, self._folder, parent, name, self._rules, save)
            publication.run(overwrite=overwrite)

    def delete(self, closed: ClosedRecord | None = None) -> None:
        if self.record.publishing_name is not None:
            self._remove_hidden_file(self.record.publishing_name)
        if closed is not None:
            self._keep_record(closed)
        sessions, name = os.path.split(self._path)
        # First to a name that no packet can find: half a session is never met.
        removed = os.path.join(sessions, REMOVED_PREFIX + name)
        os.rename(self._path, removed)
        self._admission.release(self.record)
        discard_removed(removed)

    def _keep_record(self, closed: ClosedRecord) -> None:
        try:
            self._keep_closed(closed)
        except OSError:
            if self.record.is_complete:
                raise
            remove_file(REQUEST, self._folder)  # on a full disk this makes the room needed
            self._keep_closed(closed)

    def _save(self, record: SessionRecord, *, sync: bool) -> None:
        replace_file(RECORD, print_record(record), self._folder, PRIVATE_MODE, sync=sync)
        self.record = record

    @contextmanager
    def _flock(self) -> Iterator[None]:
        fcntl.flock(self._folder, fcntl.LOCK_EX)
        try:
            self._refuse_if_removed()
            yield
        finally:
            fcntl.flock(self._folder, fcntl.LOCK_UN)

    def _refuse_if_removed(self) -> None:
        """A Cancel, a Close or the clean-up may have had the lock before us."""
        if self._identity is None:
            self._identity = identity(os.fstat(self._folder))
        try:
            named = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError as error:
            raise SessionNotFound("the session was removed meanwhile") from error
        if identity(named) != self._identity:
            raise SessionNotFound("the session was removed meanwhile")

    def _write(self, entity: int, block: Buffer, at: int) -> int:
        """Write what is missing, and close the entity."""
        try:
            received = self._refuse_longer(os.fstat(entity).st_size)
            if received < at:
                return self._refuse_gap(received, at)
            missing = memoryview(block)[received - at :]
            write_all(entity, missing, received)
            return received + len(missing)
        finally:
            os.close(entity)

    def _refuse_longer(self, received: int) -> int:
        """Somebody else wrote to it: nobody knows what of it is the client's."""
        if self.record.total is not None and received > self.record.total:
            raise SessionBroken(f"of {self.record.total} bytes {received} are there")
        return received

    def _refuse_gap(self, received: int, at: int) -> int:
        self.read()
        if self.record.is_complete:
            return self.received_length()
        raise FragmentOutOfOrder(f"the Fragment's next byte is {at}, received are {received}")

    def _remove_hidden_file(self, name: str) -> None:
        destination = DestinationPath(tuple(self.record.destination.split("/")))
        try:
            with self._tree.parent_of(destination) as parent:
                remove_file(name, parent)
        except (PathNotFound, MalformedPacket):
            pass  # the folder is gone, or elsewhere, and the hidden file with it


def _vanished_or(error: OSError) -> Exception:
    """What to raise where the request entity cannot be opened."""
    if error.errno not in NO_FILE:
        return error
    return EntityVanished("what stands in the place of the request entity is no file")
