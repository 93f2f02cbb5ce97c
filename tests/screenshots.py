"""Pictures of the pages for the documents: ``python -m tests.screenshots`` writes them to docs/."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from tests.support.browser import opened_page, started_browser
from tests.support.live_server import LiveServer
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
PHONE = {"width": 375, "height": 1180}
LOOKS: dict[str, dict[str, Any]] = {
    "upload-page": {"viewport": WIDE},
    "upload-page-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "upload-page-phone": {"viewport": PHONE, "is_mobile": True, "has_touch": True},
}
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


def main() -> None:
    DOCUMENTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, started_browser() as browser:
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


if __name__ == "__main__":
    main()
