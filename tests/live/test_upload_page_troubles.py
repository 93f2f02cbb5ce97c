"""The upload page where things are not easy: other tabs, lines, logins, limits, large files."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.live.conftest import MIB, SiteOpener, digest
from tests.support.browser import accessibility_faults, launched, opened_page
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.upload_person import Person
from tests.support.waiting import wait_until

GIB = 1 << 30
SLOW = 2 * MIB  # bytes per second

# Notes what those hear who listen to the page, and the states that each upload goes through.
_LISTEN = """
() => {
    window.heard = [];
    window.states = [];
    const said = document.getElementById("said");
    const hear = () => said.textContent && heard.push(said.textContent);
    new MutationObserver(hear).observe(said, {childList: true});
    const note = (changes) => changes.forEach(({target}) => states.push(target.dataset.state));
    new MutationObserver(note).observe(document.getElementById("upload-list"),
        {subtree: true, attributeFilter: ["data-state"]});
}
"""


def sessions_in(folder: Path) -> list[Path]:
    return [each for each in (folder / "BITS-Sessions").iterdir() if "{" in each.name]


def sessions_created(server: LiveServer) -> int:
    return len(re.findall(r"Create-Session .*: 201", server.log))


class TestTwoTabs:
    @pytest.fixture
    def other(self, person: Person, page_server: LiveServer) -> Person:
        """The same person in a second tab, which opens when there is something to see."""
        return Person(person.page.context.new_page(), page_server.url)

    def test_a_file_that_is_in_hand_in_another_tab_is_not_sent_twice(
        self, person: Person, other: Person, make_file: Any, folder: Path, page_server: LiveServer
    ) -> None:
        file = make_file("f.bin", 6 * MIB)
        person.has_a_line_of(SLOW)
        person.choose(file)
        person.sees_progress(file.name, 0.1)
        other.choose(file)
        other.sees(file.name, "Not uploaded", "Another tab of this page is uploading this file")
        assert accessibility_faults(other.page) == []
        person.sees_uploaded([file.name])
        assert sessions_created(page_server) == 1
        assert digest(folder / file.name) == digest(file)

    def test_what_another_tab_has_in_hand_is_not_called_unfinished(
        self, person: Person, other: Person, make_file: Any, page_server: LiveServer
    ) -> None:
        """There was a button by which one tab took away what the other was sending."""
        file = make_file("f.bin", 12 * MIB)
        person.has_a_line_of(SLOW)
        person.choose(file)
        person.sees_progress(file.name, 0.2)
        other.page.reload()
        expect(other.page.get_by_role("button", name="Choose files", exact=True)).to_be_enabled()
        expect(other.page.locator("li.upload")).to_have_count(0)
        person.page.close()
        other.sees(file.name, "% of 12.0 MiB arrived")
        other.choose(file)
        other.sees_uploaded([file.name])
        assert sessions_created(page_server) == 1

    def test_a_file_that_is_in_the_list_is_shown_there(
        self, person: Person, make_file: Any
    ) -> None:
        file = make_file("f.bin", 6 * MIB)
        person.has_a_line_of(SLOW)
        person.choose(file)
        person.sees_progress(file.name, 0.1)
        person.choose(file)
        expect(person.row(file.name)).to_have_class(re.compile("is-noticed"))
        expect(person.row(file.name)).to_have_count(1)


def test_a_long_trouble_is_told_once_to_those_who_listen(person: Person, make_file: Any) -> None:
    file = make_file("f.bin", 4 * MIB)
    person.page.evaluate(_LISTEN)
    person.has_a_line_of(SLOW)
    person.choose(file)
    person.sees_progress(file.name, 0.1)
    person.has_no_line()
    wait_until(lambda: person.page.evaluate("states").count("retrying") >= 3, seconds=30)
    person.has_a_line_of(None)
    person.sees_uploaded([file.name])
    wait_until(lambda: "f.bin: uploaded." in person.page.evaluate("heard"))
    lost = [each for each in person.page.evaluate("heard") if "connection was lost" in each]
    assert len(lost) == 1, lost


class TestGivingUp:
    def test_before_the_server_has_answered_leaves_no_session_there(
        self, person: Person, make_file: Any, folder: Path, page_server: LiveServer
    ) -> None:
        os.killpg(page_server.pid, signal.SIGSTOP)
        try:
            person.choose(make_file("f.bin", MIB))
            person.sees("f.bin", "0 %")
            person.press("Cancel", "f.bin")
            person.sees("f.bin", "Cancelled")
        finally:
            os.killpg(page_server.pid, signal.SIGCONT)
        wait_until(lambda: "Cancel-Session '/upload/f.bin'" in page_server.log)
        assert sessions_created(page_server) == 1
        assert sessions_in(folder) == []

    def test_without_a_line_is_told_to_the_server_later(
        self, person: Person, make_file: Any, folder: Path
    ) -> None:
        person.has_a_line_of(SLOW)
        person.choose(make_file("f.bin", 6 * MIB))
        person.sees_progress("f.bin", 0.2)
        person.has_no_line()
        person.press("Cancel", "f.bin")
        person.sees("f.bin", "Cancelled")
        assert sessions_in(folder)
        person.has_a_line_of(None)
        wait_until(lambda: not sessions_in(folder), seconds=30)
        person.page.reload()
        expect(person.page.locator("li.upload")).to_have_count(0)


class TestWaiting:
    def test_a_limit_of_the_server_is_waited_for_as_long_as_it_says(
        self, open_site: SiteOpener, page: Page, make_file: Any, folder: Path
    ) -> None:
        with open_site("session_limit_per_address = 1") as server:
            person = Person(page, server.url)
            person.has_a_line_of(SLOW)
            first, second = make_file("first.bin", 6 * MIB), make_file("second.bin", MIB)
            person.choose(first)
            person.sees_progress(first.name, 0.1)
            person.choose(second)
            person.sees(second.name, "too much to do", "trying again in 5")  # of 60 seconds
            person.has_a_line_of(None)
            person.sees_uploaded([first.name])
            person.press("Try now", second.name)
            person.sees_uploaded([second.name])
            assert digest(folder / second.name) == digest(second)

    def test_a_proxy_that_wants_it_longer_is_believed(self, person: Person, make_file: Any) -> None:
        def refuse(route: Route) -> None:
            fields = {"BITS-Packet-Type": "Ack", "Retry-After": "600"}
            route.fulfill(status=503, headers=fields)

        person.page.route("**/upload/f.bin", refuse)
        person.choose(make_file("f.bin", MIB))
        person.sees("f.bin", "too much to do", "trying again in 9 min")
        person.page.unroute("**/upload/f.bin")
        person.press("Try now", "f.bin")
        person.sees_uploaded(["f.bin"])


class TestLogins:
    def test_a_login_that_leads_elsewhere_is_not_taken_for_a_lost_line(
        self, page_server: LiveServer, browser: Browser, make_file: Any
    ) -> None:
        """A proxy with a login of its own, whose cookie has run out."""

        def lead_away(route: Route) -> None:
            route.fulfill(status=302, headers={"Location": "https://login.example/"})

        # Not watched for complaints: our policy forbids what follows, and says so.
        with browser.new_context() as context:
            person = Person(context.new_page(), page_server.url)
            person.page.route("**/upload/**", lead_away)
            person.choose(make_file("f.bin", MIB))
            person.sees("f.bin", "Not uploaded", "Load this page again and sign in")
            person.page.unroute("**/upload/**")
            person.press("Try again", "f.bin")
            person.sees_uploaded(["f.bin"])

    def test_a_password_that_counts_no_more_costs_no_byte(
        self, open_site: SiteOpener, browser: Browser, make_file: Any, folder: Path, tmp_path: Path
    ) -> None:
        users = tmp_path / "users"
        add_user(users, "alice", "old")
        lines = (
            'authentication = ["basic"]\nbasic_without_tls = true\n'
            f'htpasswd_file = "{users}"\nmaximum_fragment_size = "1MiB"'
        )
        file = make_file("f.bin", 6 * MIB)
        old, new = [{"username": "alice", "password": each} for each in ("old", "new")]
        with open_site(lines) as server:
            with opened_page(browser, http_credentials=old) as page:
                person = Person(page, server.url)
                person.has_a_line_of(SLOW)
                person.choose(file)
                person.sees_progress(file.name, 0.3)
                known = users.read_bytes()
                add_user(users, "alice", "new")
                person.sees(file.name, "Stopped at", "Load this page again and sign in")
                users.write_bytes(known)
                person.press("Try again", file.name)
                person.sees_uploaded([file.name])
                assert sessions_created(server) == 1
            assert digest(folder / file.name) == digest(file)
            add_user(users, "alice", "new")
            with opened_page(browser, http_credentials=new) as page:
                Person(page, server.url)


def test_it_works_by_a_name_without_tls(
    page_server: LiveServer, browser: Browser, make_file: Any
) -> None:
    """Browsers then say less of who sends what, and let scripts do less."""
    file = make_file("f.bin", 3 * MIB)
    names = "--host-resolver-rules=MAP uploads.test 127.0.0.1"
    with launched(browser.browser_type, names) as other, opened_page(other) as page:
        person = Person(page, f"http://uploads.test:{page_server.address[1]}")
        assert page.evaluate("isSecureContext") is False
        person.choose(file)
        person.sees_uploaded([file.name])
    assert ": 403" not in page_server.log


def test_a_file_beyond_4_gib_goes_on_beyond_4_gib(
    person: Person, make_file: Any, folder: Path, page_server: LiveServer
) -> None:
    """What the server has of it grows by hand to shortly before that: zeros, as in the file."""
    tail = os.urandom(MIB)
    file = make_file("large.img", 0)
    with file.open("r+b") as opened:
        opened.seek(4 * GIB + 2 * MIB)
        opened.write(tail)
    person.has_a_line_of(SLOW)
    person.choose(file)
    wait_until(lambda: "Fragment '/upload/large.img'" in page_server.log)
    person.press("Pause", file.name)
    person.sees(file.name, "paused")
    (session,) = sessions_in(folder)
    os.truncate(session / "request", 4 * GIB - MIB)
    person.has_a_line_of(None)
    person.press("Resume", file.name)
    person.sees_uploaded([file.name], seconds=60)
    assert f"bytes at {4 * GIB - MIB}" in page_server.log
    arrived = folder / file.name
    assert arrived.stat().st_size == file.stat().st_size
    with arrived.open("rb") as opened:
        opened.seek(4 * GIB + 2 * MIB - 1)
        assert opened.read() == b"\0" + tail
