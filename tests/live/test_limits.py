"""Limits of a running server: the next session is refused, and those that exist go on."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ServerMaker
from tests.storage.stages import run_at_once
from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.live_server import LiveServer

QUOTA = 1_000_000
SIZE = 180_000
ServerWith = Callable[[str], LiveServer]


@pytest.fixture
def server_with(make_server: ServerMaker, folder: Path, tmp_path: Path) -> ServerWith:
    def make(lines: str) -> LiveServer:
        file = tmp_path / "settings.toml"
        file.write_text(f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n{lines}\n')
        return make_server(options=["--settings", str(file)], log_file=tmp_path / "log")

    return make


@pytest.mark.parametrize(
    ("lines", "remedy"),
    [
        ("sessions_total = 3", "as many as sessions_total allows"),
        ("session_limit_per_address = 3", "as many as session_limit_per_address allows"),
    ],
)
def test_the_next_session_is_told_to_come_again(
    server_with: ServerWith, lines: str, remedy: str
) -> None:
    with server_with(lines) as server, server.sender() as sender:
        clients = [BitsClient(sender, f"/upload/{number}") for number in range(4)]
        for client in clients[:3]:
            assert_success(client.create())
        for _ in range(3):
            answer = clients[3].create()
            assert_refused(answer, 503, "0x801901F7")
            assert int(answer["Retry-After"]) > 0
        for client in clients[:3]:
            client.send_all(b"hello", 3)
        assert_success(clients[0].close())
        clients[3].upload(b"hello")
        assert remedy in server.log


def test_a_quota_is_never_passed_by_16_uploads_at_once(
    server_with: ServerWith, folder: Path
) -> None:
    """Five of them fit at a time; who is told that there is no room comes again."""
    content = os.urandom(SIZE)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.001):
            entities = (folder / "BITS-Sessions").glob("{*/request")
            most = max(most, sum(size_of(each) for each in entities))

    def upload(number: int) -> None:
        with server.sender() as sender:
            client = BitsClient(sender, f"/upload/{number}")
            pause = threading.Event()
            assert_success(client.create())
            while (answer := client.fragment(content[:9000], 0, SIZE)).status != 200:
                assert_refused(answer, 500, "0x80070070", client.session_id)
                assert answer["BITS-Received-Content-Range"] == "0"
                refused.append(number)
                pause.wait(0.02)
            client.send_all(content, 9000, start=9000)
            assert_success(client.close())

    refused: list[int] = []
    with server_with(f"quota = {QUOTA}\nsessions_total = 50") as server:
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            run_at_once(*(lambda number=number: upload(number) for number in range(16)))
        finally:
            done.set()
            watcher.join()
        assert f"quota is {QUOTA}" in server.log
    assert refused, "they never met the quota"
    assert 0 < most <= QUOTA
    assert all((folder / str(number)).read_bytes() == content for number in range(16))


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_with_little_space_no_upload_begins(server_with: ServerWith) -> None:
    with server_with('minimum_free_space = "1000000TiB"') as server, server.sender() as sender:
        assert_refused(BitsClient(sender).create(), 500, "0x80070070")
        assert "minimum_free_space is" in server.log
