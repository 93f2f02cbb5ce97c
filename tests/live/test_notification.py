"""Notification by running servers: the captured conversation, crashes, crowds, memory."""

from __future__ import annotations

import hashlib
import os
import random
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.conftest import ServerMaker, Tell
from tests.live.test_captured_conversation import TRANSCRIPTS, Conversation
from tests.live.test_memory import ALLOWED_GROWTH, MIB, peak_bytes
from tests.storage.stages import run_at_once
from tests.support.bits_client import BitsClient, assert_success
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.patient_client import PatientClient
from tests.support.server_application import (
    REQUEST_PATH,
    RESPONSE_PATH,
    Answer,
    Notification,
    ServerApplication,
)
from tests.support.waiting import wait_until
from tests.support.wire import Answer as Ack
from tests.support.wire import WireSender

DYING = [sys.executable, "-m", "tests.support.dying_server"]
COPY = {"BITS-Copy-File-To-Destination": ""}


@pytest.fixture
def application() -> Iterator[ServerApplication]:
    with ServerApplication() as application:
        yield application


SettingsMaker = Callable[..., list[str]]


@pytest.fixture
def options(application: ServerApplication, folder: Path, tmp_path: Path) -> SettingsMaker:
    """Options of a server that has the application; keywords are lines of its directory."""

    def make(kind: str = "by-value", server: str = "", **lines: str) -> list[str]:
        file = tmp_path / "settings.toml"
        merged = {
            "url": '"/upload"',
            "path": f'"{folder}"',
            "notification_type": f'"{kind}"',
            "notification_url": f'"{application.url}"',
            **lines,
        }
        text = "\n".join(f"{key} = {value}" for key, value in merged.items())
        file.write_text(f"[server]\n{server}\n[[virtual_directory]]\n{text}\n")
        return ["--settings", str(file)]

    return make


