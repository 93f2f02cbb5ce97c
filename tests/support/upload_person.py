"""A person at the upload page, who sees rows and presses buttons."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.support.waiting import wait_until

SECONDS = 30.0


class Person:
    """At the page of the virtual directory ``/upload`` of a server."""

    def __init__(self, page: Page, server: str) -> None:
        self.page = page
        self.url = f"{server}/upload/"
        self._protocol = page.context.new_cdp_session(page)
        # As long as somebody listens, the browser asks us for files and opens no window of its own;
        # it needs a moment to begin with that.
        page.on("filechooser", lambda _: None)
        page.goto(self.url)
        expect(page.get_by_role("button", name="Choose files", exact=True)).to_be_enabled()

    def choose(self, *files: Path) -> None:
        with self.page.expect_file_chooser() as chosen:
            self.page.get_by_role("button", name="Choose files", exact=True).click()
        chosen.value.set_files([str(file) for file in files])

    def drags(self, kind: str, *paths: Path) -> None:
        """``kind``: dragEnter, dragOver, drop; of files and folders, somewhere over the page."""
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        place = {"x": 400, "y": 300}
        self._protocol.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})

    def row(self, name: str) -> Locator:
        exact = self.page.locator("bdi").get_by_text(name, exact=True)
        return self.page.locator("li.upload").filter(has=exact)

    def press(self, button: str, name: str) -> None:
        self.row(name).get_by_role("button", name=f"{button} {name}", exact=True).click()

    def sees(self, name: str, *texts: str, seconds: float = SECONDS) -> None:
        """Wait until the row says all of this."""
        for text in texts:
            row = expect(self.row(name))
            row.to_contain_text(text, use_inner_text=True, timeout=seconds * 1000)

    def sees_uploaded(self, names: Iterable[str], seconds: float = SECONDS) -> None:
        for name in names:
            state = self.row(name).locator(".state")
            expect(state).to_have_text("Uploaded", timeout=seconds * 1000)

    def progress(self, name: str) -> float:
        """From 0 to 1, as the page shows it."""
        found = self.row(name).locator("progress").evaluate("each => each.value / each.max")
        assert isinstance(found, int | float)
        return float(found)

    def sees_progress(self, name: str, least: float, *, seconds: float = SECONDS) -> None:
        wait_until(lambda: self.progress(name) >= least, seconds=seconds)

    def has_a_line_of(self, bytes_per_second: int | None) -> None:
        """Send no faster from now on; None: as fast as can be."""
        self._emulate(offline=False, uploadThroughput=bytes_per_second or -1)

    def has_no_line(self) -> None:
        """All connections are lost, and no new one can be made."""
        self._emulate(offline=True)

    def _emulate(self, **conditions: int) -> None:
        default = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self._protocol.send("Network.emulateNetworkConditions", {**default, **conditions})
