"""The folder in which workers share what they count: private, new, and never left for long."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bits_server.cli.metrics_folder import PREFIX, MetricsFolder


def arbiter(*numbers: int) -> Any:
    workers = {pid: SimpleNamespace(metrics_number=number) for pid, number in enumerate(numbers)}
    config = SimpleNamespace(uid=os.geteuid(), gid=os.getegid())
    return SimpleNamespace(WORKERS=workers, cfg=config)


def folders(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


def test_each_start_has_a_private_folder_of_its_own(tmp_path: Path) -> None:
    first, second = MetricsFolder(str(tmp_path)), MetricsFolder(str(tmp_path))
    for each in (first, second):
        each.when_ready(arbiter())
        assert Path(each.path).stat().st_mode & 0o777 == 0o700
    assert first.path != second.path
    assert len(folders(tmp_path)) == 2
    (Path(first.path) / "counter_0.db").write_bytes(b"")
    first.on_exit(arbiter())
    assert folders(tmp_path) == [Path(second.path).name]
    second.on_exit(arbiter())
    assert folders(tmp_path) == []


KILLED = """
import os, sys
from types import SimpleNamespace
from bits_server.cli.metrics_folder import MetricsFolder
folder = MetricsFolder(sys.argv[1])
config = SimpleNamespace(uid=os.geteuid(), gid=os.getegid())
folder.when_ready(SimpleNamespace(cfg=config))
open(os.path.join(folder.path, "counter_0.db"), "w").close()
os.kill(os.getpid(), 9)
"""


def test_what_a_kill_left_is_removed_by_the_next_start_and_nothing_else(tmp_path: Path) -> None:
    in_use = MetricsFolder(str(tmp_path))
    in_use.when_ready(arbiter())
    ran = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True)
    assert ran.returncode == -9, ran.stderr
    (tmp_path / "of somebody else").mkdir()
    (tmp_path / f"{PREFIX}file").write_bytes(b"")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "of somebody else")
    left = set(folders(tmp_path))
    assert len(left) == 5
    new = MetricsFolder(str(tmp_path))
    new.when_ready(arbiter())
    expected = {"of somebody else", f"{PREFIX}file", f"{PREFIX}link"}
    assert set(folders(tmp_path)) == expected | {Path(in_use.path).name, Path(new.path).name}
    assert left & set(folders(tmp_path)) == expected | {Path(in_use.path).name}


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_a_folder_that_another_start_took_for_abandoned_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    removed: list[str] = []
    make, lock = tempfile.mkdtemp, fcntl.flock

    def remove_first(path: str) -> None:
        if not removed:
            removed.append(path)
            os.rmdir(path)

    def make_and_lose(**options: Any) -> str:
        path: str = make(**options)
        if moment == "before it is opened":
            remove_first(path)
        return path

    def lose_and_lock(folder: int, operation: int) -> None:
        if moment == "before it is locked":
            remove_first(os.readlink(f"/proc/self/fd/{folder}"))
        lock(folder, operation)

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    monkeypatch.setattr(fcntl, "flock", lose_and_lock)
    folder = MetricsFolder(str(tmp_path))
    folder.when_ready(arbiter())
    assert removed
    assert folders(tmp_path) == [Path(folder.path).name]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_folder_of_another_user_is_left(tmp_path: Path) -> None:
    other = tmp_path / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, 54_321, 54_321)
    MetricsFolder(str(tmp_path)).when_ready(arbiter())
    assert other.is_dir()


@pytest.mark.parametrize(
    ("living", "number"), [((), 0), ((0, 1), 2), ((1, 2), 0), ((0, 2), 1), ((2, 0, 1), 3)]
)
def test_a_worker_has_the_lowest_number_that_no_living_one_has(
    living: tuple[int, ...], number: int
) -> None:
    worker = SimpleNamespace()
    MetricsFolder().pre_fork(arbiter(*living), worker)
    assert worker.metrics_number == number
