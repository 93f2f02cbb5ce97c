"""What only the way through nginx can show: TLS, HTTP/2, who asks, slow and vanishing clients."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import re
import signal
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from bits_server.settings import Settings, VirtualDirectory
from tests.conftest import Tell
from tests.support.bits_client import PROTOCOL, BitsClient, assert_success
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.nginx import Nginx
from tests.support.patient_client import PatientClient, uploads
from tests.support.proxied_server import ProxiedServer
from tests.support.slow_clients import SlowClients
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from tests.support.wire import WireSender

README = Path(__file__).parents[2] / "README.md"
SIXTY_MIB = 60 << 20
BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504


def test_the_log_names_the_client_and_not_nginx(proxied_server: ProxiedServer) -> None:
    with WireSender(proxied_server.address, source="127.0.0.5") as sender:
        client = BitsClient(sender)
        for name in ("X_Forwarded_For", "X_Real_IP", "Forwarded"):
            assert_success(client.create(**{name: "203.0.113.9"}))
    created = r" Create-Session '.*' from ([\d.]+): 200, "
    assert re.findall(created, proxied_server.log) == ["127.0.0.5"] * 3


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_uploads_with_tls(
    proxied_server: ProxiedServer, certificate: Certificate, folder: Path, version: ssl.TLSVersion
) -> None:
    content = os.urandom(3_000_000)
    tls = certificate.trusting()
    tls.minimum_version = tls.maximum_version = version
    with WireSender(proxied_server.nginx.tls_address, tls=tls) as sender:
        BitsClient(sender).upload(content)
        assert sender.connections == 1
    assert (folder / "f.bin").read_bytes() == content


def test_a_client_that_does_not_trust_the_ca_sends_nothing(proxied_server: ProxiedServer) -> None:
    stranger = ssl.create_default_context()
    with (
        WireSender(proxied_server.nginx.tls_address, tls=stranger) as sender,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        BitsClient(sender).create()


def test_a_virtual_directory_may_have_all_urls(
    certificate: Certificate, folder: Path, tmp_path: Path
) -> None:
    file, log_file = tmp_path / "settings.toml", tmp_path / "server.log"
    file.write_text(f'[[virtual_directory]]\nurl = "/"\npath = "{folder}"\n')
    options = ["--settings", str(file)]
    with (
        ProxiedServer(options=options, log_file=log_file, certificate=certificate) as server,
        server.sender() as sender,
    ):
        BitsClient(sender, "/f.bin").upload(b"content")
    assert (folder / "f.bin").read_bytes() == b"content"


def test_http_2_at_the_edge(
    proxied_server: ProxiedServer, certificate: Certificate, folder: Path, tmp_path: Path
) -> None:
    """With curl, and an Authorization of 40 KB."""
    curl = require_tool("curl")
    if "HTTP2" not in subprocess.run([curl, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("this curl speaks no HTTP/2")
    content, size = os.urandom(20 << 20), 13 << 20
    (tmp_path / "authorization").write_text("Authorization: Negotiate " + "A" * 40_960)
    session: list[str] = []

    def packet(kind: str, *fields: str, body: bytes = b"") -> str:
        options = [
            "--http2",
            "--cacert",
            str(certificate.authority),
            "-sS",
            "-D",
            "-",
            "-o",
            os.devnull,
        ]
        options += ["-X", "BITS_POST", "-H", f"BITS-Packet-Type: {kind}", "--data-binary", "@-"]
        options += ["-H", f"@{tmp_path / 'authorization'}"]
        for field in (*fields, *session, "Content-Type:"):
            options += ["-H", field]
        port = proxied_server.nginx.tls_address[1]
        url = f"https://localhost:{port}/upload/f.bin"
        ran = subprocess.run([curl, *options, url], input=body, capture_output=True)
        assert ran.returncode == 0, ran.stderr
        answer = ran.stdout.decode()
        assert answer.startswith("HTTP/2 200"), answer
        return answer

    created = packet("Create-Session", f"BITS-Supported-Protocols: {PROTOCOL}")
    session += re.findall(r"bits-session-id: [^\r]+", created)
    for first in range(0, len(content), size):
        body = content[first : first + size]
        last = first + len(body) - 1
        packet("Fragment", f"Content-Range: bytes {first}-{last}/{len(content)}", body=body)
    packet("Close-Session")
    assert (folder / "f.bin").read_bytes() == content


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_fragment_of_60_mib(
    proxied_server: ProxiedServer, certificate: Certificate, folder: Path, is_encrypted: bool
) -> None:
    content = os.urandom(SIXTY_MIB)
    nginx = proxied_server.nginx
    address = nginx.tls_address if is_encrypted else nginx.address
    tls = certificate.trusting() if is_encrypted else None
    with WireSender(address, tls=tls) as sender:
        BitsClient(sender).upload(content, SIXTY_MIB)
    assert (folder / "f.bin").read_bytes() == content


def test_a_fragment_that_nginx_refuses_gets_its_413_and_smaller_ones_are_taken(
    proxied_server: ProxiedServer, folder: Path
) -> None:
    """The client sends all of it before it listens, as many do."""
    content = os.urandom(65 << 20)
    with proxied_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        refused = client.fragment(content, 0, len(content))
        assert refused.status == 413
        assert refused.get("BITS-Error-Code") is None
        client.send_all(content, 33 << 20)
        assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == content


@pytest.mark.soak
def test_a_slow_client_is_told_413_when_all_of_it_is_sent(proxied_server: ProxiedServer) -> None:
    """nginx by itself ends the connection 30 s after its answer, while the client is sending."""
    content = bytes(65 << 20)
    with proxied_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        connection = sender.connect()
        connection.sendall(client.fragment_head(len(content)))
        for _ in range(20):
            connection.sendall(content[: len(content) // 20])
            threading.Event().wait(2)  # a slow line
        assert sender.read_answer().status == 413


def test_a_client_that_disappears_in_mid_body(proxied_server: ProxiedServer, folder: Path) -> None:
    """nginx throws away what came; the server sees nothing of it, and the client comes again."""
    content = os.urandom(8 << 20)
    with proxied_server.sender() as sender:
        client = BitsClient(sender)
        assert_success(client.create())
        assert_success(client.fragment(content[:1000], 0, len(content)))
        head = client.fragment_head(len(content))
        sender.connect().sendall(head + content[: 4 << 20])
        sender.close()
        wait_until(lambda: " 400, served as /upload/f.bin" in proxied_server.nginx.access_log)
        request = folder / "BITS-Sessions" / client.session_id / "request"
        assert request.read_bytes() == content[:1000]
        assert proxied_server.nginx.waiting_bodies() == 0
        client.send_all(content, 1 << 20, start=1000)
        assert_success(client.close())
    assert (folder / "f.bin").read_bytes() == content


def test_several_machines_by_url(tmp_path: Path, certificate: Certificate) -> None:
    """As in README: all packets of an upload reach the same of two machines."""
    example = re.search(r"^```nginx\n(upstream .*?)^```", README.read_text(), re.M | re.S)
    assert example is not None
    block = example[1]
    directories, contents = [], [os.urandom(3000) for _ in range(24)]
    with contextlib.ExitStack() as stack:
        root = stack.enter_context(tempfile.TemporaryDirectory(prefix="bits-"))
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            file = tmp_path / f"{name}.toml"
            file.write_text(
                '[server]\ntrusted_proxies = ["127.0.0.1"]\n'
                f'[[virtual_directory]]\nurl = "/upload"\npath = "{tmp_path / name}"\n'
            )
            options = ["--settings", str(file)]
            machine = LiveServer(options=options, log_file=tmp_path / f"{name}.log")
            host, port = stack.enter_context(machine).address
            block = re.sub(r"192\.0\.2\.\d+:8080", f"{host}:{port}", block, count=1)
            directories.append(VirtualDirectory("/upload", str(tmp_path / name)))
        nginx = Nginx(
            Settings((directories[0],)), None, Path(root), certificate, upstream_block=block
        )
        stack.enter_context(nginx)
        for number, content in enumerate(contents):
            with WireSender(nginx.address, is_kept=False, source="127.0.0.5") as sender:
                BitsClient(sender, f"/upload/{number}.bin").upload(content, 1000)
    found = [sorted(Path(each.path).glob("*.bin")) for each in directories]
    assert all(found), "both machines have their share"
    assert sum(len(files) for files in found) == len(contents)
    log = (tmp_path / "one.log").read_text() + (tmp_path / "two.log").read_text()
    created = re.findall(r" Create-Session '.*' from 127\.0\.0\.5: 200, ", log)
    assert len(created) == len(contents)


def test_uploads_go_on_while_nginx_is_reloaded_and_the_server_restarted(
    proxied_server: ProxiedServer, folder: Path, seeded: random.Random, tell: Tell, is_soak: bool
) -> None:
    """systemd holds the socket meanwhile, so a packet waits for the new server and is answered."""
    sizes = [seeded.randrange(20_000_000, 40_000_000) for _ in range(8)]
    passing = (BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT)
    clients = [
        PatientClient(
            proxied_server.address, f"/upload/{number}", seeded.randbytes(size), seeded, passing
        )
        for number, size in enumerate(sizes)
    ]
    rounds = 0
    with uploads(clients) as running:

        def go_on(packets: int) -> bool:
            """Wait for so many Acks more; whether somebody is still at it."""
            wanted = acks_of(clients) + packets
            wait_until(lambda: acks_of(clients) > wanted or not running.is_alive())
            return running.is_alive()

        while rounds < (30 if is_soak else 4) and go_on(20):
            proxied_server.nginx.reload()
            os.kill(proxied_server.pid, signal.SIGHUP)
            go_on(100)
            assert proxied_server.terminate().wait(30) == 0
            proxied_server.start()
            rounds += 1
    assert running.failures == []
    for number, client in enumerate(clients):
        found = hashlib.sha256((folder / str(number)).read_bytes()).digest()
        assert found == hashlib.sha256(client.content).digest()
    assert rounds >= 2
    repeats = sum(client.repeats for client in clients)
    refused = len(re.findall(r'HTTP/1\.1" 50[234],', proxied_server.nginx.access_log))
    assert refused < rounds, "each costs a Windows client ten minutes"
    tell(
        f"{rounds} rounds, {acks_of(clients)} packets, {repeats} sent again; 502 to 504: {refused}"
    )


def acks_of(clients: list[PatientClient]) -> int:
    return sum(client.acks for client in clients)


def test_slow_clients_hold_nobody_up(
    proxied_server: ProxiedServer, folder: Path, tell: Tell
) -> None:
    """300 clients with 10 KB/s; beside them 100 uploads of 10 KB complete without an error."""
    length, content = 200_000, os.urandom(10_000)
    requests = []
    with proxied_server.sender() as sender:
        for number in range(300):
            client = BitsClient(sender, f"/upload/slow-{number}")
            assert_success(client.create())
            requests.append(client.fragment_head(length) + bytes(length))
    failures: list[BaseException] = []

    def upload(numbers: range) -> None:
        try:
            with proxied_server.sender() as own:
                for number in numbers:
                    BitsClient(own, f"/upload/quick-{number}").upload(content)
        except BaseException as error:
            failures.append(error)

    with SlowClients(proxied_server.address, requests, rate=10_000) as slow:
        wait_until(lambda: slow.steps >= 10)
        started = time.monotonic()
        threads = [threading.Thread(target=upload, args=(range(i, 100, 4),)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - started
        assert slow.steps < 150, "they were waiting for the slow clients"
        wait_until(lambda: slow.steps >= 30)
    assert failures == []
    assert slow.answers == [b"HTTP/1.1 200 OK"] * 300
    for number in range(100):
        assert (folder / f"quick-{number}").read_bytes() == content
    tell(f"100 uploads of 10 KB took {seconds:.2f} s beside 300 slow clients")
