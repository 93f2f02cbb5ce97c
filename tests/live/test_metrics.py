"""Metrics and health of running servers with several workers, at an address of their own."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from bits_server.cli.metrics_folder import PREFIX, SHARED_MEMORY
from tests.conftest import ServerMaker
from tests.operations.exposition import Exposition
from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from tests.support.wire import WireSender

CONFIG = Path(__file__).parent.parent.parent / "config" / "gunicorn.conf.py"
WORKERS = 3


class Watched:
    """A server, and what its closed address says."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        wait_until(lambda: "Metrics and health are told at " in server.log)
        told = re.findall(r"^Metrics and health are told at (.*)$", server.log, re.M)[-1]
        self.told = told
        host, _, port = told.rpartition(":")
        is_unix = told.startswith("unix:")
        self.address: object = told.removeprefix("unix:") if is_unix else (host, int(port))

    def ask(self, target: str, method: str = "GET") -> tuple[int, bytes]:
        with WireSender(self.address) as sender:
            answer = sender.send(method, target)
        return answer.status, answer.body

    def metrics(self) -> Exposition:
        status, body = self.ask("/metrics")
        assert status == 200
        return Exposition(body)

    def packets(self) -> float:
        return self.metrics().value("packets_total")


@contextmanager
def watched(
    folder: Path, tmp_path: Path, make: Callable[..., LiveServer] = LiveServer, **lines: str
) -> Iterator[Watched]:
    file = tmp_path / "settings.toml"
    bind = lines.pop("metrics_bind", '"127.0.0.1:0"')
    merged = {"url": '"/upload"', "path": f'"{folder}"', **lines}
    file.write_text(
        f"[server]\nmetrics_bind = {bind}\nworkers = {WORKERS}\n[[virtual_directory]]\n"
        + "".join(f"{key} = {value}\n" for key, value in merged.items())
    )
    with make(options=["--settings", str(file)], log_file=tmp_path / "server.log") as server:
        with server.sender() as sender:
            assert_success(BitsClient(sender).ping())
        yield Watched(server)


def ping_workers(server: LiveServer, count: int) -> None:
    """A connection for each: which worker takes it is up to the kernel."""
    for _ in range(count):
        with server.sender() as sender:
            assert_success(BitsClient(sender).ping())


def files_of(server: LiveServer) -> set[Path]:
    """The counter files of this server alone: those that its workers have mapped."""
    found = set()
    for pid in server.workers():
        maps = Path(f"/proc/{pid}/maps").read_text()
        found |= {Path(path) for path in re.findall(rf"/\S*{PREFIX}\S*", maps)}
    return found


def test_counts_add_up_over_workers_and_outlive_them(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running:
        server = running.server
        ping_workers(server, 30)
        wait_until(lambda: len(server.workers()) == WORKERS)
        assert {running.packets() for _ in range(10)} == {31}
        for killed in server.workers():
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda pid=killed: pid not in server.workers())  # type: ignore[misc]
        wait_until(lambda: len(server.workers()) == WORKERS)
        ping_workers(server, 10)
        assert {running.packets() for _ in range(10)} == {41}
        names = {path.name for path in files_of(server)}
        numbers = {re.sub(r"\D", "", name) for name in names}
        assert numbers <= {"0", "1", "2"}
        [metrics_folder] = {path.parent for path in files_of(server)}
        assert metrics_folder.stat().st_mode & 0o777 == 0o700
    assert not metrics_folder.exists()


def test_a_reload_loses_no_counts(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running:
        server = running.server
        wait_until(lambda: len(server.workers()) == WORKERS)
        old = set(server.workers())
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == WORKERS and not old & set(server.workers()))
        ping_workers(server, 5)
        assert running.packets() == 6


