"""Whether a virtual directory can take uploads: tried, and told in words."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from bits_server.operations.health import Health, LookHangs
from bits_server.settings import VirtualDirectory
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.storage.interface import FolderUnusable


class Store:
    """A folder as the test says."""

    def __init__(self, problem: Exception | None = None, free: int | Exception = 5 << 20) -> None:
        self.problem = problem
        self.free = free

    def try_out(self) -> None:
        if self.problem is not None:
            raise self.problem

    def free_bytes(self) -> int:
        if isinstance(self.free, Exception):
            raise self.free
        return self.free


def lines(store: Store) -> list[str]:
    return [str(each) for each in Health([(VirtualDirectory("/a", "/srv/a"), store)]).look()]


def test_a_folder_that_can_be_used_is_ready() -> None:
    assert lines(Store()) == ["/a: ready, 5 MiB free"]


def test_why_a_folder_cannot_be_used_is_said() -> None:
    assert lines(Store(FolderUnusable("it is gone"))) == ["/a: not ready: it is gone"]


def test_a_disk_that_cannot_be_asked_is_not_ready() -> None:
    failure = OSError(5, "Input/output error")
    assert lines(Store(free=failure)) == ["/a: not ready: /srv/a: Input/output error"]
    both = Store(FolderUnusable("it is gone"), failure)
    [found] = Health([(VirtualDirectory("/a", "/srv/a"), both)]).look()
    assert (found.problem, found.free_bytes) == ("it is gone", None)


def test_each_folder_has_its_line(folder: Path) -> None:
    missing = folder / "missing"
    health = Health(
        (VirtualDirectory(f"/{path.name}", str(path)), FilesystemStore(str(path), DiskRules()))
        for path in (folder, missing)
    )
    good, bad = health.look()
    assert (good.url, good.problem) == ("/uploads", "")
    assert good.free_bytes == pytest.approx(
        os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize, rel=0.2
    )
    assert bad.problem == f"{missing} is not a folder; create it: mkdir -p {missing}"
    assert sorted(path.name for path in folder.iterdir()) == ["BITS-Sessions"]


def test_a_disk_that_hangs_holds_one_thread_and_is_told() -> None:
    class HangingStore(Store):
        def try_out(self) -> None:
            entered.set()
            assert go.wait(20)

    entered, go = threading.Event(), threading.Event()
    health = Health([(VirtualDirectory("/a", "/srv/a"), HangingStore())], patience=0.01)
    thread = threading.Thread(target=health.look)
    thread.start()
    try:
        assert entered.wait(20)
        for _ in range(3):
            with pytest.raises(LookHangs, match="has not come back for 0 s"):
                health.look()
    finally:
        go.set()
        thread.join()
    assert [str(each) for each in health.look()] == ["/a: ready, 5 MiB free"]
