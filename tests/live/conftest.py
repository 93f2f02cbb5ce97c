"""Fixtures of the tests that have a person at the upload page of a real server."""

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
