"""The few things done to files: nothing is lost, nothing is half done, no link is followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bits_server.storage.disk import (
    FOLDER,
    folder_mode,
    read_file,
    remove_file,
    replace_file,
    write_all,
)
from bits_server.storage.rename_exclusive import rename_exclusive


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """The open folder ``tmp_path``."""
    fd = os.open(tmp_path, FOLDER)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("mode_of_files", "expected"),
    [(0o600, 0o700), (0o640, 0o750), (0o660, 0o770), (0o644, 0o755), (0o664, 0o775)],
)
def test_whoever_may_read_the_files_may_enter_their_folder(
    mode_of_files: int, expected: int
) -> None:
    assert folder_mode(mode_of_files) == expected


def test_a_write_that_is_cut_short_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, block, at: real_pwrite(fd, block[:3], at))
    with open(tmp_path / "file", "wb") as file:
        write_all(file.fileno(), b"0123456789", 0)
        write_all(file.fileno(), memoryview(b"abcd"), 10)
        write_all(file.fileno(), b"", 99)
    assert (tmp_path / "file").read_bytes() == b"0123456789abcd"


def test_a_file_is_replaced_wholly(fd: int, tmp_path: Path) -> None:
    for content in (b"a longer text", b"short"):
        replace_file("file", content, fd, 0o600, sync=True)
        assert read_file("file", fd) == content
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_what_an_interrupted_replacement_left_is_no_obstacle(fd: int, tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"what a process that died had written of a longer text")
    replace_file("file", b"text", fd, 0o600, sync=False)
    assert read_file("file", fd) == b"text"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("failing", ["open", "pwrite", "fsync", "rename"])
def test_a_replacement_that_fails_leaves_the_old_file(
    fd: int, tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, fail)
        with pytest.raises(OSError, match="full"):
            replace_file("file", b"new", fd, 0o600, sync=True)
    assert read_file("file", fd) == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_that_only_close_tells_is_not_lost(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    real_close = os.close

    def fail(number: int) -> None:
        real_close(number)
        raise OSError(errno.EIO, "delayed")

    with monkeypatch.context() as patch:
        patch.setattr(os, "close", fail)
        with pytest.raises(OSError, match="delayed"):
            replace_file("file", b"new", fd, 0o600, sync=False)
    assert read_file("file", fd) == b"old"


def test_links_are_not_followed(fd: int, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"not to be touched")
    (tmp_path / "link").symlink_to(target)
    (tmp_path / "other.new").symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        read_file("link", fd)
    replace_file("other", b"text", fd, 0o600, sync=False)
    assert read_file("other", fd) == b"text"
    replace_file("link", b"text", fd, 0o600, sync=False)
    assert read_file("link", fd) == b"text"
    remove_file("link", fd)
    assert target.read_bytes() == b"not to be touched"


def test_a_file_may_be_gone_already(fd: int) -> None:
    remove_file("file", fd)
    with pytest.raises(FileNotFoundError):
        read_file("file", fd)


def test_an_exclusive_rename_takes_a_free_name(fd: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    rename_exclusive("a", "b \u00fc", fd)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"b \u00fc": b"text"}


def test_an_exclusive_rename_never_replaces(fd: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        rename_exclusive("a", "b", fd)
    assert (tmp_path / "a").read_bytes() == b"text"
    assert (tmp_path / "b").read_bytes() == b"old"


def test_an_exclusive_rename_tells_what_is_missing(fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        rename_exclusive("a", "b", fd)
