"""From the path of a URL to the virtual directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from bits_server.operations.event_log import EventLog
from bits_server.sessions.manager import SessionManager
from bits_server.settings import VirtualDirectory
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.web.virtual_directories import VirtualDirectories


def directories(folder: Path, *urls: str) -> VirtualDirectories:
    store = FilesystemStore(str(folder), DiskRules())
    return VirtualDirectories(
        SessionManager(VirtualDirectory(url=url, path=str(folder)), store, EventLog())
        for url in urls
    )


@pytest.mark.parametrize(
    ("path", "url", "rest"),
    [
        (b"/upload/f", "/upload", b"f"),
        (b"/upload/a/b", "/upload", b"a/b"),
        (b"/upload", "/upload", b""),
        (b"/upload/", "/upload", b""),
        (b"/upload//f", "/upload", b"/f"),
        (b"/upload/deep/f", "/upload/deep", b"f"),
        (b"/upload/deeper/f", "/upload", b"deeper/f"),
        ("/häfen/f".encode(), "/häfen", b"f"),
    ],
)
def test_the_longest_prefix_of_whole_segments_wins(
    folder: Path, path: bytes, url: str, rest: bytes
) -> None:
    found = directories(folder, "/upload", "/upload/deep", "/häfen").find(path)
    assert found is not None
    assert (found[0].directory.url, found[1]) == (url, rest)


@pytest.mark.parametrize("path", [b"", b"/", b"/uploads/f", b"/Upload/f", b"upload/f", b"/up\xff"])
def test_other_paths_are_in_none(folder: Path, path: bytes) -> None:
    assert directories(folder, "/upload").find(path) is None


def test_the_root_may_be_a_virtual_directory(folder: Path) -> None:
    found = directories(folder, "/", "/upload").find(b"/other/f")
    assert found is not None
    assert (found[0].directory.url, found[1]) == ("/", b"other/f")
