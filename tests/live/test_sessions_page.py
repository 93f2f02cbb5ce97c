"""The page of the sessions in a real browser, at both of its addresses; and who is kept out."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.conftest import Tell
from tests.support.bits_client import BitsClient, assert_success
from tests.support.browser import accessibility_faults, opened_page
from tests.support.live_server import LiveServer
from tests.support.passwords import basic
from tests.support.server_application import Answer, ServerApplication
from tests.support.sessions_watcher import begun, confirm, row
from tests.support.wire import Answer as HttpAnswer
from tests.support.wire import WireSender

HOSTILE = "%3Cimg%20src=x%20onerror=alert(1)%3E%22'.txt"
MARK = {"X-Bits-Sessions": "1", "Content-Type": "application/json"}


def test_fifty_uploads_under_way_are_watched_cancelled_extended_and_told_again(
    closed_site: tuple[LiveServer, str], page: Page, application: ServerApplication
) -> None:
    server, url = closed_site
    with ExitStack() as stack:
        senders = [stack.enter_context(server.sender()) for _ in range(50)]
        clients = [
            begun(sender, f"/upload/file-{number:02}.bin", 100_000, 2_000_000)
            for number, sender in enumerate(senders)
        ]
        told = begun(senders[0], "/told/invoice.xml", 4000, 4000)
        page.goto(url)
        expect(page.locator("#totals")).to_contain_text("51 sessions")
        assert accessibility_faults(page) == []
        for client in clients:
            assert_success(client.fragment(bytes(500_000), 100_000, 2_000_000))
        expect(row(page, "file-07.bin")).to_contain_text("30 %", timeout=10_000)
        expect(row(page, "file-07.bin").get_by_role("progressbar")).to_be_visible()
        expect(row(page, "file-07.bin").locator("[data-column=rate]")).to_contain_text("iB/s")

        confirm(page, "Cancel", "file-07.bin", "Keep it as it is")
        assert_success(clients[7].ping())
        confirm(page, "Cancel", "file-07.bin", "Cancel the upload")
        expect(page.locator("#totals")).to_contain_text("50 sessions", timeout=10_000)
        assert clients[7].fragment(bytes(1), 600_000, 2_000_000).status == 500
        confirm(page, "Extend", "file-08.bin", "Extend")
        expect(page.get_by_role("status")).to_contain_text("is kept for another session_timeout")

        expect(row(page, "invoice.xml")).to_contain_text("Failed (503)")
        application.answer = Answer(200)
        confirm(page, "Notify again", "invoice.xml", "Notify again")
        expect(row(page, "invoice.xml")).to_contain_text("Succeeded (200)", timeout=10_000)
        assert len(application.notifications) == 2
        assert_success(told.close())
        for number, client in enumerate(clients):
            if number != 7:
                assert_success(client.fragment(bytes(1_400_000), 600_000, 2_000_000))
                assert_success(client.close())
        expect(page.locator("#empty")).to_contain_text("nobody is uploading", timeout=10_000)
    for action, client in (("cancel", clients[7]), ("extend", clients[8]), ("notify", told)):
        assert re.search(rf"{client.session_id} {action} by somebody at 127.0.0.1: ", server.log)


def test_a_hostile_name_is_a_text(closed_site: tuple[LiveServer, str], page: Page) -> None:
    server, url = closed_site
    with server.sender() as sender:
        begun(sender, f"/upload/{HOSTILE}")
        page.goto(url)
        name = "<img src=x onerror=alert(1)>\"'.txt"
        expect(row(page, name)).to_be_visible()
        row(page, name).get_by_role("button", name="Cancel").click()
        expect(page.get_by_role("dialog")).to_contain_text(name)
        page.keyboard.press("Escape")
        assert page.locator("main img").count() == 0


def test_filters_and_orders_by_keyboard_too(
    closed_site: tuple[LiveServer, str], page: Page
) -> None:
    server, url = closed_site
    with server.sender() as sender:
        for name, size in (("b.zip", 300), ("a.txt", 100), ("c.zip", 200)):
            begun(sender, f"/upload/{name}", size)
        begun(sender, "/told/d.xml", 4000)
        page.goto(url)
        heads = page.locator("tbody th bdi")
        expect(heads).to_have_count(4)
        page.get_by_role("button", name="File", exact=True).focus()
        page.keyboard.press("Enter")
        expect(heads).to_have_text(["a.txt", "b.zip", "c.zip", "d.xml"])
        head = page.locator("thead th[data-column=file]")
        assert head.get_attribute("aria-sort") == "ascending"
        page.keyboard.press("Enter")
        expect(heads).to_have_text(["d.xml", "c.zip", "b.zip", "a.txt"])
        assert head.get_attribute("aria-sort") == "descending"
        page.get_by_role("button", name="Progress").click()
        page.get_by_role("searchbox").fill("zip")
        expect(heads).to_have_count(2)
        page.get_by_role("searchbox").fill("")
        page.locator("#directory").select_option("/told")
        expect(heads).to_have_text(["d.xml"])
        page.locator("#directory").select_option("")
        page.locator("#state").select_option("complete")
        expect(heads).to_have_text(["d.xml"])
        page.get_by_role("searchbox").fill("nothing like it")
        expect(page.locator("#empty")).to_have_text("No session is like that.")


# From a click, or a letter, to the picture that shows what came of it: milliseconds.
_MILLISECONDS_TO_PICTURE = """
async ([selector, text]) => {
    const element = document.querySelector(selector);
    const began = performance.now();
    if (text === null) element.click();
    else {
        element.value = text;
        element.dispatchEvent(new Event("input"));
    }
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    return performance.now() - began;
}
"""


def test_thousands_of_sessions_are_shown_in_parts_and_quickly(
    closed_site: tuple[LiveServer, str], page: Page, is_soak: bool, tell: Tell
) -> None:
    server, url = closed_site
    count = 5000 if is_soak else 1200
    with server.sender() as sender:
        for number in range(count):
            last = BitsClient(sender, f"/upload/{number:04}")
            last.create()
        begun(sender, "/upload/growing")
        began = time.monotonic()
        page.goto(url)
        expect(page.locator("#totals")).to_contain_text(f"{count + 1} sessions", timeout=20_000)
        first_view = time.monotonic() - began
        expect(page.locator("tbody tr")).to_have_count(100)

        def milliseconds(selector: str, text: str | None = None) -> float:
            took = page.evaluate(_MILLISECONDS_TO_PICTURE, [selector, text])
            assert isinstance(took, int | float)
            return took

        figures = {
            "filter": milliseconds("#search", "99"),
            "all again": milliseconds("#search", ""),
            "sort": milliseconds("th[data-column=file] button"),
        }
        tell(f"{count} sessions: first view {first_view:.2f} s; ms to the picture: {figures}")
        assert first_view < 10
        assert max(figures.values()) < 1000
        with page.expect_response("**/list?since=*") as told:
            pass
        assert told.value.json()["count"] == count + 1
    page.get_by_role("button", name="Show 100 more").click()
    expect(page.locator("tbody tr")).to_have_count(200)
    page.get_by_role("searchbox").fill(last.session_id.lower())
    expect(page.locator("tbody th bdi")).to_have_text([f"{count - 1}"])
    page.get_by_role("searchbox").fill(last.session_id[1:20])
    expect(page.locator("tbody th bdi")).to_have_text([f"{count - 1}"])
    page.get_by_role("searchbox").fill(last.session_id[10:20])  # an id is known by its beginning
    expect(page.locator("tbody th bdi")).to_have_count(0)


def test_a_server_that_is_away_is_told_and_comes_back(
    closed_site: tuple[LiveServer, str], page: Page
) -> None:
    server, url = closed_site
    with server.sender() as sender:
        begun(sender, "/upload/f.bin")
    page.goto(url)
    expect(row(page, "f.bin")).to_be_visible()
    page.route("**/-/sessions/list*", lambda route: route.abort())
    expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=10_000)
    expect(row(page, "f.bin")).to_be_visible()
    page.unroute("**/-/sessions/list*")
    expect(page.get_by_role("alert")).to_be_hidden(timeout=10_000)


@pytest.mark.parametrize("look", ["light", "dark", "phone"])
def test_every_look_can_be_used_by_everybody(
    closed_site: tuple[LiveServer, str], browser: Browser, look: str
) -> None:
    server, url = closed_site
    options: dict[str, Any] = {"color_scheme": "dark" if look == "dark" else "light"}
    if look == "phone":
        options |= {"viewport": {"width": 375, "height": 800}, "has_touch": True}
    with server.sender() as sender:
        begun(sender, "/upload/a-name-that-is-rather-long-for-a-phone-and-has-no-gaps.tar.gz")
        begun(sender, "/told/invoice.xml", 4000, 4000)
    with opened_page(browser, **options) as page:
        page.goto(url)
        expect(page.locator("tbody tr")).to_have_count(2)
        assert accessibility_faults(page) == []
        row(page, "invoice.xml").get_by_role("button", name="Cancel").click()
        assert accessibility_faults(page) == []
        width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0, "nothing leads out of the window"


class TestWhoIsKeptOut:
    @pytest.fixture
    def closed(self, closed_site: tuple[LiveServer, str]) -> Iterator[WireSender]:
        host, _, port = closed_site[1].split("/")[2].rpartition(":")
        with WireSender((host, int(port)), host=f"{host}:{port}") as sender:
            yield sender

    @pytest.fixture
    def session(self, closed_site: tuple[LiveServer, str]) -> Iterator[BitsClient]:
        with closed_site[0].sender() as sender:
            yield begun(sender, "/upload/f.bin")

    def act(
        self, sender: WireSender, session: BitsClient, fields: dict[str, str], **changes: Any
    ) -> HttpAnswer:
        wish = {
            "virtual_directory": "/upload",
            "session_id": session.session_id,
            "action": "cancel",
            **changes,
        }
        body = json.dumps(wish).encode()
        headers = {**fields, "Content-Length": str(len(body))}
        return sender.send("POST", "/-/sessions/act", headers.items(), body)

    @pytest.mark.parametrize(
        "fields",
        [
            {"Content-Type": "application/json"},
            {"X-Bits-Sessions": "1", "Content-Type": "text/plain"},
            {"X-Bits-Sessions": "1"},
            {**MARK, "Sec-Fetch-Site": "cross-site"},
            {**MARK, "Sec-Fetch-Site": "same-site"},
            {**MARK, "Origin": "http://evil.example"},
            {**MARK, "Origin": "null"},
        ],
    )
    def test_a_page_of_somebody_else_does_nothing(
        self, closed: WireSender, session: BitsClient, fields: dict[str, str]
    ) -> None:
        assert self.act(closed, session, fields).status == 403
        assert_success(session.fragment(bytes(1), 1000, 4000))

    @pytest.mark.parametrize(
        "changes",
        [
            {"action": "delete"},
            {"session_id": "x"},
            {"session_id": 5},
            {"virtual_directory": ["/upload"]},
            {"action": None, "more": "x" * 5000},
        ],
    )
    def test_what_is_no_wish_is_refused(
        self, closed: WireSender, session: BitsClient, changes: dict[str, Any]
    ) -> None:
        assert self.act(closed, session, MARK, **changes).status == 400
        assert_success(session.fragment(bytes(1), 1000, 4000))

    def test_of_what_is_not_there_nothing_is_done(
        self, closed: WireSender, session: BitsClient
    ) -> None:
        assert self.act(closed, session, MARK, virtual_directory="/nowhere").status == 404
        assert self.act(closed, session, MARK).status == 200
        assert self.act(closed, session, MARK).status == 404
        assert self.act(closed, session, MARK, action="notify").status == 404

    def test_only_a_post_acts(self, closed: WireSender, session: BitsClient) -> None:
        assert closed.send("GET", "/-/sessions/act").status == 405
        assert closed.send("DELETE", "/-/sessions/list").status == 405
        assert_success(session.fragment(bytes(1), 1000, 4000))

    def test_a_name_that_was_led_to_the_closed_address_is_refused(
        self, closed_site: tuple[LiveServer, str]
    ) -> None:
        """DNS rebinding: to the browser the attacker's page is then of the same origin."""
        host, _, port = closed_site[1].split("/")[2].rpartition(":")
        for name, status in (("evil.example", 403), ("localhost", 200), ("127.0.0.1:1", 200)):
            with WireSender((host, int(port)), host=name) as sender:
                assert sender.send("GET", "/-/sessions/list").status == status

    def test_it_may_not_be_framed_and_loads_nothing_from_elsewhere(
        self, closed: WireSender
    ) -> None:
        answer = closed.send("GET", "/-/sessions")
        policy = answer["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy

    def test_where_uploads_come_in_there_is_no_page(
        self, closed_site: tuple[LiveServer, str]
    ) -> None:
        with closed_site[0].sender() as sender:
            for path in ("/-/sessions", "/-/sessions/list", "/-/sessions/act"):
                assert sender.send("GET", path).status == 404


def test_administrators_log_in_and_the_log_names_them(
    administered: LiveServer, browser: Browser, folder: Path
) -> None:
    with administered.sender() as sender:
        bob = {"Authorization": basic("bob", "bob's")}
        client = BitsClient(sender, "/upload/of-bob.bin")
        assert_success(client.create(**bob))
        assert_success(client.fragment(bytes(1000), 0, 4000, **bob))
        login = {"username": "alice", "password": "alice's"}
        with opened_page(browser, http_credentials=login) as page:
            page.goto(f"{administered.url}/-/sessions")
            expect(row(page, "of-bob.bin")).to_contain_text("bob")
            confirm(page, "Cancel", "of-bob.bin", "Cancel the upload")
            expect(page.locator("#empty")).to_be_visible(timeout=10_000)
        assert client.fragment(bytes(1), 1000, 4000, **bob).status == 500
    pattern = rf"{re.escape(client.session_id)} cancel by alice at 127.0.0.1: 'of-bob.bin'"
    assert re.search(pattern, administered.log)
    assert os.listdir(folder) == ["BITS-Sessions"]


def test_nobody_else_sees_it(administered: LiveServer) -> None:
    with administered.sender() as sender:

        def status(path: str, user: str = "", password: str = "") -> int:
            fields = {"Authorization": basic(user, password)} if user else {}
            return sender.send("GET", path, fields.items()).status

        for path in ("/-/sessions", "/-/sessions/list", "/-/sessions/sessions.js"):
            assert status(path) == 401
            assert status(path, "bob", "bob's") == 403, "he may upload, and see nothing"
            assert status(path, "alice", "wrong") == 401
            assert status(path, "carol", "carol's") == 200
        asked = sender.send("GET", "/-/sessions")
        assert asked["WWW-Authenticate"].startswith("Basic ")
    assert "/-/sessions refused to 127.0.0.1 with 403" in administered.log


def test_every_answer_is_protected_whatever_it_is(administered: LiveServer) -> None:
    """From nginx, too; also that which says no."""
    alice = {"Authorization": basic("alice", "alice's")}
    paths = ("", "/list", "/act", "/none", "/sessions.js", "/../x", "/%3Cscript%3E", "/icon.svg")
    with administered.sender() as sender:
        for path in paths:
            for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS"):
                for fields in ({}, alice):
                    answer = sender.send(method, f"/-/sessions{path}", fields.items())
                    where = f"{method} {path}: {answer.status}"
                    if path == "/../x":  # which nginx takes for another place
                        assert answer.status in (401, 404, 405), where
                        continue
                    assert answer["X-Content-Type-Options"] == "nosniff", where
                    assert answer["X-Frame-Options"] == "DENY", where
                    policy = answer["Content-Security-Policy"]
                    assert policy.startswith("default-src 'none'; script-src 'self'; "), where
                    assert "frame-ancestors 'none'" in policy, where
                    assert b"script>" not in answer.body.lower() or path == "", where