class TestTheCapturedConversation:
    """An upload-reply job of section 4.2: its packets, IIS's notification, its reply."""

    def test_the_client_gets_what_iis_gave(
        self,
        make_server: ServerMaker,
        options: SettingsMaker,
        application: ServerApplication,
        folder: Path,
        tmp_path: Path,
    ) -> None:
        body, reply = os.urandom(4892), os.urandom(10240)
        application.answer = Answer(reply=reply)
        with (
            make_server(options=options("by-reference"), log_file=tmp_path / "log") as server,
            server.sender() as sender,
        ):
            client = BitsClient(sender, "/upload/2100mb-rfc2119.txt")
            assert_success(client.create())
            conversation = Conversation(sender, client.target)
            conversation.session_id = client.session_id
            conversation.replay("4.2-02-ping")
            answer = self.replay_fragment(conversation, body)
            self.assert_fetched(sender, answer["BITS-Reply-URL"], reply)
            conversation.replay("4.2-06-close-session")
            assert sender.send("GET", answer["BITS-Reply-URL"]).status == 404
        assert not (folder / "2100mb-rfc2119.txt").exists(), "nobody asked for a copy"

    def replay_fragment(self, conversation: Conversation, body: bytes) -> Ack:
        """All but the reply's URL, which is where each server has its replies."""
        captured = (TRANSCRIPTS / "4.2-03-fragment.response.head").read_bytes()
        assert b"\r\nBITS-Reply-URL: BITS-Sessions\\Replies\\{" in captured
        return conversation.replay("4.2-03-fragment", body, other=frozenset({"BITS-Reply-URL"}))

    def assert_fetched(self, sender: WireSender, url: str, reply: bytes) -> None:
        head = (TRANSCRIPTS / "4.2-05-get-reply.request.head").read_bytes().decode()
        head = re.sub(r"^GET \S+", f"GET {url}", head)
        answer = sender.send_bytes(head.encode())
        captured = (TRANSCRIPTS / "4.2-05-get-reply.response.head").read_bytes().decode()
        fields = dict(line.split(": ", 1) for line in captured.splitlines()[1:] if line)
        assert answer.status == 206
        for name in ("Content-Length", "Content-Type", "Content-Range", "Accept-Ranges"):
            assert answer[name] == fields[name]
        for name in ("Last-Modified", "ETag"):
            assert answer[name], f"IIS sent {fields[name]}"
        assert answer.body == reply[:9977]

    def test_the_application_gets_what_iis_sent(
        self,
        options: SettingsMaker,
        application: ServerApplication,
        folder: Path,
        tmp_path: Path,
    ) -> None:
        application.answer = Answer(
            before=lambda told: seen.append(told.path(REQUEST_PATH).read_bytes())
        )
        seen: list[bytes] = []
        with (
            LiveServer(options=options("by-reference"), log_file=tmp_path / "log") as server,
            server.sender() as sender,
        ):
            client = BitsClient(sender, "/upload/2100mb-rfc2119.txt?who=me")
            client.upload(b"hello")
        (told,) = application.notifications
        captured = (TRANSCRIPTS / "4.2-04-notification.request.head").read_bytes().decode()
        names = {line.partition(":")[0].lower() for line in captured.splitlines()[1:] if line}
        assert names <= told.headers.keys()
        assert told.headers["content-length"] == "0"
        url = f"http://bits.test{client.target}"
        assert told.headers["bits-original-request-url"] == url
        assert told.target == "/handle?who=me"
        session = folder / "BITS-Sessions" / client.session_id
        assert told.path(REQUEST_PATH) == session / "request"
        assert told.path(RESPONSE_PATH) == session / "response"
        assert seen == [b"hello"]


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_a_restarted_server_repeats_the_outcome_and_has_the_reply(
    kind: str,
    make_server: ServerMaker,
    options: SettingsMaker,
    application: ServerApplication,
    tmp_path: Path,
) -> None:
    application.answer = Answer(reply=b"receipt", fields=COPY)
    with make_server(options=options(kind), log_file=tmp_path / "log") as server:
        with server.sender() as sender:
            client = BitsClient(sender)
            client.create()
            first = client.fragment(b"hello", 0, 5)
        server.kill()
        server.start()
        with server.sender() as sender:
            client.sender = sender
            again = client.fragment(b"hello", 0, 5)
            if again.status == 502:  # nginx had kept a connection to the server that was killed
                again = client.fragment(b"hello", 0, 5)
            assert again["BITS-Reply-URL"] == first["BITS-Reply-URL"]
            assert sender.send("GET", first["BITS-Reply-URL"]).body == b"receipt"
            assert_success(client.close())
    assert application.calls == 1


def test_an_application_over_https_is_trusted_by_its_own_authority(
    certificate: Certificate, folder: Path, tmp_path: Path
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate.certificate, certificate.key)
    file = tmp_path / "settings.toml"
    with ServerApplication(Answer(reply=b"receipt"), tls) as application:
        for trusted in (True, False):
            line = f'notification_ca_file = "{certificate.authority}"' if trusted else ""
            file.write_text(
                f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
                f'notification_type = "by-value"\nnotification_url = "{application.url}"\n{line}\n'
            )
            options = ["--settings", str(file)]
            with (
                LiveServer(options=options, log_file=tmp_path / "log") as server,
                server.sender() as sender,
            ):
                client = BitsClient(sender)
                client.create()
                answer = client.fragment(b"hello", 0, 5)
                assert answer.status == (200 if trusted else 503)
                assert (answer.get("BITS-Reply-URL") is not None) == trusted
        assert "CERTIFICATE_VERIFY_FAILED" in (tmp_path / "log").read_text()
    assert application.calls == 1


