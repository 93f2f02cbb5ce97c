"""Certificates of clients, signed by an authority of their own, and its list of revoked ones."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

from tests.support.certificates import Certificate, sign
from tests.support.tools import require_tool

_CA_CONF = """\
[ca]
default_ca = own
[own]
database = {folder}/index.txt
crlnumber = {folder}/crlnumber
default_md = sha256
default_crl_days = 2
"""


class ClientAuthority:
    """Signs certificates of clients. ``certificate``: what servers trust; ``revoked``: its CRL."""

    def __init__(self, folder: Path, name: str = "clients CA") -> None:
        folder.mkdir()
        self._folder = folder
        self._key = folder / "ca.key"
        self.certificate = folder / "ca.pem"
        self.revoked = folder / "crl.pem"
        sign(f"/CN={name}", self._key, self.certificate)
        (folder / "index.txt").touch()
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.conf").write_text(_CA_CONF.format(folder=folder))
        self._list_revoked()

    def issue(self, subject: str) -> Certificate:
        """A certificate for ``subject``, like /O=Example/CN=alice."""
        name = subject.rpartition("=")[2]
        made, key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        sign(subject, key, made, "-CA", self.certificate, "-CAkey", self._key, "-utf8")
        return Certificate(self.certificate, made, key)

    def revoke(self, certificate: Certificate) -> None:
        """From now on it is on the list."""
        self._ca("-revoke", str(certificate.certificate))
        self._list_revoked()

    def _list_revoked(self) -> None:
        self._ca("-gencrl", "-out", str(self.revoked))

    def _ca(self, *options: str) -> None:
        command = [require_tool("openssl"), "ca", "-config", str(self._folder / "ca.conf")]
        command += ["-cert", str(self.certificate), "-keyfile", str(self._key), *options]
        subprocess.run(command, check=True, capture_output=True)


def context_with(server: Certificate, client: Certificate | None) -> ssl.SSLContext:
    """To speak to ``server`` with TLS, and show the certificate of ``client``."""
    context = ssl.create_default_context(cafile=str(server.authority))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context
