"""TLS in the embedded server: uploads, hanging and strange handshakes, a renewed certificate."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.certificates import Certificate, make_certificate
from tests.support.live_server import LiveServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.tools import require_tool
from tests.support.waiting import is_listening, wait_until
from tests.support.wire import WireSender

# The real worker with shorter patience: nobody wants to wait a minute.
SHORT_OF_PATIENCE = (
    "import sys; from bits_server.cli import main, worker; worker.HEAD_SECONDS = 2.0; main()"
)


@pytest.fixture
def pair(certificate: Certificate, tmp_path: Path) -> Certificate:
    """A copy that a test may replace."""
    for name, source in (("c.pem", certificate.certificate), ("k.pem", certificate.key)):
        (tmp_path / name).write_bytes(source.read_bytes())
    return Certificate(certificate.authority, tmp_path / "c.pem", tmp_path / "k.pem")


def settings_file(folder: Path, pair: Certificate, lines: str = "", directory: str = "") -> Path:
    file = pair.key.with_name("settings.toml")
    file.write_text(
        f'[server]\ntls_certificate = "{pair.certificate}"\ntls_key = "{pair.key}"\n{lines}\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n{directory}\n'
    )
    return file


@pytest.fixture
def server(folder: Path, pair: Certificate, tmp_path: Path) -> Iterator[LiveServer]:
    options = ["--settings", str(settings_file(folder, pair, "workers = 1"))]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        yield server


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_an_upload_over_one_connection(
    server: LiveServer, pair: Certificate, folder: Path, version: ssl.TLSVersion
) -> None:
    content = os.urandom(5_000_000)
    tls = pair.trusting()
    tls.minimum_version = tls.maximum_version = version
    with WireSender(server.address, tls=tls) as sender:
        BitsClient(sender).upload(content, 2_000_000)
        assert sender.connections == 1
    assert (folder / "f.bin").read_bytes() == content
    assert f"https://{socket.gethostname()}:{server.address[1]}/upload" in server.log


def test_curl_uploads_and_sees_the_connection_end_properly(
    server: LiveServer, pair: Certificate
) -> None:
    """Without the word of TLS for an end, curl calls what has no length cut."""
    curl = [require_tool("curl"), "-sS", "-i", "--cacert", str(pair.authority), "--fail"]
    url = f"https://localhost:{server.address[1]}/upload/f"
    ping = ["-X", "BITS_POST", "-H", "BITS-Packet-Type: Ping", "-H", "Connection: close", url]
    done = subprocess.run([*curl, *ping], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("HTTP/1.1 200")
    with socket.create_connection(server.address) as plain:
        tls = pair.trusting().wrap_socket(
            plain, server_hostname="localhost", suppress_ragged_eofs=False
        )
        tls.sendall(
            b"BITS_POST /upload/f HTTP/1.1\r\nHost: a\r\nBITS-Packet-Type: Ping\r\n"
            b"Connection: close\r\n\r\n"
        )
        received = b""
        while block := tls.recv(4096):  # raises where the end is a cut
            received += block
        assert received.startswith(b"HTTP/1.1 200")
        tls.close()


def test_packets_that_share_a_record_are_all_answered(
    server: LiveServer, pair: Certificate, folder: Path
) -> None:
    """The second is decrypted with the end of the first's body: the socket itself is silent."""
    content = os.urandom(28_000)  # of records of 16 KiB: gunicorn reads to its end, and no further
    with WireSender(server.address, tls=pair.trusting()) as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        close = (
            f"BITS_POST {client.target} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"
            f"BITS-Packet-Type: Close-Session\r\nBITS-Session-Id: {client.session_id}\r\n\r\n"
        )
        head = client.fragment_head(len(content))
        assert_success(sender.send_bytes(head + content + close.encode()))
        assert_success(sender.read_answer())
    assert (folder / "f.bin").read_bytes() == content