def test_a_header_of_the_settings_reaches_the_application_and_no_log(
    options: SettingsMaker, application: ServerApplication, tmp_path: Path
) -> None:
    secret = "correct horse battery staple"
    (tmp_path / "key").write_text(f"Bearer {secret}\n")
    fields = f'{{ Authorization = {{ file = "{tmp_path}/key" }}, X-Key = {{ env = "KEY" }} }}'
    chosen = options(notification_headers=fields)
    application.answer = Answer(500)
    environment = {"KEY": secret[::-1]}
    log_file = tmp_path / "log"
    with (
        LiveServer(options=chosen, environment=environment, log_file=log_file) as server,
        server.sender() as sender,
    ):
        client = BitsClient(sender)
        client.create()
        assert client.fragment(b"hello", 0, 5).status == 500
    assert application.notifications[0].headers["authorization"] == f"Bearer {secret}"
    assert application.notifications[0].headers["x-key"] == secret[::-1]
    shown = subprocess.run(
        [sys.executable, "-m", "bits_server", "show-settings", chosen[1]],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    for text in (log_file.read_text(), shown.stdout, shown.stderr):
        assert secret not in text
        assert secret[::-1] not in text


class TestTwoConnections:
    @pytest.mark.parametrize("kind", ["by-reference", "by-value"])
    def test_two_that_bring_the_last_fragment_at_once_notify_once(
        self,
        kind: str,
        options: SettingsMaker,
        application: ServerApplication,
        tmp_path: Path,
        is_soak: bool,
    ) -> None:
        """Over four worker processes: no lock of one process would do."""
        content = os.urandom(50_000)
        application.answer = Answer(reply=b"receipt", fields=COPY)
        chosen = options(kind, server="workers = 4")
        with LiveServer(options=chosen, log_file=tmp_path / "log") as server:
            for number in range(100 if is_soak else 15):
                with server.sender() as sender:
                    client = BitsClient(sender, f"/upload/{number}")
                    client.create()
                    client.fragment(content[:100], 0, len(content))
                    answers: list[Ack] = []
                    send = self.sender_of(server, client, content, answers)
                    run_at_once(send, send, send)
                    assert {answer.status for answer in answers} == {200}
                    assert len({answer["BITS-Reply-URL"] for answer in answers}) == 1
                    assert application.calls == number + 1
                    assert_success(client.close())

    def sender_of(
        self, server: LiveServer, client: BitsClient, content: bytes, answers: list[Ack]
    ) -> Callable[[], None]:
        def send() -> None:
            with server.sender() as sender:
                other = BitsClient(sender, client.target)
                other.session_id = client.session_id
                answers.append(other.fragment(content[100:], 100, len(content)))

        return send


def upload_with_a_dying_server(
    options: list[str], folder: Path, log_file: Path, name: str, step: int, side: str
) -> tuple[int, bool]:
    """One upload of ``name``; returns the steps on disk of the first server, and if it died."""
    content = name.encode() * 3000
    marks = log_file.with_name(f"marks-{name}")
    serve = ["serve", "--bind", "fd://{fd}", *options]
    command = [*DYING, str(step), side, str(marks), *serve]
    has_died = False
    with LiveServer(options=options, command=command, log_file=log_file) as server:
        client = PatientClient(server.address, f"/upload/{name}", content, random.Random(1))
        thread = threading.Thread(target=client.run)
        thread.start()
        while thread.is_alive() and not has_died:
            thread.join(0.005)
            has_died = server.has_died()
        if has_died:
            server.start_anew()
        thread.join(60)
        assert not thread.is_alive()
    assert (folder / name).read_bytes() == content
    return marks.stat().st_size, has_died


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_a_server_killed_between_any_two_steps_calls_at_most_once_more(
    kind: str,
    options: SettingsMaker,
    application: ServerApplication,
    folder: Path,
    tmp_path: Path,
    seeded: random.Random,
    is_soak: bool,
    tell: Tell,
) -> None:
    """kill -9 between the application's 200 and the Ack among them; the id is the same then."""
    application.answer = Answer(reply=b"receipt", fields=COPY)
    chosen = options(kind, server="workers = 1")
    log_file = tmp_path / "log"
    count, _ = upload_with_a_dying_server(chosen, folder, log_file, "counted", 0, "before")
    points = [(step, side) for step in range(1, count + 1) for side in ("before", "after")]
    deaths = repeated = 0
    for step, side in points if is_soak else seeded.sample(points, 8):
        before = application.calls
        name = f"{step}-{side}"
        _, has_died = upload_with_a_dying_server(chosen, folder, log_file, name, step, side)
        deaths += has_died
        told = application.notifications[before:]
        assert 1 <= len(told) <= 2, name
        assert len({each.headers["bits-session-id"] for each in told}) == 1, name
        repeated += len(told) - 1
    assert deaths > 0
    tell(f"{kind}: {deaths} deaths at one of {count} steps on disk, {repeated} second calls")


def test_a_server_killed_while_the_application_works_calls_again_with_the_same_id(
    options: SettingsMaker, application: ServerApplication, tmp_path: Path
) -> None:
    release = threading.Event()
    application.answer = Answer(before=lambda _told: release.wait(60))
    with LiveServer(options=options(), log_file=tmp_path / "log") as server:
        with server.sender() as sender:
            client = BitsClient(sender)
            client.create()
        thread = threading.Thread(target=lost_fragment, args=(server, client))
        thread.start()
        wait_until(lambda: application.calls == 1)
        server.kill()
        thread.join(30)
        release.set()
        application.answer = Answer(reply=b"receipt")
        server.start()
        with server.sender() as sender:
            client.sender = sender
            answer = client.fragment(b"hello", 0, 5)
        assert_success(answer)
        assert answer["BITS-Reply-URL"]
    first, second = application.notifications
    assert first.headers["bits-session-id"] == second.headers["bits-session-id"]


def lost_fragment(server: LiveServer, client: BitsClient) -> None:
    """The last Fragment of a client whose server dies before the Ack."""
    with server.sender() as sender:
        other = BitsClient(sender, client.target)
        other.session_id = client.session_id
        with pytest.raises(OSError):  # noqa: PT011  # reset or closed
            other.fragment(b"hello", 0, 5)


def test_slow_applications_do_not_stop_uploads(
    options: SettingsMaker, application: ServerApplication, tmp_path: Path
) -> None:
    """50 clients and an application that does not answer: half of the threads wait for it."""
    release = threading.Event()
    application.answer = Answer(before=lambda _told: release.wait(120), reply=b"receipt")
    plain = tmp_path / "plain"
    plain.mkdir()
    chosen = options(server="workers = 1\nthreads = 16")
    with open(chosen[1], "a") as file:
        file.write(f'[[virtual_directory]]\nurl = "/plain"\npath = "{plain}"\n')
    with LiveServer(options=chosen, log_file=tmp_path / "log") as server:
        statuses: list[int] = []
        clients = [f"/upload/{number}" for number in range(50)]
        threads = [
            threading.Thread(target=upload_once, args=(server, target, statuses))
            for target in clients
        ]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda: len(statuses) == 42, seconds=60)
            assert statuses == [503] * 42
            assert application.calls == 8, "half of the threads"
            with server.sender() as sender:
                for number in range(20):
                    BitsClient(sender, f"/plain/{number}").upload(os.urandom(100_000))
        finally:
            release.set()
            for thread in threads:
                thread.join(60)
        assert sorted(statuses) == [200] * 8 + [503] * 42
        assert len(list(plain.iterdir())) == 21, "with BITS-Sessions"


