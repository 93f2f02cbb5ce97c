"""Who may write to a session's folder puts something there in the place of what belongs there.

Nobody waits for it, nothing else is touched, the client is told to begin again, and the clean-up
removes this session and all others.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bits_server import Settings, VirtualDirectory
from bits_server.app import make_cleanups
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from tests.conftest import ClientMaker
from tests.storage.stages import new_record
from tests.support.bits_client import BitsClient, assert_refused, assert_success

UNKNOWN_SESSION = "0x8020001F"
CONTENT = b"0123456789ab"
LONG_AGO = 1_000_000_000


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with closing(socket.socket(socket.AF_UNIX)) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


KINDS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to("/etc/hostname"),
    "socket": _socket,
    "huge": _huge,
}


@pytest.fixture
def patient(client: BitsClient) -> BitsClient:
    """A client in the middle of an upload."""
    assert_success(client.create())
    assert_success(client.fragment(CONTENT[:6], 0, len(CONTENT)))
    return client


def folder_of(client: BitsClient, folder: Path) -> Path:
    return folder / "BITS-Sessions" / client.session_id


def sweep(folder: Path) -> list[str]:
    """Let every session be old, and clean up; what could not be removed."""
    for path in [*folder.glob("BITS-Sessions/*"), *folder.glob("BITS-Sessions/{*/*")]:
        os.utime(path, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    ((cleanup, _),) = make_cleanups(Settings((VirtualDirectory(url="/u", path=str(folder)),)))
    report = cleanup.run()
    assert report is not None
    return report.failures


def sessions_in(folder: Path) -> list[str]:
    return [path.name for path in (folder / "BITS-Sessions").glob("*{*")]


@pytest.mark.parametrize("kind", KINDS)
def test_in_the_place_of_the_record(kind: str, patient: BitsClient, folder: Path) -> None:
    record = folder_of(patient, folder) / "session.json"
    record.unlink()
    KINDS[kind](record)
    last = patient.fragment(CONTENT[6:], 6, len(CONTENT))
    for answer in (last, patient.close(), patient.cancel()):
        assert_refused(answer, 500, UNKNOWN_SESSION, patient.session_id)
    assert sweep(folder) == []
    assert sessions_in(folder) == []


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"folder"}))
def test_in_the_place_of_the_next_record(kind: str, patient: BitsClient, folder: Path) -> None:
    KINDS[kind](folder_of(patient, folder) / "session.json.new")
    assert_success(patient.fragment(CONTENT[6:], 6, len(CONTENT)))
    assert_success(patient.close())
    assert (folder / "f.bin").read_bytes() == CONTENT


def test_another_name_of_a_file_in_the_place_of_the_next_record_is_not_written_to(
    patient: BitsClient, folder: Path
) -> None:
    (folder / "other").write_bytes(b"not to be touched")
    os.link(folder / "other", folder_of(patient, folder) / "session.json.new")
    assert_success(patient.fragment(CONTENT[6:], 6, len(CONTENT)))
    assert (folder / "other").read_bytes() == b"not to be touched"


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"huge"}))
@pytest.mark.parametrize("first", [0, 6])
def test_in_the_place_of_the_request_entity(
    kind: str, first: int, patient: BitsClient, folder: Path
) -> None:
    request = folder_of(patient, folder) / "request"
    request.unlink()
    KINDS[kind](request)
    answer = patient.fragment(CONTENT[first:], first, len(CONTENT))
    assert_refused(answer, 404, "0x80070002", patient.session_id)
    assert_success(patient.cancel())
    assert sessions_in(folder) == []


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"huge"}))
def test_in_the_place_of_a_request_entity_that_is_complete(
    kind: str, patient: BitsClient, folder: Path
) -> None:
    assert_success(patient.fragment(CONTENT[6:], 6, len(CONTENT)))
    request = folder_of(patient, folder) / "request"
    request.unlink()
    KINDS[kind](request)
    assert_refused(patient.close(), 404, "0x80070002", patient.session_id)
    assert not (folder / "f.bin").exists()
    assert_success(patient.cancel())


FORGERIES: dict[str, dict[str, Any]] = {
    "another hidden file": {"publishing_name": ".htaccess"},
    "the folder above": {"publishing_name": ".."},
    "no path": {"publishing_name": ".x", "destination": "a\0b/c"},
    "no text": {"publishing_name": ".x", "destination": "\ud800/c"},
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_record_removes_no_other_file_and_stops_no_clean_up(
    forgery: str, patient: BitsClient, make_client: ClientMaker, folder: Path
) -> None:
    (folder / ".htaccess").write_bytes(b"not to be touched")
    record = folder_of(patient, folder) / "session.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), **FORGERIES[forgery]}))
    assert_success(make_client("/upload/other").create())
    assert sweep(folder) == []
    assert sessions_in(folder) == []
    assert (folder / ".htaccess").read_bytes() == b"not to be touched"


def test_folders_in_folders_stop_no_clean_up(
    patient: BitsClient, make_client: ClientMaker, folder: Path
) -> None:
    deep = os.open(folder_of(patient, folder), os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=deep)
        below = os.open("d", os.O_RDONLY, dir_fd=deep)
        os.close(deep)
        deep = below
    os.close(deep)
    assert_success(make_client("/upload/other").create())
    try:
        sweep(folder)
        assert sessions_in(folder) == [f".removed-{patient.session_id}"]
    finally:
        subprocess.run(["rm", "-rf", folder / "BITS-Sessions"], check=True)


LOCKING = """
import fcntl, os, sys
os.chdir(sys.argv[2])
os.setgroups([]), os.setgid(int(sys.argv[1])), os.setuid(54_321)
open("request", "rb").close()
try:
    fcntl.flock(os.open(".", os.O_RDONLY), fcntl.LOCK_EX)
except PermissionError:
    sys.exit(0)
sys.exit("the folder can be locked")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody of another group")
def test_the_session_group_cannot_lock_a_session(folder: Path) -> None:
    """It reads what was received; with the lock it could hold every thread of the server."""
    group = 54_321
    store = FilesystemStore(str(folder), DiskRules(session_mode=0o660, session_group=group))
    store.prepare()
    record = new_record()
    store.create(record)
    with closing(store.open(record.session_id)) as session:
        session.append(CONTENT, 0)
    path = folder / "BITS-Sessions" / record.guid
    ran = subprocess.run(
        [sys.executable, "-c", LOCKING, str(group), str(path)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
