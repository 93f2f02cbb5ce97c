"""The upload page in a real browser, against a real server, directly and through nginx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import ServerMaker
from tests.support.browser import accessibility_faults
from tests.support.live_server import LiveServer


@pytest.fixture
def page_server(make_server: ServerMaker, folder: Path, tmp_path: Path) -> Iterator[LiveServer]:
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\nupload_page = true\n'
    )
    with make_server(options=["--settings", str(file)], log_file=tmp_path / "server.log") as server:
        yield server


def test_the_page_opens_and_everybody_can_use_it(page_server: LiveServer, page: Page) -> None:
    page.goto(f"{page_server.url}/upload")
    page.get_by_role("button", name="Choose files").wait_for()
    assert page.title() == "Upload"
    assert page.url.endswith("/upload/")
    assert accessibility_faults(page) == []