def upload_once(server: LiveServer, target: str, statuses: list[int]) -> None:
    with server.sender() as sender:
        client = BitsClient(sender, target)
        client.create()
        answer = client.fragment(b"hello", 0, 5)
        if answer.status == 503:
            assert int(answer["Retry-After"]) > 0
            assert answer["BITS-Received-Content-Range"] == "5"
        statuses.append(answer.status)


def test_by_value_memory_depends_neither_on_the_entity_nor_on_the_reply(
    options: SettingsMaker,
    application: ServerApplication,
    tmp_path: Path,
    is_soak: bool,
    tell: Tell,
) -> None:
    entity, reply = (1024, 200) if is_soak else (100, 100)
    fragment = bytes(4 * MIB)
    chosen = options(server="workers = 1", durability='"none"')
    with LiveServer(options=chosen, log_file=tmp_path / "log") as server, server.sender() as sender:
        application.answer = Answer(reply=b"x" * 1000)
        fetch_reply(server, upload_in_fragments(sender, "/upload/first", fragment[:1000], 1))
        (worker,) = server.workers()
        idle = peak_bytes(worker)
        application.answer = Answer(reply_bytes=reply * MIB)
        url = upload_in_fragments(sender, "/upload/large", fragment, entity // 4)
        assert fetch_reply(server, url) == reply * MIB
        growth = peak_bytes(worker) - idle
    assert application.notifications[-1].length == entity * MIB
    digest = hashlib.sha256()
    for _ in range(entity // 4):
        digest.update(fragment)
    assert application.notifications[-1].sha256 == digest.hexdigest()
    tell(f"{entity} MiB by value, reply {reply} MiB: {growth / MIB:.1f} MiB more than idle")
    assert 0 <= growth < ALLOWED_GROWTH


def upload_in_fragments(sender: WireSender, target: str, fragment: bytes, count: int) -> str:
    """The same Fragment so many times; the URL of the reply."""
    client = BitsClient(sender, target)
    client.create()
    answer = None
    for number in range(count):
        answer = client.fragment(fragment, number * len(fragment), count * len(fragment))
        assert_success(answer)
    assert answer is not None
    return answer["BITS-Reply-URL"]


def fetch_reply(server: LiveServer, url: str) -> int:
    """Its bytes, as they came."""
    with closing(HTTPConnection(*server.address)) as connection:
        connection.request("GET", url)
        answer = connection.getresponse()
        assert answer.status == 200
        return sum(len(block) for block in iter(lambda: answer.read(MIB), b""))


@pytest.mark.parametrize("what", ["move", "delete"])
def test_the_file_is_the_applications_by_reference(
    what: str,
    options: SettingsMaker,
    application: ServerApplication,
    folder: Path,
    tmp_path: Path,
) -> None:
    """N stays TOTAL, and Close-Session without a copy is acknowledged."""
    moved = tmp_path / "moved"

    def take(told: Notification) -> None:
        path = told.path(REQUEST_PATH)
        if what == "move":
            path.rename(moved)
        else:
            path.unlink()

    application.answer = Answer(before=take)
    with (
        LiveServer(options=options("by-reference"), log_file=tmp_path / "log") as server,
        server.sender() as sender,
    ):
        client = BitsClient(sender)
        client.create()
        for _ in range(2):
            answer = client.fragment(b"hello", 0, 5)
            assert_success(answer)
            assert answer["BITS-Received-Content-Range"] == "5"
        assert_success(client.close())
    assert sorted(path.name for path in folder.iterdir()) == ["BITS-Sessions"]
    assert not moved.exists() or moved.read_bytes() == b"hello"
    assert moved.exists() == (what == "move")
    assert application.calls == 1


def test_a_reply_that_becomes_shorter_while_it_is_sent_ends_the_connection(
    application: ServerApplication, make_server: ServerMaker, options: SettingsMaker, tmp_path: Path
) -> None:
    """Else the client waits for the rest, and takes the next answer for it."""
    application.answer = Answer(reply=bytes(64 << 20))
    with (
        make_server(options=options("by-reference"), log_file=tmp_path / "log") as server,
        server.sender() as sender,
    ):
        client = BitsClient(sender)
        client.create()
        url = client.fragment(b"hello", 0, 5)["BITS-Reply-URL"]
        connection = sender.connect()
        connection.settimeout(15)
        connection.sendall(f"GET {url} HTTP/1.1\r\nHost: bits.test\r\n\r\n".encode())
        received = len(connection.recv(1000))
        os.truncate(application.notifications[0].path(RESPONSE_PATH), 1000)
        try:
            while block := connection.recv(1 << 20):
                received += len(block)
        except ConnectionResetError:
            pass
        assert received < 64 << 20
        log = server.log
    assert "Traceback" not in log
