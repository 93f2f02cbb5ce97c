"""Nothing outside the virtual directory can be reached; links that stay inside are followed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from bits_server.protocol.errors import MalformedPacket, PathNotFound
from bits_server.storage.destination_tree import DestinationTree
from bits_server.storage.disk import DiskRules
from bits_server.storage.interface import DestinationPath, DestinationState
from tests.storage.stages import open_descriptors, path_of

FREE, TAKEN, FOLDER = DestinationState.FREE, DestinationState.TAKEN, DestinationState.FOLDER
NO_FOLDER, OUTSIDE = DestinationState.NO_FOLDER, DestinationState.OUTSIDE


@pytest.fixture(autouse=True)
def no_descriptor_stays_open() -> Iterator[None]:
    before = open_descriptors()
    yield
    assert open_descriptors() == before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A virtual directory with a folder, and something beside it."""
    (tmp_path / "root" / "BITS-Sessions").mkdir(parents=True)
    (tmp_path / "root" / "inside" / "deep").mkdir(parents=True)
    (tmp_path / "root" / "inside" / "file").write_bytes(b"inside")
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (tmp_path / "outside" / "file").write_bytes(b"outside")
    return tmp_path / "root"


def _tree(root: Path, *, create_folders: bool = False) -> DestinationTree:
    private = str(root / "BITS-Sessions")
    return DestinationTree(str(root), private, DiskRules(), create_folders=create_folders)


def _parent(tree: DestinationTree, text: str) -> AbstractContextManager[int]:
    return tree.parent_of(path_of(text), create=True)


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        pytest.param("inside", "link/new", FREE, id="a folder inside"),
        pytest.param("inside", "link/file", TAKEN, id="a file through a folder inside"),
        pytest.param("inside/deep/../../inside", "link/file", TAKEN, id="inside by a detour"),
        pytest.param(".", "link/inside/file", TAKEN, id="the virtual directory itself"),
        pytest.param("../root/inside", "link/file", TAKEN, id="out and in again"),
        pytest.param("../outside", "link/new", OUTSIDE, id="a folder outside"),
        pytest.param("../outside", "link/deep/new", OUTSIDE, id="below a folder outside"),
        pytest.param("../outside", "link/missing/new", OUTSIDE, id="a missing folder outside"),
        pytest.param("..", "link/new", OUTSIDE, id="the folder above"),
        pytest.param("..", "link/root/inside/new", FREE, id="above, and in again by name"),
        pytest.param("/", "link/new", OUTSIDE, id="the top of the file system"),
        pytest.param("BITS-Sessions", "link/new", OUTSIDE, id="BITS-Sessions"),
        pytest.param("link", "link/new", OUTSIDE, id="itself"),
        pytest.param("inside/file", "link/new", NO_FOLDER, id="a file as folder"),
        pytest.param("nowhere", "link/new", NO_FOLDER, id="nowhere"),
        pytest.param("inside", "link", FOLDER, id="a folder inside as destination"),
        pytest.param("inside/file", "link", TAKEN, id="a file inside as destination"),
        pytest.param("../outside/file", "link", OUTSIDE, id="a file outside as destination"),
        pytest.param("../outside", "link", OUTSIDE, id="a folder outside as destination"),
        pytest.param("nowhere", "link", OUTSIDE, id="nothing as destination"),
    ],
)
@pytest.mark.parametrize("create_folders", [False, True])
def test_where_a_link_leads_decides(
    root: Path, target: str, path: str, expected: DestinationState, create_folders: bool
) -> None:
    (root / "link").symlink_to(target)
    tree = _tree(root, create_folders=create_folders)
    assert tree.examine(path_of(path)) is expected


@pytest.mark.parametrize("create_folders", [False, True])
@pytest.mark.parametrize("path", ["link/new", "link/missing/new", "link/deep/new", "link/a/b/new"])
def test_no_folder_is_made_or_opened_outside(root: Path, path: str, create_folders: bool) -> None:
    (root / "link").symlink_to("../outside")
    before = sorted(root.parent.rglob("*"))
    with (
        pytest.raises(MalformedPacket),
        _parent(_tree(root, create_folders=create_folders), path),
    ):
        raise AssertionError("a folder outside was given")
    assert sorted(root.parent.rglob("*")) == before


def test_no_folder_is_made_where_a_link_leads_nowhere(root: Path) -> None:
    (root / "link").symlink_to("../nowhere")
    tree = _tree(root, create_folders=True)
    with pytest.raises(PathNotFound), _parent(tree, "link/new"):
        raise AssertionError("a folder was made through a link")
    assert not (root.parent / "nowhere").exists()


def test_a_folder_that_is_swapped_for_a_link_after_it_was_opened_changes_nothing(
    root: Path,
) -> None:
    with _parent(_tree(root), "inside/new") as parent:
        (root / "inside").rename(root / "moved")
        (root / "inside").symlink_to("../outside")
        os.close(os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=parent))
    assert (root / "moved" / "new").exists()
    assert not (root.parent / "outside" / "new").exists()


