"""Fixtures of the tests that have a person at a page of a real server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.conftest import ServerMaker
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.server_application import Answer, ServerApplication
from tests.support.sessions_watcher import closed_url
from tests.support.upload_person import Person

MIB = 1 << 20

SiteOpener = Callable[..., Any]


def digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


@pytest.fixture
def open_site(make_server: ServerMaker, folder: Path, tmp_path: Path) -> SiteOpener:
    @contextmanager
    def opened(lines: str = "") -> Iterator[LiveServer]:
        file = tmp_path / "settings.toml"
        file.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f"upload_page = true\n{lines}\n"
        )
        options = ["--settings", str(file)]
        with make_server(options=options, log_file=tmp_path / "server.log") as server:
            yield server

    return opened


@pytest.fixture
def page_server(open_site: SiteOpener) -> Iterator[LiveServer]:
    with open_site() as server:
        yield server


@pytest.fixture
def person(page_server: LiveServer, page: Page) -> Person:
    return Person(page, page_server.url)


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """A file whose mebibytes all differ."""
    made = tmp_path / "own files"
    made.mkdir()

    def make(name: str, size: int) -> Path:
        file = made / name
        with file.open("wb") as opened:
            for number in range(-(-size // MIB)):
                block = hashlib.shake_128(number.to_bytes(8)).digest(4096) * 256
                opened.write(block[: size - number * MIB])
        return file

    return make


@pytest.fixture
def application() -> Iterator[ServerApplication]:
    with ServerApplication(Answer(503)) as running:
        yield running


@pytest.fixture
def open_sessions_site(folder: Path, tmp_path: Path, application: ServerApplication) -> SiteOpener:
    @contextmanager
    def opened(server: str, directory: str = "", make: ServerMaker = LiveServer) -> Iterator[Any]:
        told = tmp_path / "told"
        told.mkdir()
        file = tmp_path / "settings.toml"
        file.write_text(
            f'[server]\n{server}\n[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f"session_limit = 0\n{directory}\n"
            f'[[virtual_directory]]\nurl = "/told"\npath = "{told}"\n'
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
        )
        options = ["--settings", str(file)]
        with make(options=options, log_file=tmp_path / "server.log") as running:
            yield running

    return opened


@pytest.fixture
def closed_site(open_sessions_site: SiteOpener) -> Iterator[tuple[LiveServer, str]]:
    """With the page at the closed address, and its URL."""
    with open_sessions_site('metrics_bind = "127.0.0.1:0"\nsessions_page = true') as server:
        yield server, closed_url(server)


@pytest.fixture
def administered(
    open_sessions_site: SiteOpener, make_server: ServerMaker, tmp_path: Path
) -> Iterator[LiveServer]:
    """The page where uploads come in, for alice and a group, behind nginx too."""
    users, groups = tmp_path / "users", tmp_path / "groups"
    for user in ("alice", "bob", "carol"):
        add_user(users, user, f"{user}'s")
    groups.write_text("staff: carol\n")
    login = (
        f'authentication = ["basic"]\nbasic_without_tls = true\nhtpasswd_file = "{users}"\n'
        f'groups_file = "{groups}"\nallow = ["bob"]\n'
    )
    with open_sessions_site('administrators = ["alice", "@staff"]', login, make_server) as server:
        yield server
