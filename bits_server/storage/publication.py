"""Putting a complete request entity at its destination, so that it can be repeated.

The rule of this file: a Close-Session that comes after a crash finds out how far the last one got.
A link is told by being the same file as ``request``, which keeps its name until the caller has
written the closed record; of a copy, and of a hidden name, the record says so before others can see
them. A reader of the destination sees nothing, or the old file, or the whole new one.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import replace

from bits_server.protocol.errors import (
    AccessDenied,
    BitsError,
    EntityVanished,
    MalformedPacket,
)
from bits_server.storage.disk import FILE, NO_FILE, DiskRules, remove_file, write_all
from bits_server.storage.record import SessionRecord
from bits_server.storage.rename_exclusive import rename_exclusive

REQUEST = "request"
COPY_BYTES = 1 << 20

# Linking is impossible: another file system, one without links, or one file with too many.
_CANNOT_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})


class Publication:
    """One try to give the entity in ``folder`` the name ``name`` in the folder ``parent``.

    ``save`` makes a changed record as durable as the settings want the published file.
    """

    def __init__(
        self,
        record: SessionRecord,
        folder: int,
        parent: int,
        name: str,
        rules: DiskRules,
        save: Callable[[SessionRecord], None],
    ) -> None:
        self._record = record
        self._folder = folder
        self._parent = parent
        self._name = name
        self._rules = rules
        self._save = save
        self._hidden = record.hidden_name

    def run(self, *, overwrite: bool) -> None:
        """Raises AccessDenied, MalformedPacket or EntityVanished; the session is unharmed then."""
        try:
            entity = os.open(REQUEST, os.O_RDONLY | FILE, dir_fd=self._folder)
        except OSError as error:
            if error.errno not in (errno.ENOENT, *NO_FILE):
                raise
            raise EntityVanished("the request entity is gone") from error
        try:
            status = os.fstat(entity)
            if status.st_size != self._record.total:
                raise EntityVanished(f"the request entity has {status.st_size} bytes now")
            standing = self._standing()
            if not self._is_there_already(status, standing):
                _refuse_what_cannot_be_replaced(standing, overwrite=overwrite)
                self._give_to_readers(entity, status)
                try:
                    self._publish(entity, overwrite=overwrite)
                except (OSError, BitsError):
                    remove_file(self._hidden, self._parent)  # half a copy keeps a full disk full
                    raise
        finally:
            os.close(entity)
        if self._record.publishing_name is not None:  # no other try had a hidden file
            remove_file(self._hidden, self._parent)
        if self._rules.sync_on_close:
            os.fsync(self._parent)

    def _is_there_already(self, entity: os.stat_result, standing: os.stat_result | None) -> bool:
        """Whether the entity, or the copy that the record names, got there before a crash."""
        if standing is None or standing.st_size != self._record.total:
            return False
        copy = (self._record.publishing_device, self._record.publishing_inode)
        return (standing.st_dev, standing.st_ino) in ((entity.st_dev, entity.st_ino), copy)

    def _standing(self) -> os.stat_result | None:
        try:
            return os.lstat(self._name, dir_fd=self._parent)
        except FileNotFoundError:
            return None

    def _give_to_readers(self, fd: int, status: os.stat_result) -> None:
        """Set mode and group before anyone can see the file."""
        parent = os.fstat(self._parent)
        group = parent.st_gid if parent.st_mode & stat.S_ISGID else os.getegid()
        if status.st_gid != group:
            try:
                os.fchown(fd, -1, group)
            except PermissionError:
                pass  # the folder's group, which this user may not give: it keeps its own
        os.fchmod(fd, self._rules.file_mode)

    def _publish(self, entity: int, *, overwrite: bool) -> None:
        try:
            self._publish_by_link(entity, overwrite=overwrite)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            self._publish_by_copy(entity, overwrite=overwrite)

    def _publish_by_link(self, entity: int, *, overwrite: bool) -> None:
        if self._rules.sync_on_close:
            os.fdatasync(entity)
        if not overwrite:
            self._link(REQUEST, self._folder, self._name)
            return
        self._announce()
        remove_file(self._hidden, self._parent)
        self._link(REQUEST, self._folder, self._hidden)
        os.replace(self._hidden, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)

    def _publish_by_copy(self, entity: int, *, overwrite: bool) -> None:
        """Across file systems: only a whole and durable copy gets the name."""
        self._announce()
        remove_file(self._hidden, self._parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | FILE
        copy = os.open(self._hidden, flags, self._rules.session_mode, dir_fd=self._parent)
        try:
            at = 0
            while block := os.pread(entity, COPY_BYTES, at):
                write_all(copy, block, at)
                at += len(block)
            self._give_to_readers(copy, os.fstat(copy))
            if self._rules.sync_on_close:
                os.fsync(copy)
            self._announce(os.fstat(copy))
        finally:
            os.close(copy)
        if overwrite:
            os.replace(self._hidden, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
            return
        try:
            self._link(self._hidden, self._parent, self._name)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            try:
                rename_exclusive(self._hidden, self._name, self._parent)
            except FileExistsError as taken:
                raise AccessDenied("the destination appeared meanwhile") from taken

    def _link(self, name: str, folder: int, new_name: str) -> None:
        try:
            os.link(
                name, new_name, src_dir_fd=folder, dst_dir_fd=self._parent, follow_symlinks=False
            )
        except FileExistsError as error:
            raise AccessDenied("the destination appeared meanwhile") from error

    def _announce(self, copy: os.stat_result | None = None) -> None:
        """Save the hidden name, so that whoever ends the session removes it; and the copy."""
        self._record = replace(
            self._record,
            publishing_device=copy and copy.st_dev,
            publishing_inode=copy and copy.st_ino,
            publishing_name=self._hidden,
        )
        self._save(self._record)


def _refuse_what_cannot_be_replaced(standing: os.stat_result | None, *, overwrite: bool) -> None:
    if standing is None:
        return
    if stat.S_ISDIR(standing.st_mode):
        raise MalformedPacket("the destination is a folder")
    if not overwrite:
        raise AccessDenied("the destination exists and allow_overwrites is off")
