"""Certificates that cannot work are refused at the start; those that soon will not are named."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import pytest

from bits_server.operations.tls import make_tls_context, warn_of_expiry
from bits_server.settings import Settings, SettingsError, VirtualDirectory
from tests.support.certificates import Certificate
from tests.support.tools import require_tool

UPLOAD = VirtualDirectory("/upload", "/srv/uploads")


def settings(certificate: Path | str, key: Path | str = "") -> Settings:
    return Settings((UPLOAD,), tls_certificate=str(certificate), tls_key=str(key))


def signed_by_itself(folder: Path, days: int) -> tuple[Path, Path]:
    """A certificate that is valid for so many days, from now or until now, and its key."""
    openssl = require_tool("openssl")
    key, request, made = folder / "own.key", folder / "own.csr", folder / "own.pem"
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(key)]
    asked = [openssl, "req", "-new", *new, "-subj", "/CN=localhost", "-out", str(request)]
    subprocess.run(asked, check=True, capture_output=True)
    signed = [openssl, "x509", "-req", "-in", str(request), "-signkey", str(key)]
    signed += ["-days", str(days), "-out", str(made)]
    subprocess.run(signed, check=True, capture_output=True)
    return made, key


def refused(given: Settings) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        make_tls_context(given)
    assert caught.value.table == "[server]"
    return caught.value


def test_without_a_certificate_there_is_no_tls() -> None:
    assert make_tls_context(Settings((UPLOAD,))) is None


def test_the_key_may_be_in_a_file_of_its_own_or_in_the_same(
    certificate: Certificate, tmp_path: Path
) -> None:
    assert make_tls_context(settings(certificate.certificate, certificate.key)) is not None
    both = tmp_path / "both.pem"
    both.write_bytes(certificate.key.read_bytes() + certificate.certificate.read_bytes())
    assert make_tls_context(settings(both)) is not None


def test_a_file_that_is_missing_is_named_with_its_key(certificate: Certificate) -> None:
    error = refused(settings("/nowhere/c.pem", certificate.key))
    assert (error.key, error.problem) == (
        "tls_certificate",
        "/nowhere/c.pem cannot be read: No such file or directory",
    )
    error = refused(settings(certificate.certificate, "/nowhere/k.pem"))
    assert error.key == "tls_key"
    assert "/nowhere/k.pem cannot be read" in error.problem


def test_a_key_of_another_certificate_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    _, other = signed_by_itself(tmp_path, 30)
    error = refused(settings(certificate.certificate, other))
    assert error.problem.startswith("is not the certificate of tls_key")


@pytest.mark.parametrize("content", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nx\n"])
def test_what_is_no_certificate_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "c.pem"
    file.write_bytes(content)
    assert "must be a file in PEM form" in refused(settings(file)).problem


def test_a_certificate_without_its_key_is_refused(certificate: Certificate) -> None:
    assert "must be a file in PEM form" in refused(settings(certificate.certificate)).problem


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(
    certificate: Certificate, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.key"
    command = [require_tool("openssl"), "ec", "-in", str(certificate.key), "-aes128"]
    command += ["-passout", "pass:secret", "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    problem = refused(settings(certificate.certificate, locked)).problem
    assert problem == "the private key has a password, which nobody could type: remove it"


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (-1, ["has expired: clients will not trust it"]),
        (3, ["expires in 2 days; renew it, then send SIGHUP"]),
        (13, ["expires in 12 days; renew it, then send SIGHUP"]),
        (15, []),
    ],
)
def test_a_certificate_is_warned_of_in_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, days: int, said: list[str]
) -> None:
    given = settings(*signed_by_itself(tmp_path, days))
    context = make_tls_context(given)
    assert context is not None
    with caplog.at_level(logging.WARNING, "bits_server"):
        warn_of_expiry(given, context)
    assert caplog.messages == [f"{tmp_path}/own.pem {each}" for each in said]


def test_a_certificate_of_an_authority_is_looked_at_by_itself(
    certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings(certificate.certificate, certificate.key)
    context = make_tls_context(given)
    assert context is not None
    with caplog.at_level(logging.WARNING, "bits_server"):
        warn_of_expiry(given, context)
    assert caplog.messages == [
        f"{certificate.certificate} expires in 1 days; renew it, then send SIGHUP"
    ]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"tls_certificate": "c.pem"}, "tls_certificate"),
        ({"tls_certificate": "/c.pem", "tls_key": "k.pem"}, "tls_key"),
        ({"tls_key": "/k.pem"}, "tls_certificate"),
    ],
)
def test_paths_that_make_no_sense_are_refused(changes: dict[str, str], key: str) -> None:
    with pytest.raises(SettingsError, match="must") as caught:
        Settings((UPLOAD,), **changes)  # type: ignore[arg-type]
    assert caught.value.key == key
