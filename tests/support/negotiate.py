"""Tokens of Negotiate as clients make them: by the library, and byte by byte.

KRB5_CONFIG and its like must be in the environment of this process (fixture ``kerberos``).
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import gssapi

KERBEROS = bytes.fromhex("2a864886f712010202")
KERBEROS_AS_WINDOWS_SPELLS_IT = bytes.fromhex("2a864882f712010202")
NEGOEX = bytes.fromhex("2b06010401823702021e")
NTLM = bytes.fromhex("2b06010401823702020a")
SPNEGO = bytes.fromhex("2b0601050502")

# Flags of a client that does not ask the server to prove itself: one that changes nothing else.
NOT_MUTUAL = gssapi.RequirementFlag.replay_detection

# The first message of NTLM: its mark, its number, and flags.
NTLM_MESSAGE = b"NTLMSSP\0" + (1).to_bytes(4, "little") + bytes.fromhex("978208e2") + bytes(16)


def start(
    cache: Path,
    service: str = "HTTP@localhost",
    *,
    mechanism: bytes = SPNEGO,
    flags: Any = None,
) -> tuple[Any, bytes]:
    """The client's side for one request, and its token. ``flags``: None for the usual ones."""
    context = gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.hostbased_service),
        creds=gssapi.Credentials(usage="initiate", store={"ccache": f"FILE:{cache}"}),
        mech=gssapi.OID(elements=mechanism),
        flags=flags,
        usage="initiate",
    )
    token = context.step()
    assert token
    return context, token


def token_of(cache: Path, service: str = "HTTP@localhost", **options: Any) -> bytes:
    return start(cache, service, **options)[1]


def negotiate(token: bytes) -> str:
    """The value of Authorization."""
    return "Negotiate " + base64.b64encode(token).decode()


def spnego(mechanisms: list[bytes], token: bytes) -> bytes:
    """The first token of SPNEGO [RFC 4178] 4.2: what the client knows, and a token of the first."""
    names = b"".join(_der(0x06, each) for each in mechanisms)
    offered = _der(0xA0, _der(0x30, names)) + _der(0xA2, _der(0x04, token))
    return _der(0x60, _der(0x06, SPNEGO) + _der(0xA0, _der(0x30, offered)))


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        length = bytes([size])
    else:
        needed = (size.bit_length() + 7) // 8
        length = bytes([0x80 | needed]) + size.to_bytes(needed, "big")
    return bytes([tag]) + length + content


def turn_clock(cache: Path, seconds: int) -> None:
    """Have clients of this cache believe that the clock of their machine is wrong by so much.

    The field is MIT's own: what it found out about the clock of the KDC, behind version and length.
    """
    content = bytearray(cache.read_bytes())
    assert content[:8] == bytes.fromhex("0504000c00010008")
    content[8:12] = seconds.to_bytes(4, "big", signed=True)
    cache.write_bytes(content)


def token_in(value: str) -> bytes:
    """The token in a value of WWW-Authenticate."""
    scheme, _, encoded = value.partition(" ")
    assert scheme == "Negotiate"
    return base64.b64decode(encoded, validate=True)


def large(token: bytes, size: int) -> bytes:
    """SPNEGO of at least ``size`` bytes: behind Kerberos come mechanisms that nobody knows.

    A ticket of Active Directory is as large by the groups of its user; MIT's KDC makes none such.
    """
    unknown = bytes.fromhex("2b0601040182371f")
    count = size // (len(unknown) + 4)
    numbers = [bytes([0x80 | each >> 7, each & 0x7F]) for each in range(128, 128 + count)]
    return spnego([KERBEROS, *(unknown + number for number in numbers)], token)
