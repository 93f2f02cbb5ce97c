"""The example applications as processes of their own, beside a real server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.waiting import wait_until

EXAMPLES = Path(__file__).parents[1] / "examples"
CONTENT = os.urandom(300_000)
KEY = "correct horse"
GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"


@contextmanager
def application(kind: str, folder: Path, archive: Path) -> Iterator[int]:
    """The example, started as its own documentation says; its port."""
    command = [sys.executable, str(EXAMPLES / f"receipt_{kind.replace('-', '_')}.py")]
    command += ["--port", "0", "--archive", str(archive)]
    command += ["--uploads", str(folder)] if kind == "by-reference" else ["--limit", "400000"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RECEIPT_KEY": KEY},
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)/$", process.stdout.readline())
        assert found is not None
        yield int(found[1])
    finally:
        process.kill()
        process.communicate()


@contextmanager
def server(kind: str, port: int, folder: Path, tmp_path: Path, key: str) -> Iterator[LiveServer]:
    file = tmp_path / "settings.toml"
    file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'notification_type = "{kind}"\nnotification_url = "http://127.0.0.1:{port}/"\n'
        'notification_headers = { X-Key = { env = "RECEIPT_KEY" } }\n'
    )
    options = ["--settings", str(file)]
    environment = {"RECEIPT_KEY": key}
    log_file = tmp_path / "server.log"
    with LiveServer(options=options, environment=environment, log_file=log_file) as running:
        yield running


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_a_file_is_filed_once_and_the_client_gets_a_receipt(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    with (
        application(kind, folder, archive) as port,
        server(kind, port, folder, tmp_path, KEY) as running,
        running.sender() as sender,
    ):
        client = BitsClient(sender, "/upload/report%20%C3%BC.txt?who=me")
        client.create()
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert_success(answer)
        body = sender.send("GET", answer["BITS-Reply-URL"]).body
        receipt = json.loads(body)
        assert receipt["name"] == "report ü.txt"
        assert receipt["bytes"] == len(CONTENT)
        assert receipt["sha256"] == hashlib.sha256(CONTENT).hexdigest()
        place = archive / client.session_id
        assert (place / "report ü.txt").read_bytes() == CONTENT
        told_again = notify(port, kind, client.session_id, folder)
        assert told_again[0] == 200
        response = folder / "BITS-Sessions" / client.session_id / "response"
        again = told_again[1] if kind == "by-value" else response.read_bytes()
        assert again == body, "the same receipt, and not a new one"
        assert_success(client.close())
    assert [path.name for path in archive.iterdir()] == [client.session_id]
    assert (place / "report ü.txt").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["BITS-Sessions"]


def notify(
    port: int,
    kind: str,
    session_id: str,
    folder: Path,
    body: bytes = b"again",
    /,
    **changes: str,
) -> tuple[int, bytes]:
    """A notification as the server sends it, made by hand."""
    session = folder / "BITS-Sessions" / session_id
    fields = {
        "X-Key": KEY,
        "BITS-Session-Id": session_id,
        "BITS-Original-Request-URL": "http://h/upload/f.bin",
        "BITS-Request-DataFile-Name": str(session / "request"),
        "BITS-Response-DataFile-Name": str(session / "response"),
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/", body if kind == "by-value" else b"", fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_a_wrong_key_files_nothing_and_can_be_mended(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    with application(kind, folder, archive) as port:
        with server(kind, port, folder, tmp_path, "wrong") as running, running.sender() as sender:
            client = BitsClient(sender)
            client.create()
            assert client.fragment(b"hello", 0, 5).status == 500
            assert list(archive.iterdir()) == []
        with server(kind, port, folder, tmp_path, KEY) as running, running.sender() as sender:
            client.sender = sender
            assert_success(client.fragment(b"hello", 0, 5))
    assert (archive / client.session_id / "f.bin").read_bytes() == b"hello"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://h/upload/../../etc/passwd", "passwd"),
        ("http://h/upload/..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ("http://h/upload/.hidden", "hidden"),
        ("http://h/upload/receipt.json", "file-receipt.json"),
        ("http://h/upload/..", "file-"),
        ("", "file-"),
    ],
)
def test_a_name_stays_in_the_archive(url: str, name: str, folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with application("by-value", folder, archive) as port:
        status, _ = notify(port, "by-value", GUID, folder, BITS_Original_Request_URL=url)
    assert status == 200
    assert sorted(path.name for path in (archive / GUID).iterdir()) == sorted(
        [name, "receipt.json"]
    )


@pytest.mark.parametrize("session_id", ["", "..", "{}", "../../x", f"{GUID}/.."])
@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_a_session_id_that_is_none_is_refused(
    kind: str, session_id: str, folder: Path, tmp_path: Path
) -> None:
    with application(kind, folder, tmp_path / "archive") as port:
        assert notify(port, kind, session_id, folder)[0] == 400
    assert list((tmp_path / "archive").iterdir()) == []


@pytest.mark.parametrize(
    "path", ["/etc/hostname", "{folder}/f", "{folder}/BITS-Sessions/{{x}}/../../../f", ""]
)
def test_by_reference_a_path_elsewhere_is_refused_until_that_is_mended(
    path: str, folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    with application("by-reference", folder, archive) as port:
        for header in ("BITS_Request_DataFile_Name", "BITS_Response_DataFile_Name"):
            wrong = path.format(folder=folder)
            assert notify(port, "by-reference", GUID, folder, b"", **{header: wrong})[0] == 500
    assert list(archive.iterdir()) == []


def test_by_value_what_is_too_large_is_refused_for_good(folder: Path, tmp_path: Path) -> None:
    with application("by-value", folder, tmp_path / "archive") as port:
        assert notify(port, "by-value", GUID, folder, bytes(400_001))[0] == 403


def test_two_attempts_at_once_file_once_and_give_one_receipt(folder: Path, tmp_path: Path) -> None:
    """The server gave up waiting and calls again, and the first call is still at work."""
    archive = tmp_path / "archive"
    with (
        application("by-value", folder, archive) as port,
        half_sent(port, archive) as first,
        half_sent(port, archive) as second,
    ):
        answers = []
        for connection in (first, second):
            connection.send(CONTENT[1000:])
            answer = connection.getresponse()
            answers.append((answer.status, answer.read()))
    assert answers[0] == answers[1]
    status, receipt = answers[0]
    assert status == 200
    assert json.loads(receipt)["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert [path.name for path in archive.iterdir()] == [GUID]
    assert (archive / GUID / "f.bin").read_bytes() == CONTENT


@contextmanager
def half_sent(port: int, archive: Path) -> Iterator[HTTPConnection]:
    """A notification whose body came in part: the application has begun to write its file."""
    before = being_written(archive)
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest("POST", "/")
        for name, value in (
            ("X-Key", KEY),
            ("BITS-Session-Id", GUID),
            ("BITS-Original-Request-URL", "http://h/upload/f.bin"),
            ("Content-Length", str(len(CONTENT))),
        ):
            connection.putheader(name, value)
        connection.endheaders(CONTENT[:1000])
        wait_until(lambda: bool(being_written(archive) - before))
        yield connection
    finally:
        connection.close()


def being_written(archive: Path) -> set[int]:
    """The inodes of files that are not in their place yet."""
    return {path.stat().st_ino for path in archive.glob(".unfinished-*/f.bin")}


def test_an_attempt_that_failed_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    with application("by-value", folder, archive) as port:
        with half_sent(port, archive):
            pass  # and the connection breaks
        wait_until(lambda: not list(archive.iterdir()))


def test_an_attempt_that_was_killed_is_begun_again_and_cleared_away(
    folder: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    killed = archive / f".unfinished-{GUID}12345678"
    killed.mkdir(parents=True)
    (killed / "f.bin").write_bytes(b"hal")
    with application("by-value", folder, archive) as port:
        assert notify(port, "by-value", GUID, folder, b"whole")[0] == 200
    assert (archive / GUID / "f.bin").read_bytes() == b"whole"
    assert killed.exists(), "another process may still be at work on it"
    os.utime(killed, times=(0, 0))
    with application("by-value", folder, archive):
        assert [path.name for path in archive.iterdir()] == [GUID]
