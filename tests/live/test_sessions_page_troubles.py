"""The page of the sessions where things are not easy: restarts, logins, wrecks, clocks, names."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from tests.support.bits_client import BitsClient, assert_success
from tests.support.browser import accessibility_faults, opened_page
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user, basic
from tests.support.sessions_watcher import begun, confirm, row
from tests.support.waiting import wait_until
from tests.support.wire import WireSender

BOB = {"Authorization": basic("bob", "bob's")}
ALICE = {"username": "alice", "password": "alice's"}


def begun_by_bob(sender: WireSender, target: str) -> BitsClient:
    client = BitsClient(sender, target)
    assert_success(client.create(**BOB))
    assert_success(client.fragment(bytes(1000), 0, 4000, **BOB))
    return client


def test_the_page_goes_on_after_a_restart_of_the_server(
    administered: LiveServer, browser: Browser
) -> None:
    with administered.sender() as sender:
        begun_by_bob(sender, "/upload/f.bin")
    with opened_page(browser, http_credentials=ALICE) as page:
        page.goto(f"{administered.url}/-/sessions")
        expect(row(page, "f.bin")).to_be_visible()
        administered.kill()
        administered.start()
        with administered.sender(is_kept=False) as sender:
            # nginx finds only now that the connections it has kept are dead.
            wait_until(lambda: sender.send("GET", "/-/sessions").status == 401)
            begun_by_bob(sender, "/upload/g.bin")
        expect(row(page, "g.bin")).to_be_visible(timeout=40_000)
        expect(row(page, "f.bin")).to_be_visible()
        expect(page.get_by_role("alert")).to_be_hidden()


def test_a_server_that_hangs_is_told(closed_site: tuple[LiveServer, str], page: Page) -> None:
    server, url = closed_site
    page.goto(url)
    expect(page.locator("#empty")).to_be_visible()
    os.killpg(server.pid, signal.SIGSTOP)
    try:
        expect(page.get_by_role("alert")).to_contain_text("does not answer", timeout=40_000)
    finally:
        os.killpg(server.pid, signal.SIGCONT)
    expect(page.get_by_role("alert")).to_be_hidden(timeout=40_000)


def test_who_is_no_administrator_any_more_is_told_and_asked_for_no_password_again_and_again(
    administered: LiveServer, browser: Browser, tmp_path: Path
) -> None:
    with administered.sender() as sender:
        client = begun_by_bob(sender, "/upload/f.bin")
        asked: list[Request] = []
        with opened_page(browser, http_credentials=ALICE) as page:
            page.clock.install()
            page.goto(f"{administered.url}/-/sessions")
            expect(row(page, "f.bin")).to_be_visible()
            add_user(tmp_path / "users", "alice", "another")
            page.clock.run_for(3_000)
            alert = page.get_by_role("alert")
            expect(alert).to_contain_text("You are not signed in as an administrator any more")
            assert accessibility_faults(page) == []
            page.on("request", lambda request: asked.append(request))
            page.clock.run_for(60_000)
            confirm(page, "Cancel", "f.bin", "Cancel the upload")
            expect(page.locator("#toast")).to_contain_text("Nothing was done to ")
            expect(page.locator("#toast")).to_contain_text("f.bin")
            expect(page.locator("#toast")).to_contain_text("Load this page again")
            assert asked[0].url.endswith("/act")
        assert_success(client.fragment(bytes(1), 1000, 4000, **BOB))


class TestToasts:
    def test_what_was_done_is_told_for_a_while(
        self, closed_site: tuple[LiveServer, str], page: Page
    ) -> None:
        server, url = closed_site
        with server.sender() as sender:
            begun(sender, "/upload/f.bin")
        page.clock.install()
        page.goto(url)
        confirm(page, "Extend", "f.bin", "Extend")
        toast = page.locator("#toast")
        expect(toast).to_contain_text("is kept for another session_timeout")
        assert accessibility_faults(page) == []
        page.clock.run_for(10_000)
        expect(toast).to_be_hidden()

    def test_what_could_not_be_done_stays_until_it_is_seen(
        self, closed_site: tuple[LiveServer, str], page: Page
    ) -> None:
        server, url = closed_site
        page.clock.install()
        with server.sender() as sender:
            client = begun(sender, "/upload/f.bin")
            page.goto(url)
            expect(row(page, "f.bin")).to_be_visible()
            assert_success(client.cancel())
            confirm(page, "Extend", "f.bin", "Extend")
        toast = page.locator("#toast")
        expect(toast).to_contain_text("the session is not there any more")
        page.clock.run_for(60_000)
        expect(toast).to_be_visible()
        toast.get_by_role("button", name="Dismiss").click()
        expect(toast).to_be_hidden()


def test_what_nobody_can_read_is_shown_with_the_reason_and_nothing_to_press(
    closed_site: tuple[LiveServer, str], page: Page, folder: Path
) -> None:
    server, url = closed_site
    with server.sender() as sender:
        client = begun(sender, "/upload/f.bin")
    (folder / "BITS-Sessions" / client.session_id / "session.json").write_text("{broken")
    page.goto(url)
    wreck = row(page, client.session_id)
    expect(wreck).to_contain_text("Unreadable")
    expect(wreck).to_contain_text("session.json")
    expect(wreck.locator("[data-column=user]")).to_have_text("unknown")
    expect(wreck.get_by_role("button")).to_have_count(0)


def test_an_action_by_keyboard_alone(closed_site: tuple[LiveServer, str], page: Page) -> None:
    server, url = closed_site

    def focused() -> str:
        each = "document.activeElement"
        return str(page.evaluate(f"{each}.getAttribute('aria-label') || {each}.textContent"))

    with server.sender() as sender:
        for name in ("a.bin", "b.bin"):
            begun(sender, f"/upload/{name}")
        page.goto(url)
        expect(page.locator("tbody tr")).to_have_count(2)
        wanted = "Cancel: a.bin"
        for _ in range(40):
            page.keyboard.press("Tab")
            if focused() == wanted:
                break
        page.keyboard.press("Enter")
        assert focused() == "Keep it as it is", "what does no harm comes first"
        page.keyboard.press("Escape")
        assert focused() == wanted
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert focused() == "Cancel the upload"
        page.keyboard.press("Enter")
        expect(row(page, "a.bin")).to_have_count(0, timeout=10_000)
        expect(page.get_by_role("status")).to_contain_text("a.bin\u2069 is cancelled.")
        assert page.evaluate("document.activeElement.id") == "table-place"


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago"])
def test_the_time_zone_of_the_browser_is_all_one(
    closed_site: tuple[LiveServer, str], browser: Browser, zone: str
) -> None:
    server, url = closed_site
    with server.sender() as sender:
        begun(sender, "/upload/f.bin")
    with opened_page(browser, timezone_id=zone) as page:
        page.goto(url)
        age = row(page, "f.bin").locator("[data-column=age]")
        expect(age).to_have_text(re.compile(r"^[1-5]?[0-9] s$"))


def test_names_turn_nothing_around(closed_site: tuple[LiveServer, str], page: Page) -> None:
    server, url = closed_site
    with server.sender() as sender:
        begun(sender, "/upload/cod%E2%80%AEgpj.exe")
        begun(sender, "/upload/%D7%A9%D7%9C%D7%95%D7%9D.pdf")
    page.goto(url)
    expect(row(page, "cod[U+202E]gpj.exe")).to_be_visible()
    row(page, "שלום.pdf").get_by_role("button", name="Cancel").click()
    # Isolated, so that what follows in the sentence stays where it is.
    text = page.get_by_role("dialog").locator("p").inner_text()
    assert re.match(r"All that has come of \u2068.+\.pdf\u2069 is removed", text)


def test_the_widths_do_not_follow_what_is_shown(
    closed_site: tuple[LiveServer, str], page: Page
) -> None:
    """Else all would move with each look, under the pointer that is about to press something."""
    server, url = closed_site
    page.goto(url)
    widths = "[...document.querySelectorAll('thead th')].map((each) => each.offsetWidth)"
    with server.sender() as sender:
        begun(sender, "/upload/f.bin")
        expect(page.locator("tbody tr")).to_have_count(1, timeout=10_000)
        before = page.evaluate(widths)
        long = "a-name-of-two-hundred-letters-without-any-gaps" * 5
        begun(sender, f"/upload/{long}")
        expect(page.locator("tbody tr")).to_have_count(2, timeout=10_000)
    assert page.evaluate(widths) == before
    assert row(page, long).evaluate("(each) => each.offsetHeight") < 150


def test_fingers_find_the_buttons(closed_site: tuple[LiveServer, str], browser: Browser) -> None:
    server, url = closed_site
    with server.sender() as sender:
        begun(sender, "/told/f.bin", 4000, 4000)
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    with opened_page(browser, **phone) as page:
        page.goto(url)
        expect(row(page, "f.bin")).to_be_visible()
        row(page, "f.bin").get_by_role("button", name="Cancel").tap()
        for button in page.get_by_role("button").or_(page.get_by_role("combobox")).all():
            box = button.bounding_box()
            assert box is not None
            assert min(box["height"], box["width"]) >= 44
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


# Two looks at a session, and what follows from them: seconds, bytes, bytes per second.
_RATES = """
async (looks) => {
    const { Sessions } = await import("/-/sessions/sessions_model.js");
    const sessions = new Sessions();
    const rates = [];
    for (const [now, received] of looks) {
        const facts = {virtual_directory: "/u", session_id: "{1}", state: "receiving",
            received_bytes: received, total_bytes: 10000, destination: "f", user: null,
            client_address: null, created: null, last_progress: "x", expires: "x"};
        const sessions_told = received === null ? [] : [facts];
        sessions.take({now, whole: false, sessions: sessions_told, removed: [], count: 1});
        const [only] = sessions.select({text: "", state: "", directory: "", column: "file"});
        rates.push(only.rate);
    }
    return rates;
}
"""


@pytest.mark.parametrize(
    ("looks", "rates"),
    [
        # It is known from the second look on, and the same look told twice changes nothing.
        ([(0, 0), (2, 2000), (2.2, 2000)], [0, 1000, 1000]),
        # Who sends nothing for ten seconds has none, whether he is told of (extended) or not.
        ([(0, 0), (2, 2000), (13, None)], [0, 1000, 0]),
        ([(0, 0), (2, 2000), (7, 2000), (13, 2000)], [0, 1000, 600, 0]),
        # Who begins anew has none below nothing.
        ([(0, 2000), (2, 4000), (4, 0)], [0, 1000, 1000]),
    ],
)
def test_the_rate_follows_from_the_looks(
    closed_site: tuple[LiveServer, str],
    page: Page,
    looks: list[tuple[float, int | None]],
    rates: list[float],
) -> None:
    page.goto(closed_site[1])
    assert page.evaluate(_RATES, [list(look) for look in looks]) == rates
