"""Requests changed by chance: what a seed makes is the same each time."""

from __future__ import annotations

import base64
import binascii
import random
import re
from collections.abc import Sequence

CRLF = b"\r\n"
LARGEST = 1 << 18  # bytes: repeated large fields would be megabytes, of the fuzzer's own memory

# What has broken servers of HTTP before, and what this protocol is made of.
FIELDS = [
    *(b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: 5, 5", b"Content-Length: +5"),
    *(b"Content-Length: 18446744073709551616", b"Content-Length: -1", b"Content-Length : 5"),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked"),
    *(b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding:\tchunked", b"Expect: 100-continue"),
    *(b"BITS_Session_Id: x", b"BITS-Session-Id: {}", b"BITS-Session-Id: ../../outside"),
    *(
        b"BITS-Packet-Type: Fragment",
        b"BITS-Packet-Type: Create-Session",
        b"BITS-Packet-Type: Ping",
    ),
    *(b"BITS-Packet-Type: Close-Session", b"BITS-Packet-Type: Cancel-Session"),
    *(b"Content-Range: bytes 0-4/5", b"Content-Range: bytes 5-4/5", b"Content-Range: bytes */0"),
    *(
        b"Content-Range: bytes 0--1/0",
        b"Content-Range: bytes 0-9223372036854775807/9223372036854775808",
    ),
    *(b"Content-Range: bytes 9-9/10", b"Content-Range: octets 0-4/5", b"Range: bytes=0-0"),
    *(b"Range: bytes=-5,0-", b"If-Range: x", b"X-HTTP-Method-Override: BITS_POST"),
    *(b"Authorization: Basic YWxpY2U6cGFzc3dvcmQ=", b"Authorization: Basic !", b"Authorization:"),
    *(b"Authorization: Negotiate TlRMTVNTUAAB", b"Authorization: Digest username=x"),
    *(b"X-Forwarded-For: 203.0.113.9", b"X-Remote-User: alice", b"X-Accel-Prefix: /etc"),
    *(b"Connection: close", b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
    *(b"Host: a", b"Host: a\r\nHost: b", b"Host:", b" folded", b"\tfolded: yes", b"no colon"),
    *(b": no name", b"Content-Encoding: gzip", b"Content-Name: x", b"Content-Type: \xff\xfe"),
    *(b"X-Proxy-Secret: sixteen-characters", b"X-Remote-User: ../outside", b"X-Remote-User: a, b"),
    *(b"X-Client-Subject: CN=alice", b"X_Remote_User: alice", b"X-Remote-User: BITS-Sessions"),
    *(b"Origin: https://elsewhere.test", b"Sec-Fetch-Site: cross-site", b"Origin: null"),
    *(b"X-Bits-Sessions: 1", b"Content-Type: application/json", b"X-Forwarded-Proto: https"),
    b"BITS-Supported-Protocols: {7df0354d-249b-430f-820d-3d2a9bef4931}",
]
LINES = [
    *(b"BITS_POST /upload/f HTTP/1.1", b"POST /upload/f HTTP/1.1", b"GET /upload/f HTTP/1.1"),
    *(
        b"BITS_POST /upload/strict/f HTTP/1.0",
        b"BITS_POST /login/f HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ),
    *(
        b"BITS_POST /proxy/f HTTP/1.1",
        b"BITS_POST /ticket/f HTTP/1.1",
        b"BITS_POST /told/f HTTP/1.1",
    ),
    *(b"GET /told/ HTTP/1.1", b"GET /told/BITS-Sessions/.page/../../f HTTP/1.1"),
    *(
        b"GET /-/sessions HTTP/1.1",
        b"POST /-/sessions/act HTTP/1.1",
        b"HEAD /-/sessions/../f HTTP/1.1",
    ),
    *(b"BITS_POST /upload/../outside/f HTTP/1.1", b"BITS_POST /upload/%2e%2e/outside/f HTTP/1.1"),
    *(b"BITS_POST /upload/a%00b HTTP/1.1", b"BITS_POST http://h/upload/f HTTP/1.1"),
    *(b"BITS_POST /upload/BITS-Sessions/f HTTP/1.1", b"BITS_POST /upload//f HTTP/1.1"),
    *(b"GET /upload/BITS-Sessions/%7B01234567-89AB-CDEF-0123-456789ABCDEF%7D/response HTTP/1.1",),
    *(b"BITS_POST /upload/" + b"a/" * 200 + b"f HTTP/1.1", b"\xff /upload/f HTTP/1.1"),
    *(b"BITS_POST /upload/\xff HTTP/1.1", b"BITS_POST /upload/f HTTP/2.0", b"PRI * HTTP/2.0"),
    *(b"BITS_POST  /upload/f  HTTP/1.1", b"bits_post /upload/f HTTP/1.1", b"BITS_POST /upload/f"),
]
BODIES = [
    b"",
    b"hello",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\n",
    b"5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
]
BYTES = [
    b"\0",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"%",
    b"{",
    b"}",
    b"/",
    b"..",
    b"\x85",
    b"0",
    b"-",
    b",",
]


def mutate(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """One input: some of the seeds, changed a few times."""
    data = chance.choice(seeds)
    if chance.random() < 0.2:
        data += chance.choice(seeds)  # one request behind another
    for _ in range(chance.choice([1, 1, 2, 3, 5, 8])):
        data = chance.choice(_CHANGES)(data, chance)[:LARGEST]
    return data


def _add_field(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(CRLF)
    lines.insert(chance.randrange(1, len(lines) + 1), chance.choice(FIELDS))
    return CRLF.join(lines)


def _replace_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(CRLF)
    lines[0] = chance.choice(LINES)
    return CRLF.join(lines)


def _drop_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(CRLF)
    del lines[chance.randrange(len(lines))]
    return CRLF.join(lines)


def _repeat_line(data: bytes, chance: random.Random) -> bytes:
    lines = data.split(CRLF)
    at = chance.randrange(len(lines))
    many = chance.choice([1, 1, 1, 150])
    return CRLF.join(lines[:at] + [lines[at]] * many + lines[at:])


def _replace_body(data: bytes, chance: random.Random) -> bytes:
    head, end, _ = data.partition(CRLF * 2)
    return head + (end or CRLF * 2) + chance.choice(BODIES)


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _insert_bytes(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice(BYTES) * chance.choice([1, 1, 1, 2, 5000]) + data[at:]


def _replace_byte(data: bytes, chance: random.Random) -> bytes:
    if not data:
        return data
    at = chance.randrange(len(data))
    return data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]


def _other_token(data: bytes, chance: random.Random) -> bytes:
    """Of an Authorization, as what it is in base64."""
    found = re.search(rb"\r\nAuthorization: (?:Basic|Negotiate) ([A-Za-z0-9+/=]+)", data)
    if found is None:
        return data
    try:
        token = base64.b64decode(found[1])
    except binascii.Error:
        return data
    for _ in range(chance.choice([1, 1, 2, 5])):
        token = chance.choice([_insert_bytes, _replace_byte, _replace_byte, _cut])(token, chance)
    return data[: found.start(1)] + base64.b64encode(token) + data[found.end(1) :]


def _other_line_ends(data: bytes, chance: random.Random) -> bytes:
    return data.replace(
        CRLF, chance.choice([b"\n", b"\r", b"\n\r", b"\r\n "]), chance.choice([1, -1])
    )


_CHANGES = [
    *(_add_field, _add_field, _replace_line, _drop_line, _repeat_line, _replace_body, _cut),
    *(_insert_bytes, _replace_byte, _other_line_ends, _other_token),
]