def test_a_folder_that_is_moved_out_while_it_is_looked_for_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def moving(path: str, flags: int, **options: int) -> int:
        fd = real_open(path, flags, **options)
        if path == "deep":
            (root / "inside" / "deep").rename(root.parent / "outside" / "moved")
        return fd

    monkeypatch.setattr(os, "open", moving)
    with pytest.raises(MalformedPacket), _parent(_tree(root), "inside/deep/new"):
        raise AssertionError("a folder outside was given")


def test_missing_folders_are_made_for_those_who_may_read_the_files(root: Path) -> None:
    with _parent(_tree(root, create_folders=True), "a/b/new") as parent:
        assert os.fstat(parent).st_ino == (root / "a" / "b").stat().st_ino
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o750


def test_looking_makes_no_folders(root: Path) -> None:
    tree = _tree(root, create_folders=True)
    assert tree.examine(path_of("a/b/new")) is FREE
    with pytest.raises(PathNotFound), tree.parent_of(path_of("a/new")):
        raise AssertionError("a folder was made by looking")
    assert not (root / "a").exists()


def test_a_virtual_directory_may_itself_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    tree = _tree(tmp_path / "alias")
    assert tree.examine(path_of("inside/file")) is TAKEN
    assert tree.examine(path_of("inside/new")) is FREE


class TestTheUsersOwnFolder:
    """Where a path has {user}: made with the first upload, never left, never a link."""

    def path(self, text: str, home: int = 1) -> DestinationPath:
        return DestinationPath(tuple(text.split("/")), home)

    def test_it_is_made_with_the_first_upload_whatever_create_folders_says(
        self, root: Path
    ) -> None:
        tree = _tree(root)
        destination = self.path("alice/incoming/f", 2)
        assert tree.examine(destination) is FREE
        assert not (root / "alice").exists()
        with tree.parent_of(destination, create=True) as parent:
            assert os.path.samestat(os.fstat(parent), os.stat(root / "alice" / "incoming"))
        assert tree.examine(destination) is FREE

    @pytest.mark.parametrize(("create_folders", "expected"), [(False, NO_FOLDER), (True, FREE)])
    @pytest.mark.parametrize("has_home", [False, True])
    def test_what_is_below_it_is_made_as_the_settings_say(
        self, root: Path, create_folders: bool, expected: DestinationState, has_home: bool
    ) -> None:
        if has_home:
            (root / "alice").mkdir()
        tree = _tree(root, create_folders=create_folders)
        assert tree.examine(self.path("alice/sub/f")) is expected
        if create_folders:
            with tree.parent_of(self.path("alice/sub/f"), create=True):
                assert (root / "alice" / "sub").is_dir()
        else:
            with pytest.raises(PathNotFound), tree.parent_of(self.path("alice/sub/f"), create=True):
                pass
            assert not (root / "alice" / "sub").exists()

    @pytest.mark.parametrize("target", ["../inside", "../../outside", "..", "../BITS-Sessions"])
    def test_no_link_leads_out_of_it(self, root: Path, target: str) -> None:
        """Not even to the folder of another user."""
        (root / "alice").mkdir()
        (root / "alice" / "link").symlink_to(target)
        tree = _tree(root, create_folders=True)
        assert tree.examine(self.path("alice/link/new")) is OUTSIDE
        with pytest.raises(MalformedPacket), tree.parent_of(self.path("alice/link/new")):
            pass
        (root / "alice" / "file").symlink_to("../inside/file")
        assert tree.examine(self.path("alice/file")) is OUTSIDE

    def test_a_link_that_stays_in_it_is_followed(self, root: Path) -> None:
        (root / "alice" / "deep").mkdir(parents=True)
        (root / "alice" / "link").symlink_to("deep")
        (root / "alice" / "deep" / "file").write_bytes(b"x")
        (root / "alice" / "other").symlink_to("deep/file")
        tree = _tree(root)
        assert tree.examine(self.path("alice/link/file")) is TAKEN
        assert tree.examine(self.path("alice/other")) is TAKEN
        assert tree.examine(self.path("alice/link/new")) is FREE

    @pytest.mark.parametrize("target", ["inside", "../outside", "nowhere", "BITS-Sessions"])
    def test_a_link_in_its_place_is_no_folder_of_theirs(self, root: Path, target: str) -> None:
        (root / "alice").symlink_to(target)
        tree = _tree(root, create_folders=True)
        assert tree.examine(self.path("alice/f")) is NO_FOLDER
        for create in (False, True):
            with (
                pytest.raises(PathNotFound, match="must be a folder, and no link"),
                tree.parent_of(self.path("alice/f"), create=create),
            ):
                pass
