"""Pictures of the pages for the documents: ``python -m tests.screenshots`` writes them to docs/.

With pngquant (Debian's package) they are a third as large, and look the same.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, expect

from tests.support.bits_client import BitsClient
from tests.support.browser import opened_page, started_browser
from tests.support.live_server import LiveServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.upload_person import Person

DOCUMENTS = Path(__file__).parent.parent / "docs"
MIB = 1 << 20
SIZES = {
    "Holiday 2026.mp4": 640 * MIB,
    "backup-monday.tar.gz": 75 * MIB,
    "report.pdf": 2 * MIB,
    "notes.txt": 9000,
}
WIDE = {"width": 900, "height": 1000}
PHONE = {"width": 360, "height": 1180}
LOOKS: dict[str, dict[str, Any]] = {
    "upload-page": {"viewport": WIDE},
    "upload-page-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "upload-page-phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
SESSIONS_LOOKS: dict[str, dict[str, Any]] = {
    "sessions-page": {"viewport": {"width": 1360, "height": 640}},
    "sessions-page-dark": {"viewport": {"width": 1360, "height": 640}, "color_scheme": "dark"},
    "sessions-page-phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
CLOSED_ADDRESS = "127.0.0.1:19108"
# Target: bytes in all, and those that have come.
UPLOADS = {
    "/upload/backup-monday.tar.gz": (75 * MIB, 12 * MIB),
    "/upload/pc-0107/setup-logs.zip": (40 * MIB, 31 * MIB),
    "/upload/Gr%C3%B6%C3%9Fe%20%E2%82%AC.pdf": (3 * MIB, 3 * MIB),
    "/upload/just-begun.iso": (0, 0),
    "/invoices/2026-11.xml": (MIB, MIB),
    "/invoices/2026-12.xml": (4 * MIB, 2 * MIB),
}
GROWING = ("/upload/backup-monday.tar.gz",)
SESSIONS_SETTINGS = """\
[server]
metrics_bind = "{bind}"
sessions_page = true
[defaults]
create_folders = true
[[virtual_directory]]
url = "/upload"
path = "{0}"
[[virtual_directory]]
url = "/invoices"
path = "{1}"
notification_type = "by-value"
notification_url = "{url}"
"""
SETTINGS = """\
[[virtual_directory]]
url = "/upload"
path = "{folder}"
upload_page = true
maximum_upload_size = "1TiB"
"""


def picture_upload_page(
    browser: Browser, server: str, files: Path, name: str, **options: Any
) -> None:
    """One upload that is done, one that goes on, one that is paused, one that was refused."""
    with opened_page(browser, device_scale_factor=2, reduced_motion="reduce", **options) as page:
        person = Person(page, server)
        person.choose(files / "report.pdf")
        person.sees_uploaded(["report.pdf"])
        person.choose(files / "notes.txt")
        person.sees("notes.txt", "has a file of this name")
        person.has_a_line_of(24 * MIB)
        person.choose(files / "backup-monday.tar.gz", files / "Holiday 2026.mp4")
        person.sees_progress("backup-monday.tar.gz", 0.4)
        person.press("Pause", "backup-monday.tar.gz")
        person.sees_progress("Holiday 2026.mp4", 0.13, seconds=90)
        person.sees("Holiday 2026.mp4", "left")
        page.mouse.move(0, 0)
        page.evaluate("document.activeElement.blur()")
        page.screenshot(path=DOCUMENTS / f"{name}.png")
        for each in ("backup-monday.tar.gz", "Holiday 2026.mp4"):
            person.press("Cancel", each)
            person.sees(each, "Cancelled")


def picture_sessions_page(browser: Browser, scratch: Path) -> None:
    """Uploads of several sizes, some of which go on, and one that the application refused."""
    with ServerApplication(Answer(503)) as application:
        folders = [scratch / "sessions", scratch / "invoices"]
        for folder in folders:
            folder.mkdir()
        settings = scratch / "sessions.toml"
        settings.write_text(
            SESSIONS_SETTINGS.format(*folders, url=application.url, bind=CLOSED_ADDRESS)
        )
        log_file = scratch / "sessions.log"
        with ExitStack() as stack:
            server = stack.enter_context(
                LiveServer(options=["--settings", str(settings)], log_file=log_file)
            )
            sender = stack.enter_context(server.sender())
            begun = {}
            for name, (size, done) in UPLOADS.items():
                client = begun[name] = BitsClient(sender, name)
                client.create()
                if done:
                    client.fragment(bytes(done), 0, size)
            for name, options in SESSIONS_LOOKS.items():
                page = stack.enter_context(
                    opened_page(browser, device_scale_factor=2, reduced_motion="reduce", **options)
                )
                page.goto(f"http://{CLOSED_ADDRESS}/-/sessions")
                expect(page.locator("tbody tr")).to_have_count(len(UPLOADS))
                for _ in range(3):
                    for target in GROWING:
                        client, at = begun[target], UPLOADS[target][1]
                        client.fragment(bytes(2 * MIB), at, UPLOADS[target][0])
                        UPLOADS[target] = (UPLOADS[target][0], at + 2 * MIB)
                    page.wait_for_timeout(1500)
                page.screenshot(path=DOCUMENTS / f"{name}.png")


def make_small(pictures: Path) -> None:
    program = shutil.which("pngquant")
    if program is None:
        print("pngquant is missing: the pictures are three times as large as they need to be")
        return
    options = ["--quality", "80-98", "--speed", "1", "--ext", ".png", "--force"]
    subprocess.run([program, *options, *map(str, pictures.glob("*.png"))], check=True)


def main() -> None:
    DOCUMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, started_browser() as browser:
        picture_sessions_page(browser, Path(scratch))
        for name, size in SIZES.items():
            with (Path(scratch) / name).open("wb") as file:
                file.truncate(size)
        for name, options in LOOKS.items():
            folder = Path(scratch) / f"folder of {name}"
            folder.mkdir()
            (folder / "notes.txt").touch()
            settings = Path(scratch) / "settings.toml"
            settings.write_text(SETTINGS.format(folder=folder))
            log_file = Path(scratch) / "server.log"
            with LiveServer(options=["--settings", str(settings)], log_file=log_file) as server:
                picture_upload_page(browser, server.url, Path(scratch), name, **options)
    make_small(DOCUMENTS)


if __name__ == "__main__":
    main()
