"""Replies of a server application on the upload page: offered, saved, and only then closed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import ServerMaker
from tests.support.browser import accessibility_faults
from tests.support.live_server import LiveServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.upload_person import Person

RECEIPT = b"<script>alert(1)</script> received with thanks"


@pytest.fixture
def application() -> Iterator[ServerApplication]:
    fields = {"BITS-Copy-File-To-Destination": "1"}
    with ServerApplication(Answer(fields=fields, reply=RECEIPT)) as started:
        yield started


@pytest.fixture
def server(
    make_server: ServerMaker, folder: Path, tmp_path: Path, application: ServerApplication
) -> Iterator[LiveServer]:
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\nupload_page = true\n'
        f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
    )
    with make_server(
        options=["--settings", str(file)], log_file=tmp_path / "server.log"
    ) as started:
        yield started


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "order.txt"
    made.write_bytes(b"ten of these")
    return made


def saved_reply(person: Person, name: str) -> bytes:
    with person.page.expect_download() as download:
        person.press("Save reply", name)
    assert download.value.suggested_filename == f"Reply to {name}"
    return Path(download.value.path()).read_bytes()


def test_a_reply_is_offered_and_the_upload_is_finished_when_it_is_saved(
    server: LiveServer, page: Page, file: Path, folder: Path
) -> None:
    person = Person(page, server.url)
    person.choose(file)
    person.sees(file.name, "A reply waits for you")
    assert accessibility_faults(page) == []
    expect(person.row(file.name).locator(".problem")).to_be_hidden()
    assert not (folder / file.name).exists()
    assert saved_reply(person, file.name) == RECEIPT
    person.sees_uploaded([file.name])
    assert (folder / file.name).read_bytes() == b"ten of these"


def test_a_reply_still_waits_after_the_tab_was_closed(
    server: LiveServer, page: Page, file: Path, folder: Path, application: ServerApplication
) -> None:
    person = Person(page, server.url)
    person.choose(file)
    person.sees(file.name, "A reply waits for you")
    page.reload()
    person.sees(file.name, "A reply waits for you")
    assert saved_reply(person, file.name) == RECEIPT
    person.sees_uploaded([file.name])
    assert (folder / file.name).read_bytes() == b"ten of these"
    assert len(application.notifications) == 1
    page.reload()
    expect(page.locator("li.upload")).to_have_count(0)


def test_an_upload_can_be_finished_without_its_reply(
    server: LiveServer, page: Page, file: Path, folder: Path
) -> None:
    person = Person(page, server.url)
    person.choose(file)
    person.press("Finish without reply", file.name)
    person.sees_uploaded([file.name])
    assert (folder / file.name).read_bytes() == b"ten of these"


def test_a_reply_that_is_elsewhere_is_named_and_not_fetched(
    server: LiveServer, page: Page, file: Path, application: ServerApplication
) -> None:
    elsewhere = "https://elsewhere.example/receipts/7"
    application.answer = Answer(fields={"BITS-Static-Response-URL": elsewhere})
    person = Person(page, server.url)
    person.choose(file)
    person.sees_uploaded([file.name])
    link = person.row(file.name).get_by_role("link", name="Open the reply")
    assert link.get_attribute("href") == elsewhere


def test_a_url_that_would_be_a_script_is_no_link(
    server: LiveServer, page: Page, file: Path, application: ServerApplication
) -> None:
    application.answer = Answer(fields={"BITS-Static-Response-URL": "javascript://x/%0Aalert(1)"})
    person = Person(page, server.url)
    person.choose(file)
    person.sees_uploaded([file.name])
    assert person.row(file.name).locator("a[href]").count() == 0


def test_a_refusal_of_the_application_is_said_in_words(
    server: LiveServer, page: Page, file: Path, folder: Path, application: ServerApplication
) -> None:
    application.answer = Answer(status=403)
    person = Person(page, server.url)
    person.choose(file)
    person.sees(file.name, "The program that takes the files has refused this one", "0x80190193")
    assert not (folder / file.name).exists()


def test_an_application_that_comes_back_is_asked_again(
    server: LiveServer, page: Page, file: Path, folder: Path, application: ServerApplication
) -> None:
    application.answer = Answer(status=500)
    person = Person(page, server.url)
    person.choose(file)
    person.sees(file.name, "does not answer as it should", "trying again in")
    application.answer = Answer(fields={"BITS-Copy-File-To-Destination": "1"})
    person.press("Try now", file.name)
    person.sees_uploaded([file.name])
    assert (folder / file.name).read_bytes() == b"ten of these"


def test_a_reply_that_is_gone_is_said_in_words(
    server: LiveServer, page: Page, file: Path, folder: Path
) -> None:
    person = Person(page, server.url)
    person.choose(file)
    person.sees(file.name, "A reply waits for you")
    (session,) = [each for each in (folder / "BITS-Sessions").iterdir() if "{" in each.name]
    (session / "response").unlink()
    person.press("Save reply", file.name)
    person.sees(file.name, "The server has this reply no more")
    person.press("Finish without reply", file.name)
    person.sees_uploaded([file.name])
    expect(person.row(file.name).locator(".problem")).to_be_hidden()
