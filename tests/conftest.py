"""Fixtures and options that all tests share."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from bits_server import Settings, VirtualDirectory, create_app
from tests.support.bits_client import BitsClient
from tests.support.browser import opened_page, started_browser
from tests.support.certificates import Certificate, make_certificate
from tests.support.kdc import Kdc, require_gssapi
from tests.support.live_server import LiveServer
from tests.support.proxied_server import ProxiedServer
from tests.support.wire import InProcessSender, WireSender

SEED = int(os.environ.get("BITS_TEST_SEED") or random.SystemRandom().randrange(2**32))
os.environ["BITS_TEST_SEED"] = str(SEED)  # the processes that share the tests have the same


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--soak", action="store_true", help="run the full numbers, not samples")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak: takes long; runs with --soak only")


def pytest_report_header() -> str:
    return f"seed of random samples: BITS_TEST_SEED={SEED}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--soak"):
        for item in items:
            if "soak" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="runs with make soak"))


Tell = Callable[[str], None]
_FIGURE = "figure"


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Put a figure that the test measured into the summary of the run."""
    properties = request.node.user_properties  # they go with the report, from process to process
    return lambda figure: properties.append((_FIGURE, f"{request.node.name}: {figure}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    figures = [
        figure
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", None) == "call"
        for name, figure in report.user_properties
        if name == _FIGURE
    ]
    if figures:
        terminalreporter.section("figures")
        terminalreporter.write_line(pytest_report_header())
    for figure in figures:
        terminalreporter.write_line(figure)


@pytest.fixture
def is_soak(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--soak"))


@pytest.fixture
def seeded(request: pytest.FixtureRequest) -> random.Random:
    """A source of random numbers of the test's own; the seed is printed in the header."""
    return random.Random(f"{SEED}/{request.node.nodeid}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a virtual directory."""
    path = tmp_path / "uploads"
    path.mkdir()
    return path


ClientMaker = Callable[..., BitsClient]


@pytest.fixture
def make_client(folder: Path) -> ClientMaker:
    """A client of an application in this process; keywords are settings of its directory."""

    def make(target: str = "/upload/f.bin", **settings: Any) -> BitsClient:
        directory = VirtualDirectory(**{"url": "/upload", "path": str(folder), **settings})
        return BitsClient(
            InProcessSender(create_app(Settings((directory,)), clean_up=False)), target
        )

    return make


@pytest.fixture
def client(make_client: ClientMaker) -> BitsClient:
    return make_client()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """What TLS needs, made once."""
    return make_certificate(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def kdc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kdc]:
    """A Kerberos realm, made once; its keys and users are for all tests."""
    with Kdc(tmp_path_factory.mktemp("kdc")) as made:
        yield made


@pytest.fixture
def kerberos(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> Kdc:
    """The realm, and this process belongs to it."""
    require_gssapi()
    for name, value in kdc.environment_of_all.items():
        monkeypatch.setenv(name, value)
    return kdc


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with started_browser() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has seen nothing yet."""
    with opened_page(browser) as opened:
        yield opened


ServerMaker = Callable[..., LiveServer]


@pytest.fixture(scope="session", params=["direct", "through nginx"])
def make_server(request: pytest.FixtureRequest) -> ServerMaker:
    """LiveServer, and the same with nginx in front: every story that asks for it is told twice."""
    if request.param == "direct":
        return LiveServer
    return partial(ProxiedServer, certificate=request.getfixturevalue("certificate"))


@pytest.fixture
def live_server(make_server: ServerMaker, folder: Path, tmp_path: Path) -> Iterator[LiveServer]:
    with make_server(folder, log_file=tmp_path / "server.log") as server:
        yield server


@pytest.fixture
def direct_server(folder: Path, tmp_path: Path) -> Iterator[LiveServer]:
    """Without nginx, for what nginx does by itself, or what has nothing to do with the way."""
    with LiveServer(folder, log_file=tmp_path / "server.log") as server:
        yield server


@pytest.fixture
def proxied_server(
    folder: Path, tmp_path: Path, certificate: Certificate
) -> Iterator[ProxiedServer]:
    log_file = tmp_path / "server.log"
    with ProxiedServer(folder, log_file=log_file, certificate=certificate) as server:
        yield server


@pytest.fixture(params=["one connection", "a connection for each packet"])
def wire(live_server: LiveServer, request: pytest.FixtureRequest) -> Iterator[WireSender]:
    """A raw connection to a live server, kept and not."""
    with live_server.sender(is_kept=request.param == "one connection") as sender:
        yield sender


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB, where this user may mount one."""
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(path)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("only root may mount a file system; the injected failures are tested elsewhere")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)
