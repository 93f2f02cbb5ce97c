"""What ``serve`` prints when it is ready: what is served where, and commands to paste."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import quote

from bits_server.protocol.packets import UPLOAD_PROTOCOL
from bits_server.settings import Authentication, Settings

_WINDOWS = r"""
On a Windows machine (PowerShell, or bitsadmin in a command prompt):{hint}

  Start-BitsTransfer -Source C:\f.bin -Destination {url}/f.bin -TransferType Upload
  bitsadmin /transfer up /upload /priority foreground {url}/f.bin C:\f.bin
"""

_CURL = """
On this machine, packet by packet with curl (bash):

  printf 'hello, BITS' > hello.txt
  URL={url}/hello.txt
  ID=$(curl -sS -o /dev/null -D - -X BITS_POST -H 'BITS-Packet-Type: Create-Session' \\
    -H 'BITS-Supported-Protocols: {protocol}' -H 'Content-Length: 0' "$URL" \\
    | tr -d '\\r' | sed -n 's/^BITS-Session-Id: //Ip')
  curl -sS -i -X BITS_POST -H 'BITS-Packet-Type: Fragment' -H "BITS-Session-Id: $ID" \\
    -H 'Content-Range: bytes 0-10/11' --data-binary @hello.txt "$URL"
  curl -sS -i -X BITS_POST -H 'BITS-Packet-Type: Close-Session' -H "BITS-Session-Id: $ID" \\
    -H 'Content-Length: 0' "$URL"
"""

_LOOPBACK_HINT = """
  (this server listens on {host} only; for other machines start it
  with --bind 0.0.0.0:{port}, or make run BIND=0.0.0.0:{port})"""


_LOGIN_HINT = """
  (users must log in: give Start-BitsTransfer -Authentication Basic -Credential (Get-Credential);
  a job of bitsadmin gets /setcredentials JOB SERVER BASIC USER PASSWORD; curl gets --user USER)"""


_TICKET_HINT = """
  (users need a Kerberos ticket for the host in the URL: give Start-BitsTransfer -Authentication
  Negotiate; curl gets --negotiate --user : and that host, not its address)"""


def greeting(settings: Settings, addresses: list[Any]) -> str:
    """The text. ``addresses`` as the listening sockets name them."""
    lines = ["BITS uploads are received:"]
    lines += [f"  {each.url} -> {each.path}" for each in settings.virtual_directories]
    if settings.metrics_bind:
        lines.append(f"Metrics and health are told at {settings.metrics_bind}")
    first = settings.virtual_directories[0]
    prefix = quote(first.url.rstrip("/"), safe="/")
    network = [address for address in addresses if isinstance(address, tuple)]
    if not network:
        lines.append(f"  on {', '.join(str(address) for address in addresses)}")
        return "\n".join(lines)
    host, port = network[0][:2]
    address = ipaddress.ip_address(host.partition("%")[0])
    has_our_name = address.is_unspecified or address.is_loopback
    scheme = "https" if settings.tls_certificate else "http"
    remote = _url(scheme, socket.gethostname() if has_our_name else host, port) + prefix
    local = _url(scheme, "127.0.0.1" if address.is_unspecified else host, port) + prefix
    if settings.tls_certificate:
        local = (first.public_url or remote).rstrip("/")  # as the certificate names it
    hint = _LOOPBACK_HINT.format(host=host, port=port) if address.is_loopback else ""
    if Authentication.BASIC in first.authentication:
        hint += _LOGIN_HINT
    if Authentication.NEGOTIATE in first.authentication:
        hint += _TICKET_HINT
    public = (first.public_url or remote).rstrip("/")
    text = _WINDOWS.format(url=public, hint=hint)
    return "\n".join(lines) + "\n" + text + _CURL.format(url=local, protocol=UPLOAD_PROTOCOL)


def _url(scheme: str, host: str, port: int) -> str:
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}:{port}"
