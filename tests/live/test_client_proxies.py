"""bits-client through proxies that ask for Digest and Negotiate, to plain HTTP and in tunnels."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from bits_server.client import Credentials, JobState, Queue, Settings
from tests.live.test_client import Given
from tests.support.certificates import Certificate
from tests.support.challenges import BasicChallenge, Challenge, DigestChallenge
from tests.support.challenging_proxy import ChallengingProxy
from tests.support.cutting_proxy import CuttingProxy, Plan
from tests.support.kdc import Kdc
from tests.support.live_server import LiveServer
from tests.support.proxied_server import ProxiedServer

CAROL = Credentials("carol", 'Pr0xy-"pässw0rd\\')


@dataclass
class NegotiateChallenge:
    """Kerberos, for whoever has a ticket for the proxy. ``users``: who came."""

    keytab: Path
    users: list[str] = field(default_factory=list)

    def ask(self) -> list[str]:
        return ["Negotiate", 'Basic realm="proxy"']

    def accepts(self, authorization: str, method: str, target: str) -> bool:  # noqa: ARG002
        import gssapi

        scheme, _, token = authorization.partition(" ")
        if scheme != "Negotiate":
            return False
        store: dict[bytes | str, bytes | str] = {"keytab": f"FILE:{self.keytab}"}
        acceptor = gssapi.Credentials(usage="accept", store=store)
        context = gssapi.SecurityContext(creds=acceptor, usage="accept")
        context.step(base64.b64decode(token))
        self.users.append(str(context.initiator_name))
        return True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(bytes(range(256)) * 4000)
    return path


@contextmanager
def site(tls: bool, folder: Path, tmp_path: Path, certificate: Certificate) -> Iterator[str]:
    """The URL of a file on our server, behind nginx where it is https."""
    log_file = tmp_path / "server.log"
    if not tls:
        with LiveServer(folder, log_file=log_file) as server:
            yield f"{server.url}/upload/f.bin"
        return
    with ProxiedServer(folder, log_file=log_file, certificate=certificate) as behind:
        yield f"https://localhost:{behind.nginx.tls_address[1]}/upload/f.bin"


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "challenge",
    [
        DigestChallenge(CAROL.user, CAROL.password),
        DigestChallenge(CAROL.user, CAROL.password, algorithm="SHA-256"),
        DigestChallenge(CAROL.user, CAROL.password, uses=2),
        BasicChallenge(CAROL.user, CAROL.password),
    ],
    ids=["digest", "digest-sha-256", "digest with stale nonces", "basic"],
)
def test_an_upload_with_a_password(
    tls: bool,
    challenge: Challenge,
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
) -> None:
    with ChallengingProxy(challenge) as proxy, site(tls, folder, tmp_path, certificate) as url:
        settings = Settings(proxy=proxy.url, ca_file=str(certificate.authority))
        settings = replace(settings, fragment_size_limit=300_000)
        queue = Queue(tmp_path / "state", passwords=Given(proxy=CAROL))
        job = queue.run_job(queue.create(file, url, settings=settings).id, waits=False)
        assert job.state is JobState.TRANSFERRED, job.error
        assert all(each.startswith("CONNECT") == tls for each in proxy.passed)
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("scheme", [DigestChallenge, BasicChallenge])
def test_a_password_in_the_url_of_the_environment(
    tls: bool,
    scheme: type[BasicChallenge | DigestChallenge],
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As curl takes it; it is kept nowhere."""
    challenge = scheme(CAROL.user, CAROL.password)
    with ChallengingProxy(challenge) as proxy, site(tls, folder, tmp_path, certificate) as url:
        login = f"{CAROL.user}:{quote(CAROL.password, safe='')}@"
        monkeypatch.setenv(
            "https_proxy" if tls else "http_proxy", proxy.url.replace("//", f"//{login}")
        )
        monkeypatch.setenv("no_proxy", "")
        queue = Queue(tmp_path / "state")
        settings = Settings(ca_file=str(certificate.authority))
        job = queue.run_job(queue.create(file, url, settings=settings).id, waits=False)
        assert job.state is JobState.TRANSFERRED, job.error
        assert proxy.passed
    assert (folder / "f.bin").read_bytes() == file.read_bytes()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "state").iterdir())
    assert b"Pr0xy" not in kept


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("is_reset", [False, True])
def test_a_line_to_the_proxy_that_breaks_once_is_tried_again_at_once(
    tls: bool,
    is_reset: bool,
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
) -> None:
    """In the middle of a Fragment: nothing says that the proxy is away."""
    challenge = BasicChallenge(CAROL.user, CAROL.password)
    # A tunnel is refused, asked about, and then opened; 407 and Create-Session have one each.
    plans = [Plan(), Plan(), Plan(sent=500_000, is_reset=is_reset)]
    with (
        ChallengingProxy(challenge) as proxy,
        site(tls, folder, tmp_path, certificate) as url,
        CuttingProxy(proxy.address, plans) as line,
    ):
        settings = Settings(proxy=line.url, ca_file=str(certificate.authority))
        queue = Queue(tmp_path / "state", passwords=Given(proxy=CAROL))
        job = queue.run_job(queue.create(file, url, settings=settings).id, waits=False)
        assert job.state is JobState.TRANSFERRED, job.error
        assert job.error_count == 0
        assert line.cuts == 1
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_an_upload_with_a_ticket(
    tls: bool,
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
    kerberos: Kdc,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KRB5CCNAME", f"FILE:{kerberos.tickets('alice')}")
    challenge = NegotiateChallenge(kerberos.keytab)
    with (
        ChallengingProxy(challenge, host="localhost") as proxy,
        site(tls, folder, tmp_path, certificate) as url,
    ):
        settings = Settings(proxy=proxy.url, ca_file=str(certificate.authority))
        queue = Queue(tmp_path / "state")
        job = queue.run_job(queue.create(file, url, settings=settings).id, waits=False)
        assert job.state is JobState.TRANSFERRED, job.error
    assert set(challenge.users) == {"alice@BITS.TEST"}
    assert (folder / "f.bin").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("known", [None, Credentials("carol", "Wr0ng")])
def test_without_the_password_it_is_told_and_tried_a_few_times_only(
    tls: bool,
    known: Credentials | None,
    folder: Path,
    tmp_path: Path,
    file: Path,
    certificate: Certificate,
) -> None:
    challenge = DigestChallenge(CAROL.user, CAROL.password)
    with ChallengingProxy(challenge) as proxy, site(tls, folder, tmp_path, certificate) as url:
        settings = Settings(proxy=proxy.url, ca_file=str(certificate.authority))
        queue = Queue(tmp_path / "state", passwords=Given(proxy=known))
        job = queue.run_job(queue.create(file, url, settings=settings).id, waits=False)
        assert job.state is JobState.ERROR
        assert job.error is not None
        assert job.error.http_status == 407
        assert "Wr0ng" not in repr(job)
        assert proxy.passed == []
        assert proxy.asked <= 8
