"""The fake IIS itself: its answers are the captured ones, and each fault is what it says."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bits_client import SESSION_ID_FORM, BitsClient
from tests.support.challenges import BasicChallenge, Challenge, DigestChallenge
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault
from tests.support.tools import require_tool
from tests.support.wire import Answer, WireSender

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts" / "valid"
BODY = random.Random("a body of our own").randbytes(4892)
REPLY = random.Random("a reply of our own").randbytes(10240)
TARGET = "/upload/f.bin"


@contextlib.contextmanager
def talking(iis: FakeIis) -> Iterator[BitsClient]:
    with iis, WireSender(iis.address, timeout=10) as sender:
        yield BitsClient(sender, TARGET)


def head(name: str) -> str:
    return (TRANSCRIPTS / f"{name}.head").read_bytes().decode("latin-1")


def exchange(iis: FakeIis, name: str, session_id: str, body: bytes = b"") -> str:
    """The head of the answer to a captured request, byte for byte, and dated as the captured."""
    request = head(f"{name}.request")
    if session_id:
        request = re.sub(SESSION_ID_FORM, session_id, request)
        request = re.sub(r"%7B[0-9A-F-]{36}%7D", f"%7B{session_id[1:-1]}%7D", request)
    with socket.create_connection(iis.address, 10) as connection:
        connection.sendall(request.encode("latin-1") + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
    return answer.partition(b"\r\n\r\n")[0].decode("latin-1") + "\r\n\r\n"


def likened(answer: str) -> str:
    """Without what differs from day to day and from session to session."""
    answer = re.sub(r"(Date|Last-Modified|ETag): [^\r]*", r"\1: …", answer)
    return re.sub(r"(\{|%7B)[0-9A-F-]{36}(\}|%7D)", r"\1…\2", answer)


@pytest.mark.parametrize(
    ("section", "names"),
    [
        ("4.1", ["01-create-session", "02-fragment", "03-ping", "04-close-session"]),
        (
            "4.2",
            ["01-create-session", "02-ping", "03-fragment", "05-get-reply", "06-close-session"],
        ),
    ],
)
def test_a_captured_conversation_is_answered_byte_for_byte(section: str, names: list[str]) -> None:
    is_second = section == "4.2"
    iis = FakeIis(reply=REPLY if is_second else None, host_id="FRANKCAO8" if is_second else "")
    session_id = ""
    with iis:
        for name in names:
            body = BODY if "fragment" in name else b""
            answer = exchange(iis, f"{section}-{name}", session_id, body)
            assert likened(answer) == likened(head(f"{section}-{name}.response"))
            if "create" in name:
                (session_id,) = iis.sessions
    assert list(iis.files.values()) == [BODY]


def send_whole(client: BitsClient) -> Answer:
    client.create()
    return client.fragment(BODY, 0, len(BODY))


def test_an_upload_in_fragments() -> None:
    iis = FakeIis()
    with talking(iis) as client:
        client.upload(BODY, size=1000)
    assert iis.files == {TARGET: BODY}
    assert iis.kinds() == ["Create-Session", *["Fragment"] * 5, "Close-Session"]
    assert {request.connection for request in iis.requests} == {1}


def test_a_gap_is_416_with_the_next_expected_byte_and_an_overlap_is_skipped() -> None:
    with talking(FakeIis()) as client:
        client.create()
        client.fragment(BODY[:1000], 0, len(BODY))
        gap = client.fragment(BODY[2000:], 2000, len(BODY))
        assert (gap.status, gap["BITS-Received-Content-Range"]) == (416, "1000")
        overlap = client.fragment(BODY[500:1500], 500, len(BODY))
        assert (overlap.status, overlap["BITS-Received-Content-Range"]) == (200, "1500")
        wrong = client.fragment(BODY[1500:], 1500, len(BODY) + 1)
        assert (wrong.status, wrong["BITS-Error-Code"]) == (400, "0x80070057")


def test_a_session_that_is_lost_is_not_found_once() -> None:
    iis = FakeIis()
    with talking(iis) as client:
        iis.script("Fragment", None, Fault(loses_session=True))
        client.create()
        client.fragment(BODY[:1000], 0, len(BODY))
        lost = client.fragment(BODY[1000:], 1000, len(BODY))
        assert (lost.status, lost["BITS-Error-Code"]) == (500, "0x8020001F")
        assert (lost["BITS-Error-Context"], lost.get("BITS-Session-Id")) == ("0x5", None)
        client.upload(BODY)
    assert iis.files == {TARGET: BODY}
    assert iis.is_script_done


def test_a_fragment_above_the_limit_is_413() -> None:
    with talking(FakeIis(largest_fragment=1000)) as client:
        client.create()
        assert client.fragment(BODY[:1001], 0, len(BODY)).status == 413
        client.send_all(BODY, 1000)


def test_a_scripted_refusal_and_a_scripted_416_do_nothing_else() -> None:
    iis = FakeIis()
    refused = Fault(status=503, hresult="0x801901F7", fields={"Retry-After": "7"})
    with talking(iis) as client:
        iis.script("Fragment", refused, Fault(status=416, received=0))
        answer = send_whole(client)
        assert (answer.status, answer["BITS-Error-Code"]) == (503, "0x801901F7")
        assert answer["Retry-After"] == "7"
        answer = client.fragment(BODY, 0, len(BODY))
        assert (answer.status, answer["BITS-Received-Content-Range"]) == (416, "0")
        assert answer.get("BITS-Error-Code") is None
        assert bytes(iis.sessions[client.session_id].received) == b""
        assert client.fragment(BODY, 0, len(BODY)).status == 200


def test_a_connection_closed_in_mid_body_keeps_what_was_read() -> None:
    iis = FakeIis()
    with talking(iis) as client:
        iis.script("Fragment", Fault(reads=700))
        with pytest.raises(ConnectionError):
            send_whole(client)
        assert bytes(iis.sessions[client.session_id].received) == BODY[:700]
        client.send_all(BODY, 9000, start=700)


def test_an_answer_that_is_lost_was_done() -> None:
    iis = FakeIis()
    with talking(iis) as client:
        iis.script("Fragment", Fault(is_answered=False))
        with pytest.raises(ConnectionError):
            send_whole(client)
        iis.script("Close-Session", Fault(is_answered=False))
        with pytest.raises(ConnectionError):
            client.close()
    assert iis.files == {TARGET: BODY}


def test_a_body_that_is_not_drained_is_answered_first() -> None:
    iis = FakeIis()
    with talking(iis) as client, socket.create_connection(iis.address, 10) as connection:
        client.create()
        iis.script("Fragment", Fault(status=413, is_drained=False))
        connection.sendall(client.fragment_head(1 << 30))
        answer = b""
        while received := connection.recv(4096):
            answer += received
        assert answer.startswith(b"HTTP/1.1 413 ")
    assert iis.requests[-1].length == 0


def test_a_slow_answer_waits_for_what_the_test_says() -> None:
    iis, calls = FakeIis(), []
    with talking(iis) as client:
        iis.script("Ping", Fault(before=lambda: calls.append(iis.count("Ping"))))
        assert client.ping().status == 200
    assert calls == [0]


def test_a_reply_comes_by_ranges_and_breaks_off_where_told() -> None:
    iis = FakeIis(reply=REPLY)
    with talking(iis) as client:
        url = send_whole(client)["BITS-Reply-URL"]
        assert url == rf"BITS-Sessions\Replies\{client.session_id}\responsefile.bin"
        path = "/upload/" + url.replace("\\", "/").replace("{", "%7B").replace("}", "%7D")
        whole = client.sender.send("GET", path)
        assert (whole.status, whole.body) == (200, REPLY)
        rest = client.sender.send("GET", path, [("Range", "bytes=9000-")])
        assert (rest.status, rest.body) == (206, REPLY[9000:])
        assert rest["Content-Range"] == "bytes 9000-10239/10240"
        changed = [("Range", "bytes=9000-"), ("If-Range", '"other"')]
        assert client.sender.send("GET", path, changed).status == 200
        assert client.sender.send("GET", path, [("Range", "bytes=10240-")]).status == 416
        assert client.sender.send("HEAD", path)["Content-Length"] == "10240"
        iis.script("GET", Fault(sends=100))
        with pytest.raises(ConnectionError):
            client.sender.send("GET", path)
        iis.knows_ranges = False
        assert client.sender.send("GET", path, [("Range", "bytes=9000-")]).status == 200
        client.close()
        assert iis.files == {TARGET: BODY}


@pytest.mark.parametrize(
    ("option", "challenge"),
    [
        ("--basic", BasicChallenge("user", "pa55")),
        ("--digest", DigestChallenge("user", "pa55")),
        ("--digest", DigestChallenge("user", "pa55", "SHA-256")),
    ],
)
def test_credentials_are_asked_for_and_checked(option: str, challenge: Challenge) -> None:
    """By curl, a second opinion on Digest."""
    curl = require_tool("curl")
    with FakeIis(challenge=challenge) as iis:
        for password, status in (("pa55", "200"), ("wrong", "401")):
            packet = ["-X", "BITS_POST", "-H", "BITS-Packet-Type: Ping"]
            user = [option, "-u", f"user:{password}", "-o", "/dev/null", "-w", "%{http_code}"]
            url = iis.url + TARGET
            ran = subprocess.run([curl, "-s", *packet, *user, url], capture_output=True, text=True)
            assert ran.stdout == status
    statuses = [request.status for request in iis.requests]
    assert statuses == ([200, 401] if option == "--basic" else [401, 200, 401, 401])


def test_a_digest_is_good_for_one_request() -> None:
    challenge = DigestChallenge("user", "pa55")
    with FakeIis(challenge=challenge) as iis:
        curl = [require_tool("curl"), "-s", "--digest", "-u", "user:pa55", "-X", "BITS_POST"]
        packet = ["-H", "BITS-Packet-Type: Ping"]
        subprocess.run([*curl, *packet, iis.url + TARGET], check=True)
        used = iis.requests[-1].headers["authorization"]
        with WireSender(iis.address) as sender:
            assert BitsClient(sender, TARGET).ping(Authorization=used).status == 401
    assert challenge.accepted == 1
