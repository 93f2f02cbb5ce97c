"""The files of a virtual directory, reached so that nothing outside it can be touched.

The rule of this file: a folder is opened once, looked at where it really is, and used by its
descriptor from then on; nobody can swap a link in between. Links that stay inside are followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from bits_server.protocol.errors import MalformedPacket, PathNotFound
from bits_server.storage.disk import FOLDER, DiskRules, folder_mode
from bits_server.storage.interface import DestinationPath, DestinationState

_ABOVE = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC  # to look at only: it may be unreadable


class DestinationTree:
    """The folder of a virtual directory, ``root``; ``private`` in it is nobody's destination."""

    def __init__(self, root: str, private: str, rules: DiskRules, *, create_folders: bool) -> None:
        self._root = root
        self._private = private
        self._create_folders = create_folders
        self._mode_of_folders = folder_mode(rules.file_mode)
        self._sync = rules.sync_on_close

    @contextmanager
    def parent_of(self, destination: DestinationPath, *, create: bool = False) -> Iterator[int]:
        """The descriptor of the folder that the destination is in.

        With ``create``: makes a missing folder of the user's own, and others where the settings say
        so. Raises PathNotFound, or MalformedPacket where a link leads out of the virtual directory.
        """
        with self._parent_and_base(destination, create=create) as (parent, _):
            yield parent

    @contextmanager
    def _parent_and_base(
        self, destination: DestinationPath, *, create: bool = False
    ) -> Iterator[tuple[int, tuple[int, int]]]:
        """Also the identity of the folder that the destination must not leave."""
        fd = os.open(self._root, FOLDER)
        try:
            base = identity(os.fstat(fd))
            for number, segment in enumerate(destination.segments[:-1]):
                if number < destination.home:
                    below = self._enter_home(segment, fd, create=create)
                    base = identity(os.fstat(below))
                else:
                    may_create = create and self._create_folders
                    below = self._enter(segment, fd, base, create=may_create)
                os.close(fd)
                fd = below
            if len(destination.segments) - destination.home > 1:
                self._refuse_outside(fd, base)
            yield fd, base
        finally:
            os.close(fd)

    def examine(self, destination: DestinationPath) -> DestinationState:
        """What stands at the destination, or keeps a file from being put there."""
        if len(destination.segments) == 1 and not _is_there(self._root, destination.segments[0]):
            return DestinationState.FREE  # mostly: known without opening a folder
        try:
            with self._parent_and_base(destination) as (parent, base):
                return self._state_of(destination, parent, base)
        except _NoHome:
            is_alone = len(destination.segments) - destination.home == 1
            may_be_made = is_alone or self._create_folders
            return DestinationState.FREE if may_be_made else DestinationState.NO_FOLDER
        except PathNotFound as error:
            is_missing = isinstance(error.__cause__, FileNotFoundError)
            if is_missing and self._create_folders:
                return DestinationState.FREE
            return DestinationState.NO_FOLDER
        except MalformedPacket:
            return DestinationState.OUTSIDE

    def _enter_home(self, segment: str, fd: int, *, create: bool) -> int:
        """Open a folder of the user's own; a link in its place is not followed."""
        try:
            return os.open(segment, FOLDER | os.O_NOFOLLOW, dir_fd=fd)
        except FileNotFoundError as error:
            if not create:
                raise _NoHome(f"there is no folder {segment!r} yet") from error
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise PathNotFound(f"{segment!r} must be a folder, and no link") from error
            raise
        return self._make(segment, fd, follow=False)

    def _enter(self, segment: str, fd: int, base: tuple[int, int], *, create: bool) -> int:
        """Open a folder below ``fd``, which stays open."""
        try:
            return os.open(segment, FOLDER, dir_fd=fd)
        except FileNotFoundError as error:
            self._refuse_outside(fd, base)
            if _has_name(segment, fd):  # none can be made here: told at once, not at the end
                raise PathNotFound(f"{segment!r} is a link that leads nowhere") from None
            if not create:
                raise PathNotFound(f"there is no folder {segment!r}") from error
        except NotADirectoryError as error:
            raise PathNotFound(f"{segment!r} is a file and not a folder") from error
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise MalformedPacket(f"{segment!r} is a link without an end") from error
            raise
        return self._make(segment, fd, follow=True)

    def _make(self, segment: str, fd: int, *, follow: bool) -> int:
        """Make a folder and open it. ``follow`` a link that somebody put there meanwhile."""
        try:
            os.mkdir(segment, self._mode_of_folders, dir_fd=fd)
        except FileExistsError:
            is_ours = False  # another session made it, or it is a link that leads nowhere
        else:
            is_ours = True
            if self._sync:
                os.fsync(fd)
        try:
            strict = 0 if follow and not is_ours else os.O_NOFOLLOW
            below = os.open(segment, FOLDER | strict, dir_fd=fd)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise PathNotFound(f"{segment!r} is no folder") from error
        try:
            if is_ours:  # umask is no limit: whoever may read the files may enter
                os.fchmod(below, self._mode_of_folders | os.fstat(below).st_mode & stat.S_ISGID)
        except BaseException:
            os.close(below)
            raise
        return below

    def _refuse_outside(self, fd: int, base: tuple[int, int]) -> None:
        """Climb from the open folder to ``base``; meeting ``private`` or missing the base is out.

        By identity and not by name: it holds whatever is renamed, linked or mounted meanwhile.
        """
        private = self._private_identity()
        here, found = os.dup(fd), identity(os.fstat(fd))
        try:
            while found != base:
                above = os.open("..", _ABOVE, dir_fd=here)
                os.close(here)
                here, below = above, found
                found = identity(os.fstat(here))
                if below == private or found == below:  # the top of the file system is its own ..
                    raise MalformedPacket("a link leads out of the virtual directory")
        finally:
            os.close(here)

    def _private_identity(self) -> tuple[int, int] | None:
        try:
            return identity(os.stat(self._private))
        except FileNotFoundError:
            return None  # somebody tidied it away; nothing leads into it then

    def _state_of(
        self, destination: DestinationPath, parent: int, base: tuple[int, int]
    ) -> DestinationState:
        try:
            found = os.lstat(destination.segments[-1], dir_fd=parent)
        except FileNotFoundError:
            return DestinationState.FREE
        if stat.S_ISLNK(found.st_mode):
            return self._state_of_link(destination, parent, base)
        return DestinationState.FOLDER if stat.S_ISDIR(found.st_mode) else DestinationState.TAKEN

    def _state_of_link(
        self, destination: DestinationPath, parent: int, base: tuple[int, int]
    ) -> DestinationState:
        """A link as the last segment is never followed when writing; it may still be refused."""
        try:
            fd = os.open(destination.segments[-1], os.O_PATH | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            return DestinationState.OUTSIDE  # it leads nowhere that can be looked at
        try:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                self._refuse_outside(fd, base)
                return DestinationState.FOLDER
            target = os.readlink(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)
        home = os.path.join(self._root, *destination.segments[: destination.home])
        inside = os.path.realpath(home) + "/"
        return DestinationState.TAKEN if target.startswith(inside) else DestinationState.OUTSIDE


class _NoHome(PathNotFound):
    """The user's own folder is not there yet: the first upload makes it."""


def _has_name(name: str, folder: int) -> bool:
    try:
        os.lstat(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    return True


def _is_there(folder: str, name: str) -> bool:
    try:
        os.lstat(f"{folder}/{name}")
    except FileNotFoundError:
        return False
    return True


def identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
