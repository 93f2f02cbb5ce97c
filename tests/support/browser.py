"""A real browser: Debian's Chromium without a window, led by Playwright.

The rule of this file: what a page says on its console as a warning or error, and what its scripts
throw, are faults, unless the test expects them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Page, sync_playwright

from tests.support.tools import require_tool

# Of what a page does not decide: an answer that is an error, a connection that is lost; and that a
# protection is there with TLS only.
_NO_FAULTS = (
    "Failed to load resource",
    "The Cross-Origin-Opener-Policy header has been ignored",
)
_LEAST_IMPACTS = ("serious", "critical")


@contextmanager
def started_browser() -> Iterator[Browser]:
    """Chromium for as many pages as are wanted."""
    with sync_playwright() as playwright, launched(playwright.chromium) as browser:
        yield browser


@contextmanager
def launched(kind: BrowserType, *more: str) -> Iterator[Browser]:
    """One more process of it, beside others; ``more``: arguments of its command line."""
    program = require_tool("chromium")
    arguments = ["--disable-dev-shm-usage", *more]
    if os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it does not start as root otherwise
    browser = kind.launch(executable_path=program, args=arguments)
    try:
        yield browser
    finally:
        browser.close()


class Faults:
    """What pages complained of."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def watch(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.found.append(str(error)))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(_NO_FAULTS):
            self.found.append(message.text)


@contextmanager
def opened_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page of a new profile, without cookies or storage. ``options`` as of ``new_context``.

    Fails in the end if the page complained of anything.
    """
    faults = Faults()
    with browser.new_context(**options) as context:
        context.on("page", faults.watch)
        yield context.new_page()
    assert faults.found == []


def accessibility_faults(page: Page) -> list[str]:
    """What axe-core finds serious or worse on the page as it is now: rule, and where."""
    violations = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}"
        for each in violations
        if each["impact"] in _LEAST_IMPACTS
    ]