def test_a_url_for_the_reply_says_https(folder: Path, pair: Certificate, tmp_path: Path) -> None:
    """What the application and the client are told of the URL is what the client used."""
    with ServerApplication(Answer(reply=b"the reply")) as application:
        lines = f'notification_type = "by-value"\nnotification_url = "{application.url}"'
        file = settings_file(folder, pair, directory=lines)
        options = ["--settings", str(file)]
        with (
            LiveServer(options=options, log_file=tmp_path / "server.log") as server,
            WireSender(server.address, tls=pair.trusting()) as sender,
        ):
            client = BitsClient(sender)
            client.create()
            url = client.send_all(b"hello", 5)["BITS-Reply-URL"]
            assert sender.send("GET", url).body == b"the reply"
            assert_success(client.close())
        (notification,) = application.notifications
    told = notification.headers["bits-original-request-url"]
    assert told == "https://bits.test/upload/f.bin"


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", id="plain HTTP"),
        pytest.param(b"\x16\x03\x01\x02\x00", id="half a hello"),
        pytest.param(os.urandom(300), id="noise"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_no_tls_ends_alone(server: LiveServer, pair: Certificate, sent: bytes) -> None:
    for _ in range(20):
        with socket.create_connection(server.address) as strange:
            strange.sendall(sent)
    with WireSender(server.address, tls=pair.trusting()) as sender:
        assert_success(BitsClient(sender).ping())
    assert "Traceback" not in server.log


def test_no_version_below_1_2_is_spoken(server: LiveServer) -> None:
    openssl = require_tool("openssl")
    command = [openssl, "s_client", "-connect", f"127.0.0.1:{server.address[1]}", "-tls1_1"]
    command += ["-cipher", "DEFAULT:@SECLEVEL=0"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode != 0
    assert "protocol version" in done.stderr.lower()


def test_handshakes_that_hang_hold_no_thread(
    folder: Path, pair: Certificate, tmp_path: Path
) -> None:
    """More of them than there are threads; each is ended, and others are served."""
    file = settings_file(folder, pair, "workers = 1\nthreads = 4")
    command = [sys.executable, "-c", SHORT_OF_PATIENCE, "serve", "--bind", "fd://{fd}"]
    command += ["--settings", str(file)]
    log_file = tmp_path / "server.log"
    with LiveServer(command=command, log_file=log_file) as server:
        hanging = [socket.create_connection(server.address) for _ in range(12)]
        try:
            for each in hanging:
                each.sendall(b"\x16\x03\x01\x02\x00\x01")  # and no more
            with WireSender(server.address, tls=pair.trusting()) as sender:
                assert_success(BitsClient(sender).ping())
            for each in hanging:
                each.settimeout(30)
                try:
                    while each.recv(4096):
                        pass
                except ConnectionResetError:
                    pass
        finally:
            for each in hanging:
                each.close()


def test_a_renewed_certificate_holds_after_sighup_and_uploads_go_on(
    server: LiveServer, pair: Certificate, folder: Path, tmp_path: Path
) -> None:
    content = os.urandom(400_000)

    def shown() -> bytes | None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(server.address, timeout=60) as plain,
            context.wrap_socket(plain) as tls,
        ):
            return tls.getpeercert(binary_form=True)

    with WireSender(server.address, tls=pair.trusting()) as sender:
        client = BitsClient(sender)
        client.create()
        assert client.fragment(content[:100_000], 0, len(content)).status == 200
    before = shown()
    renewed = tmp_path / "renewed"
    renewed.mkdir()
    new = make_certificate(renewed)
    pair.certificate.write_bytes(new.certificate.read_bytes())
    os.kill(server.pid, signal.SIGHUP)
    stay = "SIGHUP: the settings stay as they were: "
    wait_until(lambda: stay in server.log)
    assert "tls_certificate: is not the certificate of tls_key" in server.log
    assert shown() == before
    wait_until(lambda: len(server.workers()) == 1)
    (worker,) = server.workers()  # one that begins while the pair is wrong gets the old one too
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: server.workers() not in ([], [worker]))
    assert shown() == before
    pair.key.write_bytes(new.key.read_bytes())
    os.kill(server.pid, signal.SIGHUP)
    wait_until(lambda: shown() != before)
    new_pair = Certificate(new.authority, pair.certificate, pair.key)
    with WireSender(server.address, tls=new_pair.trusting()) as sender:
        follower = BitsClient(sender)
        follower.session_id = client.session_id
        follower.send_all(content, 100_000, start=100_000)
        assert_success(follower.close())
    assert (folder / "f.bin").read_bytes() == content


def test_metrics_stay_plain_on_their_closed_address(
    folder: Path, pair: Certificate, tmp_path: Path
) -> None:
    file = settings_file(folder, pair, 'metrics_bind = "127.0.0.1:0"')
    with LiveServer(options=["--settings", str(file)], log_file=tmp_path / "log") as server:
        with WireSender(server.address, tls=pair.trusting()) as sender:
            assert_success(BitsClient(sender).ping())
        wait_until(lambda: "Metrics and health are told at" in server.log)
        told = server.log.partition("Metrics and health are told at ")[2].split()[0]
        host, _, port = told.rpartition(":")
        with WireSender((host, int(port))) as sender:
            assert sender.send("GET", "/healthz").status == 200


def test_a_unix_socket_stays_plain(folder: Path, pair: Certificate, tmp_path: Path) -> None:
    path = tmp_path / "s"
    file = settings_file(folder, pair)
    command = [sys.executable, "-m", "bits_server", "serve", "--settings", str(file)]
    command += ["--bind", f"unix:{path}"]
    log = tmp_path / "server.log"
    with LiveServer(command=command, log_file=log):
        wait_until(lambda: is_listening(str(path)))
        with WireSender(str(path)) as sender:
            assert_success(BitsClient(sender).ping())
