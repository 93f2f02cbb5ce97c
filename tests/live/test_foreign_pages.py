"""Pages of other origins in the browser of somebody who is logged in here get nothing done."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.sync_api import Browser, HttpCredentials, Page

from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user, basic
from tests.support.upload_person import Person

_ATTACK = """
async (target) => {
    const packet = {"X-HTTP-Method-Override": "BITS_POST", "BITS-Packet-Type": "Create-Session",
        "BITS-Supported-Protocols": "{7df0354d-249b-430f-820d-3d2a9bef4931}"};
    const tries = [
        {method: "POST", credentials: "include", headers: packet},
        {method: "POST", credentials: "include", mode: "no-cors", headers: packet},
        {method: "BITS_POST", credentials: "include", headers: packet},
        {method: "POST", credentials: "include", mode: "no-cors", body: "x"},
    ];
    const came = [];
    for (const options of tries) {
        try { came.push((await fetch(target, options)).type); } catch { came.push("blocked"); }
    }
    return came;
}
"""


# With our own header field, as a form's text, and as a form.
_ATTACK_ON_SESSIONS = """
async ([target, wish]) => {
    const body = JSON.stringify(wish);
    const own = {"Content-Type": "application/json", "X-Bits-Sessions": "1"};
    const tries = [
        {method: "POST", credentials: "include", headers: own, body},
        {method: "POST", credentials: "include", mode: "no-cors", body},
        {method: "POST", credentials: "include", mode: "no-cors", body: new URLSearchParams(wish)},
    ];
    const came = [];
    for (const options of tries) {
        try { came.push((await fetch(target, options)).type); } catch { came.push("blocked"); }
    }
    return came;
}
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><title>evil</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def foreign_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(folder: Path, tmp_path: Path) -> Iterator[LiveServer]:
    users = tmp_path / "users"
    add_user(users, "alice", "secret of alice")
    file = tmp_path / "settings.toml"
    file.write_text(
        '[server]\nadministrators = ["alice"]\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\nupload_page = true\n'
        f'authentication = ["basic"]\nbasic_without_tls = true\nhtpasswd_file = "{users}"\n'
    )
    with LiveServer(options=["--settings", str(file)], log_file=tmp_path / "server.log") as started:
        yield started


@pytest.fixture
def logged_in(browser: Browser, server: LiveServer) -> Iterator[Page]:
    alice = HttpCredentials(username="alice", password="secret of alice")
    with browser.new_context(http_credentials=alice) as context:
        page = context.new_page()
        Person(page, server.url)
        yield page


# Another site, and another port of the same site.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_foreign_page_sends_no_packet_with_the_user_s_password(
    logged_in: Page, server: LiveServer, foreign_port: int, host: str
) -> None:
    target = f"{server.url}/upload/evil.txt"
    with logged_in.context.expect_page() as opened:
        logged_in.evaluate(f"void open('http://{host}:{foreign_port}/')")
    attacker = opened.value
    attacker.wait_for_load_state()
    assert attacker.evaluate(_ATTACK, target) == ["blocked", "opaque", "blocked", "opaque"]
    assert not re.search("Create-Session .*/upload", server.log.partition("Booting")[2])


# Another site, and another port of the same site.
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_foreign_page_does_nothing_to_sessions_with_an_administrator_s_password(
    logged_in: Page, server: LiveServer, foreign_port: int, host: str
) -> None:
    alice = {"Authorization": basic("alice", "secret of alice")}
    with server.sender() as sender:
        client = BitsClient(sender, "/upload/f.bin")
        assert_success(client.create(**alice))
        logged_in.goto(f"{server.url}/-/sessions")
        wish = {
            "virtual_directory": "/upload",
            "session_id": client.session_id,
            "action": "cancel",
        }
        page = logged_in.context.new_page()
        page.goto(f"http://{host}:{foreign_port}/")
        target = f"{server.url}/-/sessions/act"
        # The first is not sent; of the others he does not see even that they were refused.
        assert page.evaluate(_ATTACK_ON_SESSIONS, [target, wish]) == ["blocked"] * 3
        assert_success(client.fragment(bytes(10), 0, 20, **alice))
    assert " cancel by " not in server.log
    # To another site the browser does not even lend the password.
    refused = re.findall(r"/-/sessions refused to 127.0.0.1 with (40[13])", server.log)
    assert [each for each in refused if host == "localhost" or each == "403"] != []


@pytest.mark.parametrize("path", ["/upload/", "/-/sessions"])
def test_a_foreign_page_cannot_frame_ours(
    logged_in: Page, server: LiveServer, foreign_port: int, path: str
) -> None:
    page = logged_in.context.new_page()
    page.goto(f"http://localhost:{foreign_port}/")
    with page.expect_console_message(lambda said: "frame-ancestors" in said.text):
        page.evaluate(
            """(url) => {
                const frame = document.createElement("iframe");
                frame.src = url;
                document.body.append(frame);
            }""",
            f"{server.url}{path}",
        )
    assert [frame.locator("[data-text]").count() for frame in page.frames[1:]] in ([], [0])
