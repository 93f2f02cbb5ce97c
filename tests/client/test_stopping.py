"""Whoever stops a job does not wait for what never comes, and the job goes on another time."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from bits_server.client import JobState, Queue, Settings
from bits_server.client.credentials import KnownPasswords
from bits_server.client.errors import ConnectionBroken
from bits_server.client.open_lines import OpenLines
from bits_server.client.transport import TimeLimits, Transport
from tests.client.conftest import PROGRAM, Command
from tests.support.certificates import Certificate
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault
from tests.support.waiting import wait_until

NO_PROXY = Settings(proxy="", retry_delay=5.0)
SOON_SECONDS = 15.0  # the time limits are 30 seconds and more; a busy machine takes some


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(100_000))
    return path


class Stall:
    """An answer that does not come before the test is over."""

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self._is_over = threading.Event()

    def __enter__(self) -> Stall:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()

    def fault(self) -> Fault:
        def wait() -> None:
            self.has_begun.set()
            self._is_over.wait(120)

        return Fault(before=wait, is_answered=False)


@pytest.mark.parametrize("kind", ["Create-Session", "Fragment", "Close-Session", "GET"])
def test_a_job_whose_answer_never_comes_stops_soon_and_goes_on(
    tmp_path: Path, file: Path, kind: str
) -> None:
    queue, stop = Queue(tmp_path / "state"), threading.Event()
    with FakeIis(reply=b"a reply") as iis, Stall() as stall:
        iis.script(kind, stall.fault())
        job = queue.create(file, f"{iis.url}/upload/f", reply=tmp_path / "r", settings=NO_PROXY)
        running = threading.Thread(target=queue.run_job, args=(job.id,), kwargs={"stop": stop})
        running.start()
        assert stall.has_begun.wait(20)
        began = time.monotonic()
        stop.set()
        running.join(60)
        assert time.monotonic() - began < SOON_SECONDS
        job = queue.job(job.id)
        assert (job.state, job.error, job.error_count) == (JobState.QUEUED, None, 0)
        assert queue.run_job(job.id).state is JobState.TRANSFERRED
        assert iis.files == {"/upload/f": file.read_bytes()}


@pytest.mark.parametrize("wanted", ["suspend", "cancel"])
def test_somebody_else_suspends_or_cancels_it(tmp_path: Path, file: Path, wanted: str) -> None:
    queue, other = Queue(tmp_path / "state"), Queue(tmp_path / "state")
    with FakeIis() as iis, Stall() as stall:
        iis.script("Fragment", stall.fault())
        job = queue.create(file, f"{iis.url}/upload/f", settings=NO_PROXY)
        running = threading.Thread(target=queue.run_job, args=(job.id,))
        running.start()
        try:
            assert stall.has_begun.wait(20)
            began = time.monotonic()
            state = getattr(other, wanted)(job.id).state
            assert time.monotonic() - began < SOON_SECONDS
        finally:
            other.store.want(job.id, "cancel")
            running.join(60)
    assert state is {"suspend": JobState.SUSPENDED, "cancel": JobState.CANCELLED}[wanted]


@contextmanager
def silent_server(certificate: Certificate) -> Iterator[tuple[str, list[bytes]]]:
    """Speaks TLS, reads a request, and says nothing. Yields its URL and what it has read."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)
    read: list[bytes] = []

    def serve() -> None:
        with listener.accept()[0] as plain, context.wrap_socket(plain, server_side=True) as line:
            while block := line.recv(1 << 16):
                read.append(block)
            read.append(b"")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://localhost:{listener.getsockname()[1]}/f", read
        serving.join(20)


def test_tls_is_cut_below_and_cut_for_what_is_opened_later(certificate: Certificate) -> None:
    settings = Settings(proxy="", ca_file=str(certificate.authority))
    transport = Transport(settings, KnownPasswords())

    def cut() -> None:
        wait_until(lambda: bool(read))
        transport.lines.cut()

    with silent_server(certificate) as (url, read), transport, FakeIis() as iis:
        cutting = threading.Thread(target=cut)
        cutting.start()
        with pytest.raises(ConnectionBroken):
            transport.send("BITS_POST", url, {})
        cutting.join()
        with pytest.raises(ConnectionBroken):
            transport.send("BITS_POST", f"{iis.url}/upload/f", {"BITS-Packet-Type": "Ping"})
        assert iis.requests == []


@contextmanager
def dripping_server() -> Iterator[str]:
    """Its answer comes a byte now and then, and never ends. Yields its URL."""
    is_over = threading.Event()

    def serve() -> None:
        while True:
            try:
                line = listener.accept()[0]
            except OSError:
                return
            with line, suppress(OSError):
                line.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
                while not is_over.wait(0.05):
                    line.sendall(b"a")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/f"
        finally:
            is_over.set()
            listener.shutdown(socket.SHUT_RDWR)
            serving.join(20)


def test_an_answer_that_drips_is_left_after_a_while(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brisk = partial(Transport, limits=TimeLimits(answer=1.0))
    monkeypatch.setattr("bits_server.client.transfer.Transport", brisk)
    queue = Queue(tmp_path / "state")
    with dripping_server() as url:
        job = queue.create(file, url, settings=NO_PROXY)
        began = time.monotonic()
        job = queue.run_job(job.id, waits=False)
        assert time.monotonic() - began < SOON_SECONDS
    assert job.state is JobState.TRANSIENT_ERROR


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 3)])
def test_the_second_signal_ends_it_at_once(
    bits_client: Command, environment: dict[str, str], file: Path, number: int, code: int
) -> None:
    with FakeIis() as iis, Stall() as stall:
        iis.script("Fragment", stall.fault())
        arguments = ("transfer", str(file), f"{iis.url}/upload/f")
        process = subprocess.Popen(
            [*PROGRAM, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )
        assert stall.has_begun.wait(20)
        while process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):  # two that come together would be one
                process.wait(0.5)
        said = process.communicate(timeout=30)[1]
        assert process.returncode == code
        assert "stopped at once; the same command goes on" in said
        assert "QUEUED" in bits_client("list").stdout, "and not what the dead process had it be"
        assert bits_client(*arguments).returncode == 0
        assert iis.files == {"/upload/f": file.read_bytes()}
        assert iis.count("Create-Session") == 1


@pytest.mark.parametrize(("limit", "said"), [(0.0, TimeoutError), (60.0, ConnectionResetError)])
def test_a_line_that_was_cut_for_being_late_did_not_break(
    limit: float, said: type[OSError]
) -> None:
    lines = OpenLines(sending=1.0, answer=limit)

    def read() -> None:
        with lines.awaiting():
            wait_until(lambda: lines.is_overdue or limit > 0)
            raise ConnectionResetError

    with pytest.raises(said):
        read()
