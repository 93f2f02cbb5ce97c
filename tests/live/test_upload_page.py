"""The upload page in a real browser, against a real server, directly and through nginx."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.live.conftest import MIB, SiteOpener, digest
from tests.support.browser import accessibility_faults, opened_page
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.proxied_server import ProxiedServer
from tests.support.upload_person import Person
from tests.support.waiting import wait_until

SLOW = 2 * MIB  # bytes per second


def sessions_created(server: LiveServer) -> int:
    return len(re.findall(r"Create-Session .*: 201", server.log))


def test_several_files_of_any_name_and_size_arrive_as_they_are(
    person: Person, make_file: Any, folder: Path
) -> None:
    sizes = {
        "large.bin": 20 * MIB + 7,
        "empty": 0,
        "one byte": 1,
        "\"double\" 'single' & 100% #?;+.txt": 5000,
        "Größe, Отчёт, 報告, 🗂.pdf": 70_000,
        "<img src=x onerror=alert(1)>.html": 300,
        "{{7*7}} ${1} %41 %2e%2e.txt": 10,
    }
    files = [make_file(name, size) for name, size in sizes.items()]
    person.choose(*files)
    person.sees_uploaded(sizes)
    for file in files:
        assert digest(folder / file.name) == digest(file), file.name
    expect(person.page.locator("#totals")).to_contain_text("7 of 7 finished, 20.1 MiB of 20.1 MiB")
    assert person.page.locator("main img").count() == 0
    assert accessibility_faults(person.page) == []


def test_an_upload_outlives_a_restart_of_the_server_and_a_reload_of_the_page(
    person: Person, make_file: Any, folder: Path, page_server: LiveServer
) -> None:
    file = make_file("200 MB.bin", 200_000_000)
    person.has_a_line_of(60 * MIB)
    person.choose(file)
    person.sees_progress(file.name, 0.2)
    page_server.kill()
    page_server.start()
    person.sees_progress(file.name, 0.5)
    person.page.reload()
    person.sees(file.name, "arrived")
    person.has_a_line_of(None)
    person.choose(file)
    assert person.progress(file.name) > 0.3
    person.sees_uploaded([file.name], seconds=60)
    assert digest(folder / file.name) == digest(file)
    assert sessions_created(page_server) == 1


def test_a_lost_connection_is_taken_up_again(person: Person, make_file: Any, folder: Path) -> None:
    file = make_file("f.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    person.choose(file)
    person.sees_progress(file.name, 0.2)
    person.has_no_line()
    person.sees(file.name, "The connection was lost", "trying again in")
    assert accessibility_faults(person.page) == []
    person.has_a_line_of(None)
    person.sees_uploaded([file.name])
    assert digest(folder / file.name) == digest(file)


def test_a_person_can_pause_go_on_and_cancel(
    person: Person, make_file: Any, folder: Path, page_server: LiveServer
) -> None:
    kept, given_up = make_file("kept.bin", 6 * MIB), make_file("given up.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    person.choose(kept, given_up)
    person.sees_progress(kept.name, 0.1)
    person.press("Pause", kept.name)
    person.sees(kept.name, "paused")
    person.sees_progress(given_up.name, 0.1)
    person.press("Cancel", given_up.name)
    person.sees(given_up.name, "Cancelled")
    wait_until(lambda: "Cancel-Session '/upload/given up.bin'" in page_server.log)
    assert len([each for each in (folder / "BITS-Sessions").iterdir() if "{" in each.name]) == 1
    assert accessibility_faults(person.page) == []
    person.has_a_line_of(None)
    person.press("Resume", kept.name)
    person.sees_uploaded([kept.name])
    assert digest(folder / kept.name) == digest(kept)
    assert not (folder / given_up.name).exists()
    person.page.reload()
    expect(person.page.locator("li.upload")).to_have_count(0)
    assert sessions_created(page_server) == 2


def test_two_go_at_a_time_and_the_others_wait(person: Person, make_file: Any) -> None:
    files = [make_file(f"{number}.bin", MIB) for number in range(5)]
    person.has_a_line_of(SLOW)
    person.choose(*files)
    person.sees_progress("0.bin", 0.1)
    expect(person.page.locator("[data-state=waiting]")).to_have_count(3)
    expect(person.page.locator("[data-state=sending]")).to_have_count(2)
    person.has_a_line_of(None)
    person.sees_uploaded([file.name for file in files])


def test_a_file_that_is_there_already_is_refused_in_words(
    person: Person, make_file: Any, folder: Path
) -> None:
    file = make_file("report.pdf", 5000)
    (folder / file.name).write_bytes(b"older")
    person.choose(file)
    person.sees(file.name, "Not uploaded", "has a file of this name", "Rename your file")
    assert accessibility_faults(person.page) == []
    (folder / file.name).unlink()
    person.press("Try again", file.name)
    person.sees_uploaded([file.name])
    assert digest(folder / file.name) == digest(file)


def test_a_name_that_the_server_refuses_is_said_in_words(person: Person, make_file: Any) -> None:
    for name in ("back\\slash.txt", "BITS-Sessions"):
        person.choose(make_file(name, 10))
        person.sees(name, "Not uploaded", "does not take this name")
        # As often as it is tried, it has the same name.
        expect(person.row(name).get_by_role("button")).to_have_text(["Remove"])


def test_a_name_that_would_turn_around_is_shown_as_it_is(
    person: Person, make_file: Any, folder: Path
) -> None:
    file = make_file("cod\u202egpj.exe", 10)
    person.choose(file)
    person.sees_uploaded(["cod[U+202E]gpj.exe"])
    assert (folder / file.name).is_file()


def test_a_file_that_is_too_large_is_refused_in_words(
    open_site: SiteOpener, page: Page, make_file: Any
) -> None:
    with open_site('maximum_upload_size = "1MiB"') as server:
        person = Person(page, server.url)
        expect(page.locator("#facts")).to_have_text("A file may have up to 1.0 MiB.")
        person.choose(make_file("fits.bin", MIB), make_file("large.bin", MIB + 1))
        person.sees("large.bin", "Not uploaded", "larger than the server takes")
        person.sees_uploaded(["fits.bin"])
        assert "large.bin" not in server.log


def test_the_server_s_own_word_counts_where_the_page_does_not_know_the_limit(
    open_site: SiteOpener, page: Page, make_file: Any
) -> None:
    with open_site('maximum_upload_size = "1MiB"') as server:
        page.route("**/facts.json", lambda route: route.abort())
        person = Person(page, server.url)
        person.choose(make_file("large.bin", 3 * MIB))
        person.sees("large.bin", "Not uploaded", "larger than the server takes", "0x80200020")


def test_fragments_fit_what_the_server_takes(
    open_site: SiteOpener, page: Page, make_file: Any, folder: Path
) -> None:
    """Known beforehand, or learnt from 413."""
    with open_site('maximum_fragment_size = "100KiB"') as server:
        person = Person(page, server.url)
        known = make_file("known.bin", MIB)
        person.choose(known)
        person.sees_uploaded([known.name])
        assert ": 413" not in server.log
        page.route("**/facts.json", lambda route: route.abort())
        page.reload()
        learnt = make_file("learnt.bin", MIB)
        person.choose(learnt)
        person.sees_uploaded([learnt.name])
        assert ": 413" in server.log or "with 413" in server.log
        assert digest(folder / learnt.name) == digest(learnt) == digest(known)


def test_a_dropped_file_is_uploaded_and_a_dropped_folder_is_explained(
    person: Person, make_file: Any, folder: Path, tmp_path: Path
) -> None:
    file, holidays = make_file("dropped.txt", 5000), tmp_path / "holidays"
    holidays.mkdir()
    (holidays / "beach.jpg").write_bytes(b"sand")
    drop = person.page.locator("#drop")
    person.drags("dragEnter", file, holidays)
    person.drags("dragOver", file, holidays)
    expect(drop).to_contain_text("Drop them")
    person.drags("drop", file, holidays)
    expect(drop).to_contain_text("Drop files here")
    person.sees_uploaded([file.name])
    assert digest(folder / file.name) == digest(file)
    person.sees("holidays", "Not uploaded", "This is a folder")
    totals = person.page.locator("#totals")
    expect(totals).to_have_text("1 of 2 finished, 1 not uploaded, 4.9 KiB of 4.9 KiB")
    assert person.page.url.endswith("/upload/"), "the browser has not opened the file"


def test_all_can_be_done_by_keyboard(person: Person, make_file: Any, folder: Path) -> None:
    page = person.page

    def focused() -> str:
        each = "document.activeElement"
        return str(page.evaluate(f"{each}.getAttribute('aria-label') || {each}.textContent"))

    def tab_to(name: str) -> None:
        for _ in range(10):
            if focused() == name:
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{name} is not to be reached, the focus is at {focused()}")

    file = make_file("keys.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    tab_to("Choose files")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    with page.expect_file_chooser() as chosen:
        page.keyboard.press("Enter")
    chosen.value.set_files(str(file))
    person.sees_progress(file.name, 0.1)
    tab_to("Pause keys.bin")
    page.keyboard.press("Space")
    person.sees(file.name, "paused")
    wait_until(lambda: focused() == "Resume keys.bin")  # the focus is not lost with its button
    expect(page.get_by_role("status")).to_have_text("keys.bin: paused.")
    person.has_a_line_of(None)
    page.keyboard.press("Enter")
    person.sees_uploaded([file.name])
    wait_until(lambda: focused() == "Remove keys.bin")
    expect(page.get_by_role("status")).to_have_text("keys.bin: uploaded.")
    page.keyboard.press("Enter")
    expect(person.row(file.name)).to_have_count(0)
    assert focused() == "Choose files"
    assert digest(folder / file.name) == digest(file)


def test_an_earlier_upload_can_be_given_up_without_its_file(
    person: Person, make_file: Any, folder: Path
) -> None:
    file = make_file("f.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    person.choose(file)
    person.sees_progress(file.name, 0.2)
    person.page.reload()
    person.sees(file.name, "% of 6.0 MiB arrived")
    assert accessibility_faults(person.page) == []
    person.press("Cancel", file.name)
    expect(person.row(file.name)).to_have_count(0)
    wait_until(lambda: not [x for x in (folder / "BITS-Sessions").iterdir() if "{" in x.name])


def test_another_file_of_the_same_name_size_and_date_begins_anew(
    person: Person, make_file: Any, folder: Path, page_server: LiveServer
) -> None:
    file = make_file("f.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    person.choose(file)
    person.sees_progress(file.name, 0.2)
    person.page.reload()
    person.sees(file.name, "arrived")
    before = file.stat()
    with file.open("r+b") as opened:
        opened.write(b"other")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    person.has_a_line_of(None)
    person.choose(file)
    expect(person.page.locator("#upload-list .state")).to_have_text("Uploaded")
    assert digest(folder / file.name) == digest(file)
    assert sessions_created(page_server) == 2


def test_a_file_that_changes_meanwhile_is_not_mixed(
    person: Person, make_file: Any, folder: Path
) -> None:
    file = make_file("f.bin", 6 * MIB)
    person.has_a_line_of(SLOW)
    person.choose(file)
    person.sees_progress(file.name, 0.2)
    file.write_bytes(b"other" * MIB)
    person.sees(file.name, "it was changed, moved or removed")
    assert not (folder / file.name).exists()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_used_by_everybody(
    person: Person, make_file: Any, folder: Path, scheme: Any
) -> None:
    person.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    assert accessibility_faults(person.page) == []
    (folder / "there.txt").write_bytes(b"")
    person.has_a_line_of(SLOW)
    person.choose(make_file("long.bin", 6 * MIB), make_file("there.txt", 10))
    person.sees("there.txt", "Not uploaded")
    person.sees_progress("long.bin", 0.1)
    assert accessibility_faults(person.page) == []
    person.page.set_viewport_size({"width": 360, "height": 640})
    width = person.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360


class TestWithPasswords:
    """Basic: through nginx over TLS, and directly where the settings allow it without."""

    @pytest.fixture
    def users(self, tmp_path: Path) -> Path:
        file = tmp_path / "users"
        add_user(file, "alice", "secret of alice")
        add_user(file, "bob", "secret of bob")
        return file

    @pytest.fixture
    def lines(self, users: Path) -> str:
        return (
            'authentication = ["basic"]\nbasic_without_tls = true\n'
            f'htpasswd_file = "{users}"\nallow = ["alice"]'
        )

    @staticmethod
    def url_of(server: LiveServer) -> str:
        if isinstance(server, ProxiedServer):
            return f"https://localhost:{server.nginx.tls_address[1]}"
        return server.url

    def test_who_may_upload_does_so_by_his_name(
        self, open_site: SiteOpener, browser: Browser, lines: str, make_file: Any, folder: Path
    ) -> None:
        alice = {"username": "alice", "password": "secret of alice"}
        file = make_file("f.bin", 3 * MIB)
        with (
            open_site(lines) as server,
            opened_page(browser, http_credentials=alice, ignore_https_errors=True) as page,
        ):
            person = Person(page, self.url_of(server))
            expect(page.locator("#facts")).to_have_text("You are signed in as alice.")
            person.choose(file)
            person.sees_uploaded([file.name])
            assert digest(folder / file.name) == digest(file)
            assert re.search(r"Close-Session '/upload/f.bin' from \S+ \(alice\): 200", server.log)

    def test_who_may_not_upload_gets_no_page(
        self, open_site: SiteOpener, browser: Browser, lines: str
    ) -> None:
        bob = {"username": "bob", "password": "secret of bob"}
        with (
            open_site(lines) as server,
            opened_page(browser, http_credentials=bob, ignore_https_errors=True) as page,
        ):
            answer = page.goto(f"{self.url_of(server)}/upload/")
            assert answer is not None
            assert answer.status == 403
            expect(page.get_by_role("heading")).to_have_text("This page is not for you")
            assert accessibility_faults(page) == []

    def test_who_may_no_longer_upload_is_told_so_in_words(
        self, open_site: SiteOpener, browser: Browser, lines: str, make_file: Any, tmp_path: Path
    ) -> None:
        groups = tmp_path / "groups"
        groups.write_text("staff: alice\n")
        lines = lines.replace('["alice"]', f'["@staff"]\ngroups_file = "{groups}"')
        alice = {"username": "alice", "password": "secret of alice"}
        with (
            open_site(lines) as server,
            opened_page(browser, http_credentials=alice, ignore_https_errors=True) as page,
        ):
            person = Person(page, self.url_of(server))
            groups.write_text("staff:\nothers: alice\n")
            person.choose(make_file("f.bin", 10))
            person.sees("f.bin", "Not uploaded", "You may not upload here")
