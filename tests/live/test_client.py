"""bits-client against our server: by every way there is, and whatever dies in between."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bits_server.client import (
    Credentials,
    Job,
    JobState,
    Passwords,
    Queue,
    Settings,
)
from bits_server.client.transport import TimeLimits, Transport
from tests.conftest import Tell
from tests.live.test_proxy_identity import ASKS_FOR_CERTIFICATES, WITH_AUTHORITY
from tests.support.certificates import Certificate
from tests.support.client_certificates import ClientAuthority
from tests.support.cutting_proxy import CuttingProxy, random_plans
from tests.support.forward_proxy import ForwardProxy
from tests.support.kdc import Kdc
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer, ServerApplication
from tests.support.waiting import wait_until

DIRECT = Settings(proxy="", retry_delay=5.0)


class Given:
    """Passwords, the same everywhere."""

    def __init__(self, server: Credentials | None = None, proxy: Credentials | None = None) -> None:
        self._server, self._proxy = server, proxy

    def for_server(self, url: str) -> Credentials | None:  # noqa: ARG002
        return self._server

    def for_proxy(self, url: str) -> Credentials | None:  # noqa: ARG002
        return self._proxy


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(3_000_000))
    return path


def upload(
    tmp_path: Path,
    file: Path,
    url: str,
    *,
    passwords: Passwords | None = None,
    settings: Settings = DIRECT,
    reply: Path | None = None,
) -> Job:
    """From the making of a job to its end, by the library."""
    queue = Queue(tmp_path / "state", passwords=passwords)
    job = queue.create(file, url, settings=settings, reply=reply)
    job = queue.run_job(job.id, waits=False)
    assert job.state is JobState.TRANSFERRED, job.error
    return queue.complete(job.id)


def test_an_upload(live_server: LiveServer, folder: Path, file: Path, tmp_path: Path) -> None:
    upload(tmp_path, file, f"{live_server.url}/upload/f.bin")
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


def test_an_empty_file(live_server: LiveServer, folder: Path, file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"")
    upload(tmp_path, file, f"{live_server.url}/upload/f.bin")
    assert (folder / "f.bin").read_bytes() == b""


def test_a_name_that_is_not_latin(
    live_server: LiveServer, folder: Path, file: Path, tmp_path: Path
) -> None:
    upload(tmp_path, file, f"{live_server.url}/upload/Größe €.bin")
    assert (folder / "Größe €.bin").read_bytes() == file.read_bytes()


def test_a_refusal(live_server: LiveServer, folder: Path, file: Path, tmp_path: Path) -> None:
    (folder / "f.bin").write_bytes(b"of somebody else")
    queue = Queue(tmp_path / "state")
    job = queue.create(file, f"{live_server.url}/upload/f.bin", settings=DIRECT)
    job = queue.run_job(job.id)
    assert job.state is JobState.ERROR
    assert job.error is not None
    assert job.error.hresult == 0x80070005
    (folder / "f.bin").unlink()
    queue.resume(job.id)
    assert queue.run_job(job.id).state is JobState.TRANSFERRED


def test_a_cancelled_job_leaves_nothing_on_the_server(
    live_server: LiveServer, folder: Path, file: Path, tmp_path: Path
) -> None:
    queue = Queue(tmp_path / "state")
    settings = replace(DIRECT, rate_limit=1_000_000)
    job = queue.create(file, f"{live_server.url}/upload/f.bin", settings=settings)
    running = threading.Thread(target=queue.run_job, args=(job.id,))
    running.start()
    try:
        wait_until(lambda: queue.job(job.id).session is not None)
    finally:
        assert queue.cancel(job.id).state is JobState.CANCELLED
        running.join()
    assert [path.name for path in folder.iterdir()] == ["BITS-Sessions"]
    assert not list((folder / "BITS-Sessions").glob("{*"))


@pytest.fixture
def tls_site(
    folder: Path, tmp_path: Path, certificate: Certificate, users: Path
) -> Iterator[ProxiedServer]:
    """Behind nginx with TLS; a certificate of the client will do, or a password."""
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}/{{user}}"\n'
        f'authentication = ["basic"]\nhtpasswd_file = "{users}"\n'
    )
    with ProxiedServer(
        options=["--settings", str(settings)],
        log_file=tmp_path / "server.log",
        certificate=certificate,
    ) as server:
        yield server


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    add_user(path, "alice", "pässword")
    return path


ALICE = Given(Credentials("alice", "pässword"))


def https(server: ProxiedServer) -> str:
    return f"https://localhost:{server.nginx.tls_address[1]}/upload/f.bin"


def test_through_nginx_with_tls_and_a_password(
    tls_site: ProxiedServer, folder: Path, file: Path, tmp_path: Path, certificate: Certificate
) -> None:
    settings = replace(DIRECT, ca_file=str(certificate.authority))
    upload(tmp_path, file, https(tls_site), passwords=ALICE, settings=settings)
    assert (folder / "alice" / "f.bin").read_bytes() == file.read_bytes()


def test_a_server_whose_authority_is_not_trusted_gets_nothing(
    tls_site: ProxiedServer, file: Path, tmp_path: Path
) -> None:
    queue = Queue(tmp_path / "state", passwords=ALICE)
    job = queue.create(file, https(tls_site), settings=DIRECT)
    job = queue.run_job(job.id)
    assert job.state is JobState.ERROR
    assert job.error is not None
    assert job.error.hresult == 0x80072F8F
    assert "--ca" in job.error.text
    assert "Ping" not in tls_site.log


@pytest.fixture
def forward_proxy(tmp_path: Path) -> Iterator[ForwardProxy]:
    (tmp_path / "proxy").mkdir()
    with ForwardProxy(tmp_path / "proxy", user="carol", password="Pr0xy-passw0rd") as proxy:
        yield proxy


CAROL = Credentials("carol", "Pr0xy-passw0rd")


def test_through_a_proxy_that_wants_a_password(
    direct_server: LiveServer,
    folder: Path,
    file: Path,
    tmp_path: Path,
    forward_proxy: ForwardProxy,
) -> None:
    settings = replace(DIRECT, proxy=forward_proxy.url)
    url = f"{direct_server.url}/upload/f.bin"
    upload(tmp_path, file, url, settings=settings, passwords=Given(proxy=CAROL))
    assert (folder / "f.bin").read_bytes() == file.read_bytes()
    assert "/upload/f.bin" in forward_proxy.log


def test_through_a_proxy_to_tls_with_a_password_for_each(
    tls_site: ProxiedServer,
    folder: Path,
    file: Path,
    tmp_path: Path,
    certificate: Certificate,
    forward_proxy: ForwardProxy,
) -> None:
    settings = replace(DIRECT, ca_file=str(certificate.authority), proxy=forward_proxy.url)
    both = Given(Credentials("alice", "pässword"), CAROL)
    upload(tmp_path, file, https(tls_site), passwords=both, settings=settings)
    assert (folder / "alice" / "f.bin").read_bytes() == file.read_bytes()
    assert "CONNECT localhost" in forward_proxy.log


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_without_the_password_is_told_and_no_secret(
    tls_site: ProxiedServer,
    file: Path,
    tmp_path: Path,
    forward_proxy: ForwardProxy,
    certificate: Certificate,
    scheme: str,
) -> None:
    settings = replace(DIRECT, ca_file=str(certificate.authority), proxy=forward_proxy.url)
    wrong = Given(proxy=Credentials("carol", "Wr0ng"))
    queue = Queue(tmp_path / "state", passwords=wrong)
    url = https(tls_site) if scheme == "https" else f"{tls_site.url}/upload/f"
    job = queue.run_job(queue.create(file, url, settings=settings).id)
    assert job.state is JobState.ERROR
    assert job.error is not None
    assert job.error.http_status in (401, 407)
    assert "Wr0ng" not in repr(job)


def test_without_the_proxy_where_it_is_excepted(
    direct_server: LiveServer, folder: Path, file: Path, tmp_path: Path
) -> None:
    settings = replace(DIRECT, proxy="http://127.0.0.1:9", no_proxy=("127.0.0.0/8",))
    upload(tmp_path, file, f"{direct_server.url}/upload/f.bin", settings=settings)
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


def test_a_certificate_of_the_client(
    folder: Path, tmp_path: Path, file: Path, certificate: Certificate
) -> None:
    authority = ClientAuthority(tmp_path / "clients")
    own = authority.issue("/O=Example/CN=alice")
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        'authentication = ["certificate"]\nallow = ["CN=alice,O=Example"]\n'
    )
    server = ProxiedServer(
        options=["--settings", str(settings_file)],
        log_file=tmp_path / "server.log",
        certificate=certificate,
    )
    texts = {"authority": authority.certificate, "revoked": authority.revoked}
    server.nginx.change(ASKS_FOR_CERTIFICATES, WITH_AUTHORITY.format(**texts))
    with server:
        settings = replace(
            DIRECT,
            ca_file=str(certificate.authority),
            client_certificate=str(own.certificate),
            client_key=str(own.key),
        )
        upload(tmp_path, file, https(server), settings=settings)
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("through_nginx", [False, True], ids=["direct", "through nginx"])
def test_a_ticket_of_kerberos(
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
    kerberos: Kdc,
    monkeypatch: pytest.MonkeyPatch,
    through_nginx: bool,
) -> None:
    """Without a password, as the user who has logged in to the realm."""
    pytest.importorskip("requests_gssapi", reason="requests-gssapi is not installed")
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{kerberos.tickets('alice')}")
    settings_file = tmp_path / "settings.toml"
    settings_file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}/{{user}}"\n'
        f'authentication = ["negotiate"]\nkeytab = "{kerberos.keytab}"\n'
        'kerberos_realm = "BITS.TEST"\n'
    )
    maker = partial(ProxiedServer, certificate=certificate) if through_nginx else LiveServer
    with maker(
        options=["--settings", str(settings_file)],
        log_file=tmp_path / "server.log",
        environment=kerberos.environment_of_all,
    ) as server:
        settings = replace(DIRECT, fragment_size_limit=1_000_000)
        url = f"http://localhost:{server.address[1]}/upload/f.bin"
        if isinstance(server, ProxiedServer):
            url = https(server)
            settings = replace(settings, ca_file=str(certificate.authority))
        upload(tmp_path, file, url, settings=settings)
    assert (folder / "alice" / "f.bin").read_bytes() == file.read_bytes()


def test_a_reply(folder: Path, tmp_path: Path, file: Path) -> None:
    reply, place = os.urandom(200_000), tmp_path / "reply"
    with ServerApplication(Answer(reply=reply)) as application:
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
        )
        options = ["--settings", str(settings)]
        with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
            upload(tmp_path, file, f"{server.url}/upload/f.bin", reply=place)
    assert place.read_bytes() == reply
    assert application.notifications[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_line_that_is_cut_and_cut_again(
    direct_server: LiveServer,
    folder: Path,
    tmp_path: Path,
    file: Path,
    seeded: random.Random,
    is_soak: bool,
    tell: Tell,
) -> None:
    """Bytes that came count: it gets on though no Fragment comes through whole for long."""
    cuts, tries, uploads = 0, 0, 0
    queue = Queue(tmp_path / "state")
    # A connection passes two answers at most: so small Fragments meet many of them.
    settings = replace(DIRECT, fragment_size_limit=100_000)
    while cuts < (100 if is_soak else 12):
        with CuttingProxy(direct_server.address, random_plans(seeded, 600_000)) as proxy:
            job = queue.create(file, f"{proxy.url}/upload/{uploads}.bin", settings=settings)
            while (job := queue.run_job(job.id, waits=False)).state is not JobState.TRANSFERRED:
                assert job.state is JobState.TRANSIENT_ERROR, job.error
                tries += 1
                queue.resume(job.id)
            cuts += proxy.cuts
        assert (folder / f"{uploads}.bin").read_bytes() == file.read_bytes()
        uploads += 1
    tell(f"{cuts} connections cut, {tries} attempts failed, {uploads} uploads")


def test_a_line_that_stalls_and_stalls_again(
    direct_server: LiveServer,
    folder: Path,
    tmp_path: Path,
    file: Path,
    seeded: random.Random,
    monkeypatch: pytest.MonkeyPatch,
    tell: Tell,
) -> None:
    """Nothing passes any more, and nobody says so: left after the time limits, here short ones."""
    brisk = partial(Transport, limits=TimeLimits(0.3, 0.3, 0.3))
    monkeypatch.setattr("bits_server.client.transfer.Transport", brisk)
    plans = [replace(next(random_plans(seeded, 600_000)), stalls=True) for _ in range(10)]
    queue, tries = Queue(tmp_path / "state"), 0
    settings = replace(DIRECT, fragment_size_limit=100_000)
    with CuttingProxy(direct_server.address, plans) as proxy:
        job = queue.create(file, f"{proxy.url}/upload/f.bin", settings=settings)
        while (job := queue.run_job(job.id, waits=False)).state is not JobState.TRANSFERRED:
            assert job.state is JobState.TRANSIENT_ERROR, job.error
            assert job.error is not None
            assert job.error.hresult == 0x80072EE2
            tries += 1
            queue.resume(job.id)
        tell(f"{proxy.cuts} connections stalled, {tries} attempts failed")
        assert proxy.cuts >= 3
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


def test_client_and_server_killed_at_random_moments(
    direct_server: LiveServer,
    folder: Path,
    tmp_path: Path,
    file: Path,
    seeded: random.Random,
    is_soak: bool,
    tell: Tell,
) -> None:
    """Either, or both; the same command goes on, and the file is right in the end."""
    kills = 100 if is_soak else 6
    environment = {**os.environ, "BITS_CLIENT_STATE": str(tmp_path / "state")}
    done = uploads = 0
    met: Counter[str] = Counter()
    while done < kills:
        url = f"{direct_server.url}/upload/{uploads}.bin"
        command = [sys.executable, "-m", "bits_server.client", "transfer", str(file), url]
        command += ["--proxy", "none", "--retry-delay", "5s", "--fragment-size-limit", "200kB"]
        slow = [*command, "--limit", "1MB"]
        while True:
            client = subprocess.Popen(slow if done < kills else command, env=environment)
            who = seeded.choice(["client", "server", "both"])
            try:
                code = client.wait(seeded.uniform(0.3, 2.0) if done < kills else 60)
            except subprocess.TimeoutExpired:
                done += 1
                met[_stage(Queue(tmp_path / "state"), url)] += 1
                if who != "server":
                    client.send_signal(signal.SIGKILL)
                if who != "client":
                    direct_server.kill()
                    direct_server.start()
                code = client.wait(60)
            jobs = [job for job in Queue(tmp_path / "state").jobs() if job.url == url]
            if jobs[-1:] and jobs[-1].state is JobState.ACKNOWLEDGED:
                break  # it may have been killed after all was done
            assert code in (-signal.SIGKILL, 3), code
        uploads += 1
    for number in range(uploads):
        assert (folder / f"{number}.bin").read_bytes() == file.read_bytes()
    for session in (folder / "BITS-Sessions").glob("{*"):
        # Nobody heard of it: client or server was killed before the Ack of Create-Session was kept.
        assert [path.name for path in session.iterdir()] == ["session.json"]
    stages = ", ".join(f"{count} {stage}" for stage, count in sorted(met.items()))
    tell(f"{done} kills ({stages}), {uploads} uploads")


def _stage(queue: Queue, url: str) -> str:
    """What a kill has met, for the figures."""
    jobs = [job for job in queue.jobs() if job.url == url]
    if not jobs:
        return "before there was a job"
    if not jobs[-1].progress.transferred:
        return "before an Ack of a Fragment"
    return "after one, and before the last" if jobs[-1].session is not None else "at the end"


@pytest.mark.soak
def test_a_sparse_file_of_5_gib(direct_server: LiveServer, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "large.bin"
    with open(file, "wb") as stream:
        stream.truncate(5 << 30)
        for at in (0, (1 << 32) - 3, (5 << 30) - 7):
            stream.seek(at)
            stream.write(b"marked!")
    upload(tmp_path, file, f"{direct_server.url}/upload/f.bin")
    assert subprocess.run(["cmp", str(file), str(folder / "f.bin")]).returncode == 0
