"""What tests do at the page of the sessions: begin uploads, find their rows, press buttons."""

from __future__ import annotations

from playwright.sync_api import Locator, Page

from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.waiting import wait_until
from tests.support.wire import WireSender


def closed_url(server: LiveServer) -> str:
    words = "Metrics and health are told at "
    wait_until(lambda: words in server.log)
    return f"http://{server.log.partition(words)[2].split()[0]}/-/sessions"


def begun(sender: WireSender, target: str, size: int = 1000, total: int = 4000) -> BitsClient:
    client = BitsClient(sender, target)
    assert_success(client.create())
    client.fragment(bytes(size), 0, total)
    return client


def row(page: Page, file: str) -> Locator:
    name = page.locator("th bdi").get_by_text(file, exact=True)
    return page.locator("tbody tr").filter(has=name)


def confirm(page: Page, action: str, file: str, answer: str) -> None:
    row(page, file).get_by_role("button", name=action).click()
    page.get_by_role("dialog").get_by_role("button", name=answer).click()
