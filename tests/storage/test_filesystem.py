"""The file store keeps the contract; and what there is on a disk only."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server.protocol.errors import (
    AccessDenied,
    BitsError,
    EntityVanished,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore, refuse_unusable
from bits_server.storage.interface import (
    DestinationState,
    FolderUnusable,
    LeftoverKind,
    ReplyUnusable,
    StoredSession,
    Sweep,
)
from tests.storage.stages import (
    FileStage,
    StoreStage,
    assert_ends,
    closed_record_of,
    new_record,
    nothing_left_behind,
    path_of,
)
from tests.storage.store_contract import EndContract, StoreContract

CONTENT = bytes(range(256)) * 40
GUID = "{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"
OTHER_GROUP = 54_321

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files to any group")

HOUSEHOLD = {".closed", ".owners", ".quota"}


class TestFilesystemStore(EndContract):
    def make_stage(self, path: Path) -> StoreStage:
        return FileStage(path)


class TestEachFragmentDurable(StoreContract):
    """Everything is synced, the records too."""

    def make_stage(self, path: Path) -> StoreStage:
        return FileStage(path, DiskRules(sync_on_close=True, sync_each_fragment=True))


class TestWithoutLinks(StoreContract):
    """A file system that has no hard links: what is published is copied, then renamed."""

    @pytest.fixture(autouse=True)
    def no_links(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "link", _refusing_link(errno.EPERM))

    def make_stage(self, path: Path) -> StoreStage:
        return FileStage(path)


class TestSessionsElsewhere(StoreContract):
    """BITS-Sessions is a link to another file system: what is published is copied."""

    @pytest.fixture(autouse=True)
    def elsewhere(self, small_disk: Path) -> None:
        self._elsewhere = small_disk

    def make_stage(self, path: Path) -> StoreStage:
        (path / "virtual directory").mkdir()
        (path / "virtual directory" / "BITS-Sessions").symlink_to(self._elsewhere)
        return FileStage(path)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[FileStage]:
    stage = FileStage(tmp_path)
    with nothing_left_behind(stage):
        yield stage


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    try:
        yield request.param
    finally:
        os.umask(before)


def test_on_another_file_system_the_sessions_really_are(small_disk: Path, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cross-device") as caught:
        _link_between(small_disk, tmp_path)
    assert caught.value.errno == errno.EXDEV


# preparing


def test_preparing_makes_the_folders_and_can_be_repeated(tmp_path: Path) -> None:
    store = FilesystemStore(str(tmp_path), DiskRules())
    store.prepare()
    store.prepare()
    assert {path.name for path in (tmp_path / "BITS-Sessions").iterdir()} == HOUSEHOLD


def test_a_folder_that_another_process_makes_at_this_moment_is_usable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers of a server start together."""
    for name in ("isdir", "lexists"):
        real = getattr(os.path, name)

        def look(path: str, real: Callable[[str], bool] = real) -> bool:
            found = real(path)
            if path.endswith("BITS-Sessions"):
                os.makedirs(path, exist_ok=True)
            return found

        monkeypatch.setattr(os.path, name, look)
    refuse_unusable(str(tmp_path))
    assert (tmp_path / "BITS-Sessions").is_dir()


def test_a_store_that_was_never_prepared_changes_nothing(tmp_path: Path) -> None:
    store = FilesystemStore(str(tmp_path), DiskRules())
    assert list(store.session_ids()) == []
    assert list(store.leftovers()) == []
    store.note_swept(Sweep.SESSIONS)
    with store.cleaning() as may_clean:
        assert may_clean
    with pytest.raises(SessionNotFound):
        store.open(SessionId.parse(GUID))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["missing", "a file", "sessions are a file", "a dangling link"])