def test_a_reload_leaves_the_closed_address_where_it_is(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running:
        server, file = running.server, tmp_path / "settings.toml"
        wait_until(lambda: len(server.workers()) == WORKERS)
        old = set(server.workers())
        other = f"unix:{tmp_path}/other"
        file.write_text(file.read_text().replace("127.0.0.1:0", other) + "upload_enabled = false\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: len(server.workers()) == WORKERS and not old & set(server.workers()))
        with server.sender() as sender:
            assert BitsClient(sender).create().status == 501  # the rest of it has taken effect
            assert sender.send("GET", "/metrics").status in (404, 405)
        assert running.ask("/healthz") == (200, b"ok\n")
        assert not (tmp_path / "other").exists()


def test_what_a_killed_server_left_is_removed_by_the_next_one(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running:
        ping_workers(running.server, 10)
        [left] = {path.parent for path in files_of(running.server)}
        running.server.kill()
        assert left.parent == Path(SHARED_MEMORY)
        assert left.is_dir()
        running.server.start()
        ping_workers(running.server, 1)
        running = Watched(running.server)
        assert not left.exists()
        assert running.packets() == 1  # a new start counts from zero


def test_an_upload_moves_what_it_should(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running, running.server.sender() as sender:
        before = running.metrics()
        client = BitsClient(sender)
        client.upload(bytes(300_000), 100_000)
        assert client.create().status == 403
        client.target = "/upload/g"
        assert_success(client.create())
        assert client.fragment(b"abc", 7, 10).status == 416
        found = running.metrics()
        for name, labels, count in (
            ("packets_total", {"packet": "Fragment", "outcome": "taken"}, 3),
            ("packets_total", {"packet": "Fragment", "outcome": "refused"}, 1),
            ("received_bytes_total", {"virtual_directory": "/upload"}, 300_000),
            ("ack_seconds_count", {"packet": "Fragment"}, 4),
            ("ack_seconds_count", {"packet": "Close-Session"}, 1),
            ("errors_total", {"packet": "Create-Session", "hresult": "0x80070005"}, 1),
            ("errors_total", {"packet": "Fragment", "hresult": "none", "status": "416"}, 1),
            ("opened_sessions_total", {}, 2),
            ("ended_sessions_total", {"outcome": "closed"}, 1),
        ):
            assert found.value(name, **labels) - before.value(name, **labels) == count, name
        assert 0 < found.value("ack_seconds_sum", packet="Fragment") < 10
        assert client.session_id.encode() not in running.ask("/metrics")[1]


def test_the_time_of_a_slow_client_is_not_the_servers(folder: Path, tmp_path: Path) -> None:
    """Half of the body comes when a second and a half have passed."""
    with watched(folder, tmp_path) as running, running.server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        connection = sender.connect()
        connection.sendall(client.fragment_head(1 << 16) + bytes(1 << 15))
        request = folder / "BITS-Sessions" / client.session_id / "request"
        with WireSender(running.address) as other:
            waited = subprocess.Popen(["sleep", "1.5"])
            while waited.poll() is None:
                other.send("GET", "/healthz")
        connection.sendall(bytes(1 << 15))
        assert_success(sender.read_answer())
        assert request.stat().st_size == 1 << 16
        assert running.metrics().value("ack_seconds_sum", packet="Fragment") < 1


def test_notifications_are_told_with_outcome_and_duration(folder: Path, tmp_path: Path) -> None:
    with (
        ServerApplication() as application,
        watched(
            folder,
            tmp_path,
            notification_type='"by-value"',
            notification_url=f'"{application.url}"',
        ) as running,
        running.server.sender() as sender,
    ):
        client = BitsClient(sender)
        assert_success(client.create())
        application.answer = Answer(503)
        assert client.fragment(b"abc", 0, 3).status == 503
        application.answer = Answer(200)
        assert_success(client.fragment(b"abc", 0, 3))
        found = running.metrics()
        for outcome in ("refused", "succeeded"):
            assert found.value("notification_seconds_count", outcome=outcome) == 1
        assert found.value("notification_seconds_sum") > 0


def test_uploads_and_metrics_keep_to_their_addresses(
    make_server: ServerMaker, folder: Path, tmp_path: Path
) -> None:
    with watched(folder, tmp_path, make_server) as running:
        tricks = [
            ("X-Forwarded-Host", running.told),
            ("X-Forwarded-Port", running.told.rpartition(":")[2]),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Original-URL", "/metrics"),
        ]
        for path in ("/metrics", "/healthz", "/readyz"):
            for spelling in (
                *(path, f"/{path}", f"/.{path}", f"/upload/..{path}", f"/upload/%2e%2e{path}"),
                *(path.upper(), f"{path}/", f"{path}?x", f"http://{running.told}{path}"),
            ):
                with running.server.sender() as sender:
                    plain = sender.send("GET", spelling)
                    tricked = sender.send("GET", spelling, tricks)
                for answer in (plain, tricked):
                    assert answer.status in (400, 403, 404, 405), spelling
                    assert b"bitsserver_" not in answer.body
                    assert b"ready" not in answer.body
        with WireSender(running.address) as sender:
            for target in ("/upload/f.bin", "/metrics", "/", "/../upload/f.bin"):
                assert BitsClient(sender, target).create().status in (404, 405)
            assert sender.send("GET", "/metrics", tricks).status == 200
        assert running.metrics().value("packets_total", packet="Create-Session") == 0
        assert not list((folder / "BITS-Sessions").glob("{*"))


def test_the_host_that_a_client_names_does_not_lead_there(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running, running.server.sender() as sender:
        request = f"GET /metrics HTTP/1.1\r\nHost: {running.told}\r\n\r\n".encode()
        assert sender.send_bytes(request).status == 404


def test_readiness_is_lost_with_the_folder_and_comes_back(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path) as running:
        status, body = running.ask("/readyz")
        assert status == 200
        assert re.fullmatch(rb"/upload: ready, \d+ MiB free\n", body)
        shutil.move(folder, tmp_path / "away")
        status, body = running.ask("/readyz")
        assert status == 503
        assert body == f"/upload: not ready: {folder} is not a folder; create it: ".encode() + (
            f"mkdir -p {folder}\n".encode()
        )
        assert running.ask("/healthz") == (200, b"ok\n")
        assert running.metrics().value("ready") == 0
        shutil.move(tmp_path / "away", folder)
        assert running.ask("/readyz")[0] == 200


def test_a_full_disk_is_not_ready_until_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    with watched(small_disk, tmp_path) as running:
        assert running.ask("/readyz")[0] == 200
        status = os.statvfs(small_disk)
        with (small_disk / "filler").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)
        code, body = running.ask("/readyz")
        assert code == 503
        assert b"No space left on device" in body
        assert running.metrics().value("free_bytes") == 0
        (small_disk / "filler").unlink()
        assert running.ask("/readyz")[0] == 200


def test_less_than_the_reserve_is_not_ready(folder: Path, tmp_path: Path) -> None:
    with watched(folder, tmp_path, minimum_free_space='"1000TiB"') as running:
        status, body = running.ask("/readyz")
        assert status == 503
        assert re.fullmatch(
            rb"/upload: not ready: \S+ has \d+ MiB free, minimum_free_space is 1048576000 MiB: "
            rb"make room\n",
            body,
        )
        assert running.metrics().value("ready") == 0


def test_promtool_has_nothing_to_say(folder: Path, tmp_path: Path) -> None:
    promtool = require_tool("promtool")
    with watched(folder, tmp_path) as running, running.server.sender() as sender:
        client = BitsClient(sender)
        client.upload(b"content")
        assert client.create().status == 403
        _, text = running.ask("/metrics")
    checked = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_closed_address_may_be_a_unix_socket(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with watched(folder, tmp_path, metrics_bind=f'"unix:{path}"') as running:
        assert running.ask("/healthz") == (200, b"ok\n")
        assert running.packets() == 1
    assert not path.exists()


def test_a_gunicorn_of_ones_own_tells_metrics_at_one_of_its_addresses(
    folder: Path, tmp_path: Path
) -> None:
    closed = tmp_path / "metrics"
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[server]\nmetrics_bind = "unix:{closed}"\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
    )
    uploads = tmp_path / "uploads-socket"
    command = [sys.executable, "-m", "gunicorn", "-c", str(CONFIG), "bits_server.wsgi:application"]
    with LiveServer(
        command=[*command, "--bind", f"unix:{uploads}", "--bind", f"unix:{closed}"],
        environment={"BITS_SERVER_SETTINGS": str(settings)},
        log_file=tmp_path / "server.log",
    ) as server:
        wait_until(lambda: closed.exists() and len(server.workers()) == 2)
        with WireSender(str(uploads)) as sender:
            assert sender.send("GET", "/metrics").status == 404
            BitsClient(sender).upload(b"content")
        with WireSender(str(closed)) as sender:
            found = Exposition(sender.send("GET", "/metrics").body)
            assert BitsClient(sender).ping().status == 404
    assert found.value("packets_total", outcome="taken") == 3


@pytest.mark.parametrize("is_handed_over", [True, False])
def test_sockets_that_systemd_hands_over_may_have_the_closed_one_among_them(
    folder: Path, tmp_path: Path, is_handed_over: bool
) -> None:
    """Otherwise it is opened as the settings say."""
    with ExitStack() as stack:
        uploads, closed = (
            stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)
        )
        address = closed.getsockname()
        if not is_handed_over:
            closed.close()
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[server]\nmetrics_bind = "localhost:{address[1]}"\n'
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        )
        handed = [uploads, closed] if is_handed_over else [uploads]
        # Descriptors from 3 on; by way of higher ones, which none of those can be.
        numbers = [fcntl.fcntl(each, fcntl.F_DUPFD_CLOEXEC, 50) for each in handed]
        moved = " ".join(f"{at}<&{number}" for at, number in enumerate(numbers, 3))
        serve = f"exec {sys.executable} -m bits_server serve --settings {settings} {moved}"
        script = f"export LISTEN_PID=$$ LISTEN_FDS={len(handed)}; {serve}"
        log = stack.enter_context((tmp_path / "log").open("wb"))
        process = subprocess.Popen(["bash", "-c", script], pass_fds=numbers, stdout=log, stderr=log)
        try:
            with WireSender(uploads.getsockname()) as sender:
                assert_success(BitsClient(sender).ping())
                assert sender.send("GET", "/healthz").status == 404
            with WireSender(address) as sender:
                assert sender.send("GET", "/healthz").status == 200
                assert BitsClient(sender).ping().status == 404
        finally:
            process.terminate()
            assert process.wait(30) == 0
            for number in numbers:
                os.close(number)


def test_a_closed_address_where_uploads_come_in_is_refused_at_start(
    folder: Path, tmp_path: Path
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[server]\nbind = ["unix:{tmp_path}/socket"]\nmetrics_bind = "unix:{tmp_path}/./socket"\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
    )
    command = [sys.executable, "-m", "bits_server", "serve", "--settings", str(settings)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1
    assert "metrics_bind: is where uploads come in" in ran.stderr
