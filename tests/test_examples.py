"""The example applications as processes of their own, beside a real server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.example_application import (
    GUID,
    KEY,
    LIMIT,
    application,
    file_of,
    notify,
    server,
    started,
)
from tests.support.waiting import wait_until
from tests.support.wire import WireSender

CONTENT = os.urandom(300_000)


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


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_what_is_too_large_is_refused_for_good(kind: str, folder: Path, tmp_path: Path) -> None:
    with (
        application(kind, folder, tmp_path / "archive") as port,
        server(kind, port, folder, tmp_path) as running,
        running.sender() as sender,
    ):
        client = BitsClient(sender)
        client.create()
        for _ in range(2):
            answer = client.fragment(bytes(LIMIT + 1), 0, LIMIT + 1)
            assert (answer.status, answer["BITS-Error-Code"]) == (403, "0x80190193")
            assert answer["BITS-Error-Context"] == "0x7"
        assert running.log.count("notified, attempt") == 1
    assert list((tmp_path / "archive").iterdir()) == []


@pytest.mark.parametrize("length", [None, "", "many", "-1", "5, 5", "9" * 5000])
def test_by_value_a_body_of_no_known_length_is_refused(
    length: str | None, folder: Path, tmp_path: Path
) -> None:
    """A chunked one too: it would be taken for an empty file."""
    with (
        application("by-value", folder, tmp_path / "archive") as port,
        WireSender(("127.0.0.1", port)) as sender,
    ):
        fields = {"X-Key": KEY, "BITS-Session-Id": GUID, "BITS-Original-Request-URL": "http://h/f"}
        fields |= {"Transfer-Encoding": "chunked"} if length is None else {"Content-Length": length}
        body = b"5\r\nhello\r\n0\r\n\r\n" if length is None else b""
        assert sender.send("POST", "/", fields.items(), body).status == 411
    assert list((tmp_path / "archive").iterdir()) == []


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_an_empty_key_would_let_everybody_in(kind: str, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(file_of(kind)), "--archive", str(tmp_path), "--port", "0"]
    command += ["--uploads", str(folder)] if kind == "by-reference" else []
    environment = {"RECEIPT_KEY": ""}
    started = subprocess.run(command, env=environment, capture_output=True, timeout=20)
    assert started.returncode != 0
    assert b"RECEIPT_KEY" in started.stderr


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_on_a_full_disk_the_client_comes_again(
    kind: str, folder: Path, small_disk: Path, tmp_path: Path
) -> None:
    """The archive is on another file system: by reference the file is copied."""
    (small_disk / "other").write_bytes(bytes((2 << 20) - 100_000))
    archive = small_disk / "archive"
    with (
        application(kind, folder, archive) as port,
        server(kind, port, folder, tmp_path) as running,
        running.sender() as sender,
    ):
        client = BitsClient(sender)
        client.create()
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert (answer.status, answer["BITS-Error-Code"]) == (503, "0x801901F7")
        assert list(archive.iterdir()) == []
        (small_disk / "other").unlink()
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert json.loads(sender.send("GET", answer["BITS-Reply-URL"]).body)["name"] == "f.bin"
        assert_success(client.close())
        assert (archive / client.session_id / "f.bin").read_bytes() == CONTENT


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


def test_by_value_a_file_takes_the_memory_of_a_block(folder: Path, tmp_path: Path) -> None:
    large = bytes(64 << 20)
    command = [sys.executable, str(file_of("by-value")), "--port", "0"]
    command += ["--archive", str(tmp_path / "archive")]
    with started(command) as (port, process):
        assert notify(port, "by-value", GUID.replace("A", "B"), folder)[0] == 200
        before = peak(process)
        status, receipt = notify(port, "by-value", GUID, folder, large)
        assert status == 200
        assert json.loads(receipt)["bytes"] == len(large)
        assert peak(process) - before < 8 << 10


def peak(process: int) -> int:
    """The most memory that it ever took, in KiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