def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path, what: str) -> None:
    root = tmp_path / "root"
    if what == "a file":
        root.write_bytes(b"")
    elif what != "missing":
        root.mkdir()
    if what == "sessions are a file":
        (root / "BITS-Sessions").write_bytes(b"")
    elif what == "a dangling link":
        (root / "BITS-Sessions").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FolderUnusable, match="root"):
        FilesystemStore(str(root), DiskRules()).prepare()
    assert not (tmp_path / "nowhere").exists()


# trying out


def test_a_folder_that_can_be_used_is_left_as_it_was(tmp_path: Path) -> None:
    stage = FileStage(tmp_path)
    session_id = stage.create()
    before = sorted(map(str, tmp_path.rglob("*")))
    stage.another_store().try_out()
    assert sorted(map(str, tmp_path.rglob("*"))) == before
    assert list(stage.store.session_ids()) == [session_id]


def test_a_folder_that_was_tidied_away_is_made_anew_as_by_a_packet(tmp_path: Path) -> None:
    stage = FileStage(tmp_path)
    stage.tidy_away()
    stage.another_store().try_out()
    assert list(stage.store.leftovers()) == []


def test_what_makes_a_session_impossible_is_told(tmp_path: Path) -> None:
    stage = FileStage(tmp_path)
    stage.sessions.rename(tmp_path / "away")
    stage.sessions.write_bytes(b"")
    with pytest.raises(FolderUnusable, match="BITS-Sessions is no folder"):
        stage.another_store().try_out()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["mkdir", "write", "rmtree"])
def test_a_disk_that_fails_is_told_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    store = FileStage(tmp_path).another_store()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    where = {"mkdir": "os.mkdir", "write": "builtins.open", "rmtree": "shutil.rmtree"}[call]
    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(FolderUnusable, match=os.strerror(number)):
            store.try_out()


def test_a_full_disk_is_found_though_its_folders_can_be_made(small_disk: Path) -> None:
    store = FilesystemStore(str(small_disk), DiskRules())
    store.prepare()
    store.try_out()
    assert 0 < store.free_bytes() <= 2 << 20
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, store.free_bytes())
    assert store.free_bytes() == 0
    with pytest.raises(FolderUnusable, match=r"no session can be made in .*: No space left"):
        store.try_out()
    assert list(store.leftovers()) == []
    filler.unlink()
    store.try_out()


# modes and groups


