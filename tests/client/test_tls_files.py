"""Files of certificates and keys that cannot be used: told at once, with their names."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from bits_server.client.errors import Fatal
from bits_server.client.jobs import JobState, Settings
from bits_server.client.tls_files import check_tls_files
from tests.client.conftest import JobMaker, Runner
from tests.support.certificates import Certificate
from tests.support.tools import require_tool

URL = "https://127.0.0.1:9/upload/f"


@pytest.fixture
def no_pem(tmp_path: Path) -> Path:
    path = tmp_path / "no.pem"
    path.write_text("no certificate")
    return path


@pytest.fixture
def encrypted(tmp_path: Path, certificate: Certificate) -> Path:
    path = tmp_path / "encrypted.key"
    command = [require_tool("openssl"), "pkey", "-aes256", "-passout", "pass:s3cret"]
    subprocess.run([*command, "-in", str(certificate.key), "-out", str(path)], check=True)
    return path


def test_those_that_can_be_used(certificate: Certificate) -> None:
    check_tls_files(Settings())
    check_tls_files(
        Settings(
            ca_file=str(certificate.authority),
            client_certificate=str(certificate.certificate),
            client_key=str(certificate.key),
        )
    )


def test_those_that_cannot(
    certificate: Certificate, no_pem: Path, encrypted: Path, tmp_path: Path
) -> None:
    own, other = str(certificate.certificate), str(certificate.authority)
    for settings, said in (
        (Settings(ca_file=str(no_pem)), f"{no_pem} holds no authorities"),
        (Settings(ca_file=str(tmp_path / "missing")), "missing holds no authorities"),
        (Settings(client_certificate=str(no_pem)), f"{no_pem} are no certificate and key"),
        (Settings(client_certificate=own), f"{own} are no certificate and key"),
        (Settings(client_certificate=own, client_key=str(tmp_path / "missing")), "missing"),
        (Settings(client_certificate=other, client_key=str(certificate.key)), "belong together"),
        (
            Settings(client_certificate=own, client_key=str(encrypted)),
            f"{encrypted} is encrypted",
        ),
    ):
        with pytest.raises(Fatal, match="certificates or keys cannot be used") as raised:
            check_tls_files(settings)
        assert said in str(raised.value)


def test_a_job_waits_for_whoever_mends_them(make_job: JobMaker, run: Runner, no_pem: Path) -> None:
    done = run(make_job(URL, ca_file=str(no_pem)))
    assert done.state is JobState.ERROR, "and is not tried again and again"
    assert run(make_job(URL.replace("https", "http"), ca_file=str(no_pem))).state is not (
        JobState.ERROR
    ), "which needs none"


def test_what_is_wrong_with_a_certificate_of_the_server(
    make_job: JobMaker, run: Runner, certificate: Certificate
) -> None:
    """It is not always the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)

    def serve() -> None:
        for _ in range(2):
            with listener.accept()[0] as line, suppress(OSError):
                context.wrap_socket(line, server_side=True)

    with socket.create_server(("", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        port = listener.getsockname()[1]
        for host, said in (("localhost", "with --ca"), ("127.0.0.77", "the URL must have")):
            authority = str(certificate.authority) if host != "localhost" else None
            done = run(make_job(f"https://{host}:{port}/f", ca_file=authority))
            assert done.state is JobState.ERROR
            assert done.error is not None
            assert done.error.hresult == 0x80072F8F
            assert said in done.error.text
        serving.join()
