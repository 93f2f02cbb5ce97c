"""A CA of our own and a certificate for this machine, made by openssl."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.tools import require_tool

NAMES = "DNS:localhost,IP:127.0.0.1,IP:::1"


@dataclass(frozen=True)
class Certificate:
    """Files: what clients trust (``authority``), what the server shows, its private key."""

    authority: Path
    certificate: Path
    key: Path

    def trusting(self) -> ssl.SSLContext:
        """What a client has that trusts the authority and nobody else."""
        return ssl.create_default_context(cafile=str(self.authority))


def make_certificate(folder: Path) -> Certificate:
    """A certificate that ``authority`` has signed, for localhost and its addresses."""
    made = Certificate(folder / "ca.pem", folder / "certificate.pem", folder / "certificate.key")
    ca_key = folder / "ca.key"
    sign("/CN=bits test CA", ca_key, made.authority)
    signed = ("-CA", made.authority, "-CAkey", ca_key)
    is_no_ca = ("-addext", "basicConstraints=critical,CA:FALSE")
    names = ("-addext", f"subjectAltName={NAMES}")
    sign("/CN=localhost", made.key, made.certificate, *signed, *is_no_ca, *names)
    return made


def sign(subject: str, key: Path, certificate: Path, *options: str | Path) -> None:
    """Make a key and a certificate for it; by itself, unless ``options`` of openssl say by whom."""
    program = (require_tool("openssl"), "req", "-x509", "-days", "2", "-subj", subject)
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key)
    command = [*program, *new_key, "-out", certificate, *options]
    subprocess.run(command, check=True, capture_output=True)