def test_modes_do_not_depend_on_the_umask(umask: int, tmp_path: Path) -> None:  # noqa: ARG001
    stage = FileStage(tmp_path)
    session_id = stage.create_complete(CONTENT)
    assert _mode(stage.sessions) == 0o700
    assert {_mode(stage.sessions / name) for name in HOUSEHOLD} == {0o700}
    assert _mode(stage.session_folder(session_id)) == 0o700
    assert _mode(stage.session_folder(session_id) / "session.json") == 0o600
    assert _mode(stage.session_folder(session_id) / "request") == 0o600
    store = stage.another_store(create_folders=True)
    with closing(store.open(session_id)) as session, session.locked():
        session.publish(path_of("a/b/f.bin"), overwrite=False)
        session.delete(closed_record_of(session.record))
    store.publish_empty(path_of("empty.bin"))
    assert _mode(stage.root / "a/b/f.bin") == 0o640
    assert _mode(stage.root / "empty.bin") == 0o640
    assert _mode(stage.root / "a") == _mode(stage.root / "a/b") == 0o750
    assert _mode(stage.sessions / ".closed" / str(session_id)) == 0o600


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("is_linkable", [False, True])
def test_a_published_file_has_the_mode_of_the_settings(
    umask: int,  # noqa: ARG001
    overwrite: bool,
    is_linkable: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not is_linkable:
        monkeypatch.setattr(os, "link", _refusing_link(errno.EXDEV))
    stage = FileStage(tmp_path, DiskRules(file_mode=0o664, sync_on_close=False))
    stage.publish(stage.create_complete(CONTENT), "f.bin", overwrite=overwrite)
    assert _mode(stage.root / "f.bin") == 0o664


def test_the_mode_of_a_folder_that_was_there_is_left(tmp_path: Path) -> None:
    stage = FileStage(tmp_path)
    (stage.root / "a").mkdir(mode=0o700)
    assert stage.another_store(create_folders=True).publish_empty(path_of("a/b/f.bin"))
    assert _mode(stage.root / "a") == 0o700


@only_root
def test_a_session_group_may_read_what_was_received_and_nothing_else(
    umask: int,  # noqa: ARG001
    tmp_path: Path,
) -> None:
    rules = DiskRules(session_mode=0o640, session_group=OTHER_GROUP, sync_on_close=False)
    stage = FileStage(tmp_path, rules)
    session_id = stage.create_complete(CONTENT)
    folder = stage.session_folder(session_id)
    assert _mode(stage.sessions) == 0o710, "the group enters, and does not list"
    assert _mode(folder) == 0o710, "who can open it can lock it"
    assert _mode(folder / "request") == 0o640
    assert _mode(folder / "session.json") == 0o600
    assert {_mode(stage.sessions / name) for name in HOUSEHOLD} == {0o700}
    for path in (stage.sessions, folder, folder / "request"):
        assert path.stat().st_gid == OTHER_GROUP
    stage.publish(session_id, "f.bin")
    assert (stage.root / "f.bin").stat().st_gid == os.getegid()


@only_root
@pytest.mark.parametrize("is_linkable", [False, True])
@pytest.mark.parametrize("overwrite", [False, True])
def test_in_a_setgid_folder_files_and_folders_have_its_group(
    is_linkable: bool, overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_linkable:
        monkeypatch.setattr(os, "link", _refusing_link(errno.EXDEV))
    stage = FileStage(tmp_path)
    shared = stage.root / "shared"
    shared.mkdir()
    os.chown(shared, -1, OTHER_GROUP)
    shared.chmod(0o2775)
    store = stage.another_store(create_folders=True)
    with closing(store.open(stage.create_complete(CONTENT))) as session, session.locked():
        session.publish(path_of("shared/new/f.bin"), overwrite=overwrite)
    store.publish_empty(path_of("shared/empty.bin"))
    assert _mode(shared / "new") == 0o2750
    for name in ("new", "new/f.bin", "empty.bin"):
        assert (shared / name).stat().st_gid == OTHER_GROUP
    assert _mode(shared / "new/f.bin") == 0o640


# publishing


def test_on_one_file_system_publishing_copies_nothing(stage: FileStage) -> None:
    session_id = stage.create_complete(CONTENT)
    stage.publish(session_id, "f.bin")
    entity = stage.session_folder(session_id) / "request"
    assert (stage.root / "f.bin").samefile(entity)


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP])
@pytest.mark.parametrize("overwrite", [False, True])
def test_where_links_are_impossible_the_file_is_copied(
    stage: FileStage, number: int, overwrite: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refusing_link(number))
    session_id = stage.create_complete(CONTENT)
    stage.publish(session_id, "f.bin", overwrite=overwrite)
    assert stage.files() == {"f.bin": CONTENT}
    entity = stage.session_folder(session_id) / "request"
    assert not (stage.root / "f.bin").samefile(entity)


