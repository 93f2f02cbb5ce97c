"""SIGHUP: changed settings hold from the next packet on, wrong ones never do, uploads go on."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.patient_client import PatientClient
from tests.support.waiting import wait_until


@pytest.fixture
def write(folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Write the settings file; keywords are lines of the virtual directory."""

    def write(server: str = "", **lines: str) -> Path:
        file = tmp_path / "settings.toml"
        text = "\n".join(f"{key} = {value}" for key, value in lines.items())
        needed = f'url = "/upload"\npath = "{folder}"'
        file.write_text(f"[server]\n{server}\n[[virtual_directory]]\n{needed}\n{text}\n")
        return file

    return write


@pytest.fixture
def server(write: Callable[..., Path], tmp_path: Path) -> Iterator[LiveServer]:
    options = ["--settings", str(write())]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        with server.sender() as sender:
            assert_success(BitsClient(sender).ping())
        yield server


def reload(server: LiveServer, line: str) -> None:
    """Send SIGHUP; return when the log has one more such line, and the old workers are gone."""
    before = server.log.count(line)
    workers = set(server.workers())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: server.log.count(line) > before)
    wait_until(lambda: len(server.workers()) == 2 and not workers & set(server.workers()))


READ_AGAIN = "SIGHUP: the settings were read again"
STAY = "SIGHUP: the settings stay as they were: "


def test_changed_settings_hold_for_the_next_packet_and_sessions_go_on(
    server: LiveServer, write: Callable[..., Path], folder: Path
) -> None:
    (folder / "f.bin").write_bytes(b"there before")
    with server.sender() as sender:
        other = BitsClient(sender, "/upload/other.bin")
        assert_success(other.create())
        assert_success(other.fragment(b"abc", 0, 6))
        assert BitsClient(sender).create().status == 403
    write(allow_overwrites="true")
    reload(server, READ_AGAIN)
    with server.sender() as sender:
        BitsClient(sender).upload(b"replaced")
        other.sender = sender
        assert_success(other.fragment(b"def", 3, 6))
        assert_success(other.close())
    assert (folder / "f.bin").read_bytes() == b"replaced"
    assert (folder / "other.bin").read_bytes() == b"abcdef"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server", "is not TOML"),
        ('[[virtual_directory]]\nurl = "/upload"\npath = "/nowhere/at/all"', "is not a folder"),
        ("[server]\nworker = 2", "worker: is unknown here"),
        ('[[virtual_directory]]\nurl = "/x"', "path: is missing"),
    ],
)
def test_a_file_with_an_error_is_refused_and_the_last_good_one_stays(
    server: LiveServer, write: Callable[..., Path], text: str, problem: str
) -> None:
    file = write()
    good = file.read_text()
    file.write_text(text)
    reload(server, STAY)
    assert f"{STAY}{file}: " in server.log
    assert problem in server.log
    with server.sender() as sender:
        BitsClient(sender).upload(b"served all the same")
    file.write_text(good)
    reload(server, READ_AGAIN)


def test_the_log_changes_too(server: LiveServer, write: Callable[..., Path]) -> None:
    write('log_format = "json"')
    reload(server, READ_AGAIN)
    with server.sender() as sender:
        BitsClient(sender).upload(b"told as JSON")
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith('{"time')]
    packets = [line["packet"] for line in lines if line["event"] == "packet"]
    assert packets == ["Create-Session", "Fragment", "Close-Session"]


def test_uploads_go_on_while_the_settings_are_read_again_and_again(
    server: LiveServer, folder: Path, seeded: random.Random
) -> None:
    bodies = [seeded.randbytes(2_000_000) for _ in range(4)]
    clients = [
        PatientClient(server.address, f"/upload/{number}", body, seeded)
        for number, body in enumerate(bodies)
    ]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for _ in range(3):
        reload(server, READ_AGAIN)
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    for number, body in enumerate(bodies):
        assert (folder / str(number)).read_bytes() == body