def test_another_failure_of_a_link_is_no_reason_to_copy(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", _refusing_link(errno.EIO))
    session_id = stage.create_complete(CONTENT)
    with pytest.raises(OSError, match="refused"):
        stage.publish(session_id, "f.bin")
    assert stage.files() == {}


@pytest.mark.parametrize("is_linkable", [False, True])
def test_a_file_that_appears_at_the_last_moment_is_not_replaced(
    stage: FileStage, is_linkable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_link = os.link

    def late(name: str, new_name: str, **options: Any) -> None:
        if new_name == "f.bin":
            stage.put_file("f.bin", b"faster")
        if not is_linkable:
            raise OSError(errno.EPERM, "refused")
        real_link(name, new_name, **options)

    monkeypatch.setattr(os, "link", late)
    session_id = stage.create_complete(CONTENT)
    with pytest.raises(AccessDenied):
        stage.publish(session_id, "f.bin")
    assert stage.files() == {"f.bin": b"faster"}


def test_a_copy_that_finds_no_room_is_removed_and_can_be_made_later(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = stage.create_complete(CONTENT)
    monkeypatch.setattr(os, "link", _refusing_link(errno.EXDEV))
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", _full_disk)
        with pytest.raises(OSError, match="full"):
            stage.publish(session_id, "f.bin")
    assert stage.files() == {}, "half a copy would keep the disk full"
    with stage.open(session_id) as session:
        assert session.received_length() == len(CONTENT)
        with session.locked():
            session.publish(path_of("f.bin"), overwrite=False)
        stage.delete(session)
    assert stage.files() == {"f.bin": CONTENT}


def test_a_link_at_the_destination_is_replaced_and_not_followed(
    stage: FileStage, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"not to be touched")
    (stage.root / "f.bin").symlink_to(outside)
    session_id = stage.create_complete(CONTENT)
    with pytest.raises(AccessDenied):
        stage.publish(session_id, "f.bin")
    assert stage.store.publish_empty(path_of("f.bin")) is False
    stage.publish(session_id, "f.bin", overwrite=True)
    assert not (stage.root / "f.bin").is_symlink()
    assert stage.files() == {"f.bin": CONTENT}
    assert outside.read_bytes() == b"not to be touched"


class Crash(BaseException):
    """The process ended here."""


CHANGES = ("fchmod", "fdatasync", "fsync", "link", "mkdir", "pwrite", "rename", "replace", "unlink")


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", ["links", "another file system", "no links"])
def test_a_close_that_was_interrupted_at_any_step_is_finished_by_the_next(
    stage: FileStage, side: str, overwrite: bool, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.rules = DiskRules(sync_on_close=True)
    if link != "links":
        monkeypatch.setattr(os, "link", _link_refused(link))
    old = {"f.bin": b"old"} if overwrite else {}
    new = {"f.bin": CONTENT}
    steps = 0
    for last in range(1, 100):
        for name, content in old.items():
            stage.put_file(name, content)
        session_id = stage.create_complete(CONTENT)
        with monkeypatch.context() as patch:
            has_crashed = _crash_at(last, side, patch)
            try:
                _close(stage, session_id, overwrite=overwrite)
            except Crash:
                steps += 1
        visible = {name: text for name, text in stage.files().items() if name == "f.bin"}
        assert visible in (old, new), f"a reader saw half a file after step {last}"
        _close(stage, session_id, overwrite=overwrite)
        assert stage.files() == new, f"after step {last}"
        for debris in stage.leftovers(LeftoverKind.DEBRIS):
            stage.store.remove_leftover(debris)
        stage.remove_file("f.bin")
        if not has_crashed:
            break
    assert steps >= 8


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("link", ["links", "another file system", "no links"])
def test_a_close_that_was_interrupted_leaves_nothing_when_the_session_is_removed(
    stage: FileStage, side: str, overwrite: bool, link: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if link != "links":
        monkeypatch.setattr(os, "link", _link_refused(link))
    hidden = 0
    for last in range(1, 100):
        session_id = stage.create_complete(CONTENT)
        with monkeypatch.context() as patch:
            has_crashed = _crash_at(last, side, patch)
            try:
                stage.publish(session_id, "f.bin", overwrite=overwrite)
            except Crash:
                hidden += any(name.startswith(".") for name in stage.files())
        with stage.open(session_id) as session:
            stage.delete(session)
        assert stage.files() in ({}, {"f.bin": CONTENT}), f"after step {last}"
        (stage.root / "f.bin").unlink(missing_ok=True)
        if not has_crashed:
            break
    assert hidden or (link == "links" and not overwrite)


def _close(stage: FileStage, session_id: SessionId, *, overwrite: bool) -> None:
    """As the manager does it, by a process that knows nothing of the last one."""
    store = stage.another_store()
    stage.deleted.add(session_id)
    stage.kept_closed.add(str(session_id))
    try:
        session = store.open(session_id)
    except SessionNotFound:
        assert store.closed_record(session_id) is not None
        return
    with closing(session), session.locked():
        if store.closed_record(session_id) is None:
            session.publish(path_of("f.bin"), overwrite=overwrite)
        session.delete(closed_record_of(session.record))


class _Steps(list[str]):
    """Truth: the last step came."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self.last = last

    def __bool__(self) -> bool:
        return len(self) >= self.last


def _crash_at(last: int, side: str, patch: pytest.MonkeyPatch) -> _Steps:
    """Let the ``last``-th change on disk, and every later one, be the end of the process."""
    steps = _Steps(last)

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            steps.append(name)
            if len(steps) > last or (len(steps) == last and side == "before"):
                raise Crash(name)
            result = real(*arguments, **options)
            if len(steps) == last:
                raise Crash(name)
            return result

        return step

    for name in CHANGES:
        patch.setattr(os, name, dying(name, getattr(os, name)))
    return steps


# all or nothing


@pytest.mark.parametrize("failing", ["open", "pwrite", "fsync", "rename"])
def test_a_record_that_cannot_be_saved_leaves_the_old_one(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = FileStage(tmp_path, DiskRules(sync_each_fragment=True))
    session_id = stage.create()
    with stage.open(session_id) as session, session.locked():
        before = session.record
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, _full_disk)
            with pytest.raises(OSError, match="full"):
                session.save(replace(before, total=5))
        assert session.record == before
    with stage.open(session_id) as session:
        assert session.record == before
    assert stage.strays() == []


@pytest.mark.parametrize("failing", ["mkdir", "pwrite", "fsync"])
def test_a_session_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = FileStage(tmp_path, DiskRules(sync_each_fragment=True))
    with monkeypatch.context() as patch:
        patch.setattr(os, failing, _full_disk)
        with pytest.raises(OSError, match="full"):
            stage.store.create(new_record())
    assert {path.name for path in stage.sessions.iterdir()} == HOUSEHOLD


def test_of_a_block_that_finds_no_room_what_was_written_counts(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_pwrite = os.pwrite

    def first_bytes_only(fd: int, block: bytes, at: int) -> int:
        if at >= 5:
            raise OSError(errno.ENOSPC, "full")
        return real_pwrite(fd, block[: 5 - at], at)

    session_id = stage.create()
    with stage.open(session_id) as session:
        session.append(b"ab", 0)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", first_bytes_only)
            with pytest.raises(OSError, match="full"):
                session.append(b"cdefgh", 2)
        assert session.received_length() == 5
        assert session.append(b"cdefgh", 2) == 8
    assert (stage.session_folder(session_id) / "request").read_bytes() == b"abcdefgh"


def test_a_closed_record_that_cannot_be_kept_keeps_the_session(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session, session.locked():
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", _full_disk)
            with pytest.raises(OSError, match="full"):
                session.delete(closed_record_of(session.record))
        assert session.received_length() == len(CONTENT)
    assert list(stage.store.session_ids()) == [session_id]
    assert stage.store.closed_record(session_id) is None
    stage.publish(session_id, "f.bin")
    assert stage.files() == {"f.bin": CONTENT}


# tidied away under the running server


@pytest.mark.parametrize("destination", ["f.bin", "a/f.bin"])
def test_after_bits_sessions_was_tidied_away_uploads_go_on(
    stage: FileStage, destination: str
) -> None:
    stage.put_folder("a")
    lost = stage.create()
    stage.tidy_away()
    with pytest.raises(SessionNotFound):
        stage.store.open(lost)
    assert stage.store.examine(path_of(destination)) is DestinationState.FREE
    session_id = stage.create_complete(CONTENT, destination)
    stage.publish(session_id, destination)
    with stage.open(session_id) as session:
        stage.delete(session, closed_record_of(session.record))
    assert stage.files() == {destination: CONTENT}
    assert _mode(stage.sessions) == 0o700


def test_where_bits_sessions_was_tidied_away_there_is_nothing_to_clean(stage: FileStage) -> None:
    session_id = stage.create()
    with stage.open(session_id) as session:
        stage.tidy_away()
        with pytest.raises(SessionNotFound):
            session.append(b"x", 0)
        with pytest.raises(SessionNotFound), session.locked():
            raise AssertionError("the lock of a removed session was given")
    assert list(stage.store.session_ids()) == []
    assert list(stage.store.leftovers()) == []
    assert stage.store.closed_record(session_id) is None
    assert stage.store.last_swept(Sweep.SESSIONS) == 0
    stage.store.note_swept(Sweep.SESSIONS)
    assert not stage.sessions.exists()


def test_an_empty_file_is_published_without_bits_sessions(stage: FileStage) -> None:
    stage.put_folder("a")
    stage.tidy_away()
    assert stage.store.publish_empty(path_of("a/f.bin"))
    assert stage.files() == {"a/f.bin": b""}


def test_the_folder_of_closed_records_is_made_again(stage: FileStage) -> None:
    session_id = stage.create_complete(CONTENT)
    stage.tidy_away(".closed")
    assert stage.store.closed_record(session_id) is None
    with stage.open(session_id) as session:
        stage.delete(session, closed_record_of(session.record))
    assert stage.store.closed_record(session_id) is not None
    assert {_mode(stage.sessions / name) for name in HOUSEHOLD} == {0o700}


def test_a_folder_that_was_unmounted_is_not_made_anew(stage: FileStage) -> None:
    shutil.rmtree(stage.root)
    with pytest.raises(FileNotFoundError):
        stage.store.create(new_record())
    assert not stage.root.exists()


# wrecks, debris, and what is not ours


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b'{"format": 1, "gu',
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b"\0" * 200,
    ],
)
def test_a_session_without_a_readable_record_is_a_wreck(
    stage: FileStage, text: bytes | None
) -> None:
    session_id = stage.create_complete(CONTENT)
    record = stage.session_folder(session_id) / "session.json"
    record.unlink()
    if text is not None:
        record.write_bytes(text)
    with pytest.raises(SessionNotFound):
        stage.store.open(session_id)
    assert [found for found, _ in stage.store.progress()] == [session_id]
    stage.store.remove_wreck(session_id)
    assert {path.name for path in stage.sessions.iterdir()} == HOUSEHOLD


def test_a_wreck_with_nothing_in_it_is_as_old_as_its_folder(stage: FileStage) -> None:
    folder = stage.sessions / GUID
    folder.mkdir()
    os.utime(folder, (1_000, 1_000))
    assert list(stage.store.progress()) == [(SessionId.parse(GUID), 1_000.0)]
    stage.store.remove_wreck(SessionId.parse(GUID))
    assert not folder.exists()


def test_a_record_that_was_being_written_goes_with_its_session(stage: FileStage) -> None:
    session_id = stage.create()
    (stage.session_folder(session_id) / "session.json.new").write_bytes(b"{")
    with stage.open(session_id) as session:
        stage.delete(session)
    assert {path.name for path in stage.sessions.iterdir()} == HOUSEHOLD


def test_a_closed_record_that_was_being_written_is_a_leftover(stage: FileStage) -> None:
    (stage.sessions / ".closed" / f"{GUID}.new").write_bytes(b"{")
    [found] = stage.store.leftovers()
    assert (found.kind, found.name) == (LeftoverKind.CLOSED_RECORD, f".closed/{GUID}.new")
    assert stage.store.closed_record(SessionId.parse(GUID)) is None
    stage.store.remove_leftover(found)
    assert list(stage.store.leftovers()) == []


def test_a_closed_record_that_cannot_be_read_is_none(stage: FileStage) -> None:
    (stage.sessions / ".closed" / GUID).write_bytes(b"{")
    assert stage.store.closed_record(SessionId.parse(GUID)) is None
    stage.kept_closed.add(GUID)


def test_debris_is_removed_with_all_that_somebody_put_into_it(
    stage: FileStage, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not to be touched")
    debris = stage.sessions / f".removed-{GUID}"
    (debris / "deep" / "deeper").mkdir(parents=True)
    (debris / "deep" / "file").write_bytes(b"x")
    (debris / "link").symlink_to(outside)
    [found] = stage.store.leftovers()
    assert found.kind is LeftoverKind.DEBRIS
    stage.store.remove_leftover(found)
    assert not debris.exists()
    assert (outside / "file").read_bytes() == b"not to be touched"


def test_debris_that_cannot_be_removed_is_told(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = stage.plant(LeftoverKind.DEBRIS, GUID)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", _full_disk)
        patch.setattr(os, "rmdir", _full_disk)
        with pytest.raises(OSError, match="could not be removed"):
            stage.store.remove_leftover(found)
    stage.store.remove_leftover(found)
    assert list(stage.store.leftovers()) == []


FOREIGN_NAMES = [
    GUID.lower(),
    GUID[1:-1],
    GUID + "x",
    ".removed-",
    f".removed-{GUID}x",
    f".removed-{GUID.lower()}",
    "session.json",
    "{}",
    "Thumbs.db",
    "na\u00efve \u6587\u4ef6",
]


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
@pytest.mark.parametrize("name", FOREIGN_NAMES)
def test_what_does_not_look_exactly_like_ours_is_foreign(
    stage: FileStage, tmp_path: Path, name: str, kind: str
) -> None:
    _make(kind, stage.sessions / name, tmp_path)
    stage.planted.add(name)
    assert list(stage.store.session_ids()) == []
    [found] = stage.store.leftovers()
    assert (found.kind, found.name) == (LeftoverKind.FOREIGN, name)
    stage.store.remove_leftover(found)
    assert os.path.lexists(stage.sessions / name)


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("name", [GUID, f".removed-{GUID}"])
def test_what_has_our_name_and_is_no_folder_is_foreign(
    stage: FileStage, tmp_path: Path, name: str, kind: str
) -> None:
    _make(kind, stage.sessions / name, tmp_path)
    stage.planted.add(name)
    assert list(stage.store.session_ids()) == []
    with pytest.raises(SessionNotFound):
        stage.store.open(SessionId.parse(GUID))
    assert [found.kind for found in stage.store.leftovers()] == [LeftoverKind.FOREIGN]


@pytest.mark.parametrize(("kind", "name"), [("link", GUID), ("folder", GUID), ("file", "notes")])
def test_strangers_among_the_closed_records_are_foreign(
    stage: FileStage, tmp_path: Path, kind: str, name: str
) -> None:
    _make(kind, stage.sessions / ".closed" / name, tmp_path)
    stage.planted.add(f".closed/{name}")
    [found] = stage.store.leftovers()
    assert (found.kind, found.name) == (LeftoverKind.FOREIGN, f".closed/{name}")


def test_a_request_entity_that_is_a_link_is_never_followed(
    stage: FileStage, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(CONTENT)
    session_id = stage.create_complete(CONTENT)
    stage.take_entity_away(session_id)
    (stage.session_folder(session_id) / "request").symlink_to(outside)
    with stage.open(session_id) as session:
        with pytest.raises(EntityVanished, match="is no file"):
            session.append(b"x" * len(CONTENT), 0)
        with session.locked(), pytest.raises(EntityVanished):
            session.publish(path_of("f.bin"), overwrite=False)
    assert outside.read_bytes() == CONTENT
    assert stage.files() == {}


@pytest.mark.parametrize("part", ["request", "session.json", "response", "notifying"])
@pytest.mark.parametrize("planted", ["pipe", "folder"])
def test_what_was_planted_in_the_place_of_a_file_holds_nobody_up(
    stage: FileStage, part: str, planted: str
) -> None:
    """Whoever the session's folder is open to can do that."""
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session, session.locked():
        session.save(replace(session.record, is_complete=False))
    path = stage.session_folder(session_id) / part
    path.unlink(missing_ok=True)
    if planted == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()

    def use() -> None:
        with suppress(OSError, BitsError, ReplyUnusable), stage.open(session_id) as session:
            for action in (
                lambda: session.append(CONTENT, 0),
                session.received_length,
                session.make_durable,
                session.open_reply,
                lambda: session.open_request_entity().close(),
                lambda: _enter(session.notifying()),
                lambda: _publish(session),
            ):
                with suppress(OSError, BitsError, ReplyUnusable):
                    action()

    def _publish(session: StoredSession) -> None:
        with session.locked():
            session.publish(path_of("f.bin"), overwrite=False)

    assert_ends(use, "somebody waits")
    if part == "request":
        with stage.open(session_id) as session, pytest.raises(EntityVanished):
            session.received_length()
        assert stage.files() == {}
    stage.store.remove_wreck(session_id)


def _enter(context: AbstractContextManager[None]) -> None:
    with context:
        pass


# processes

_HOLD_THE_TURN = """
import sys
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
with FilesystemStore(sys.argv[1], DiskRules()).cleaning() as may_clean:
    print(may_clean, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("is_killed", [False, True])
def test_another_process_that_cleans_is_waited_for_and_its_death_gives_the_turn_back(
    stage: FileStage, is_killed: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD_THE_TURN, str(stage.root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        with stage.store.cleaning() as may_clean:
            assert not may_clean
        if is_killed:
            other.kill()
        other.stdin.close()
        other.wait(20)
    with stage.store.cleaning() as may_clean:
        assert may_clean


def test_a_session_made_a_while_ago_is_as_old_as_its_last_byte(stage: FileStage) -> None:
    session_id = stage.create()
    with stage.open(session_id) as session:
        session.append(b"abc", 0)
        now = time.time()
        os.utime(stage.session_folder(session_id) / "session.json", (now - 900, now - 900))
        assert session.last_progress() == pytest.approx(now, abs=5)
        os.utime(stage.session_folder(session_id) / "request", (now - 800, now - 800))
        assert session.last_progress() == pytest.approx(now - 800, abs=1)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _make(kind: str, path: Path, outside: Path) -> None:
    if kind == "file":
        path.write_bytes(b"of a stranger")
    elif kind == "folder":
        path.mkdir()
        (path / "file").write_bytes(b"of a stranger")
    else:
        target = outside / str(uuid.uuid4())
        target.mkdir()
        path.symlink_to(target)


def _link_between(one: Path, other: Path) -> None:
    (one / "file").write_bytes(b"")
    try:
        os.link(one / "file", other / "file")
    finally:
        (one / "file").unlink()


def _refusing_link(number: int) -> Callable[..., None]:
    def link(*_arguments: Any, **_options: Any) -> None:
        raise OSError(number, "refused")

    return link


def _link_refused(case: str) -> Callable[..., None]:
    """Between file systems only, or always."""
    real_link = os.link

    def link(name: str, new_name: str, **options: Any) -> None:
        if case == "no links":
            raise OSError(errno.EPERM, "refused")
        if name == "request":
            raise OSError(errno.EXDEV, "refused")
        real_link(name, new_name, **options)

    return link


def _full_disk(*_arguments: Any, **_options: Any) -> Any:
    raise OSError(errno.ENOSPC, "full")
