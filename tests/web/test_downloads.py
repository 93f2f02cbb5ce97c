"""GET and HEAD of a reply: ranges and conditions of RFC 9110, and nothing else of BITS-Sessions."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bits_server import NotificationType, VirtualDirectory
from bits_server.operations.event_log import EventLog
from bits_server.sessions.manager import SessionManager
from bits_server.sessions.notifying import Notifier
from bits_server.sessions.turns import Turns
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.web.application import BitsApplication
from tests.sessions.application import Application
from tests.storage.stages import open_descriptors
from tests.support.bits_client import BitsClient
from tests.support.wire import Answer, InProcessSender

REPLY = bytes(range(256)) * 4000  # more than one block


class Download:
    """A complete upload whose reply can be fetched."""

    def __init__(self, folder: Path, reply: bytes = REPLY) -> None:
        directory = VirtualDirectory(
            "/up load",
            str(folder),
            notification_type=NotificationType.BY_VALUE,
            notification_url="http://127.0.0.1:9/",
        )
        store = FilesystemStore(str(folder), DiskRules(sync_on_close=False))
        store.prepare()
        application = Application()
        application.body = reply
        notifier = Notifier(directory, store, application, Turns(16), EventLog())
        manager = SessionManager(directory, store, EventLog(), notifier=notifier)
        self.application = BitsApplication([manager], EventLog())
        self.sender = InProcessSender(self.application)
        self.client = BitsClient(self.sender, "/up%20load/f.bin")
        self.client.create()
        self.url = self.client.fragment(b"hello", 0, 5).get("BITS-Reply-URL") or ""
        self.file = folder / "BITS-Sessions" / self.client.session_id / "response"

    def get(self, method: str = "GET", url: str | None = None, **headers: str) -> Answer:
        fields = [(name.replace("_", "-"), value) for name, value in headers.items()]
        return self.sender.send(method, url or self.url, fields)


@pytest.fixture
def download(folder: Path) -> Download:
    return Download(folder)


def test_the_whole_reply(download: Download) -> None:
    answer = download.get()
    assert (answer.status, answer.body) == (200, REPLY)
    assert answer["Content-Length"] == str(len(REPLY))
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["ETag"].startswith('"'), "strong"
    assert answer["Last-Modified"].endswith(" GMT")
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer.get("BITS-Packet-Type") is None


def test_head_is_get_without_the_body_and_knows_no_ranges(download: Download) -> None:
    whole = download.get()
    for headers in ({}, {"Range": "bytes=0-4"}):
        answer = download.get("HEAD", **headers)
        assert (answer.status, answer.body) == (200, b"")
        for name in ("Content-Length", "ETag", "Last-Modified", "Accept-Ranges"):
            assert answer[name] == whole[name]


LENGTH = len(REPLY)


@pytest.mark.parametrize(
    ("wanted", "first", "last"),
    [
        *(
            ("0-0", 0, 0),
            ("0-9976", 0, 9976),
            ("5-", 5, LENGTH - 1),
            ("-7", LENGTH - 7, LENGTH - 1),
        ),
        *((f"{LENGTH - 1}-", LENGTH - 1, LENGTH - 1), (f"300000-{LENGTH * 2}", 300000, LENGTH - 1)),
        (f"-{LENGTH * 2}", 0, LENGTH - 1),
    ],
)
def test_a_range(download: Download, wanted: str, first: int, last: int) -> None:
    answer = download.get(Range=f"bytes={wanted}")
    assert answer.status == 206
    assert answer["Content-Range"] == f"bytes {first}-{last}/{LENGTH}"
    assert answer["Content-Length"] == str(last - first + 1)
    assert answer.body == REPLY[first : last + 1]


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.integers(1, LENGTH - 1), max_size=4, unique=True))
def test_the_pieces_are_the_whole(download: Download, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), LENGTH]
    pieces = [download.get(Range=f"bytes={first}-{end - 1}").body for first, end in pairwise(edges)]
    assert b"".join(pieces) == REPLY


@pytest.mark.parametrize("wanted", [f"{LENGTH}-", f"{LENGTH * 2}-{LENGTH * 3}", "-0"])
def test_a_range_that_is_not_there(download: Download, wanted: str) -> None:
    answer = download.get(Range=f"bytes={wanted}")
    assert (answer.status, answer.body) == (416, b"")
    assert answer["Content-Range"] == f"bytes */{LENGTH}"
    assert answer["Content-Length"] == "0"


@pytest.mark.parametrize("wanted", ["bytes=0-4,10-14", "lines=0-4", "bytes=4-0", "bytes", "0-4"])
def test_ranges_that_may_be_ignored_are(download: Download, wanted: str) -> None:
    answer = download.get(Range=wanted)
    assert (answer.status, answer.body) == (200, REPLY)


class TestConditions:
    def test_if_range_gives_the_range_of_the_same_reply_only(self, download: Download) -> None:
        head = download.get("HEAD")
        for name, status in (
            (head["ETag"], 206),
            (head["Last-Modified"], 206),
            ('"another"', 200),
            (f"W/{head['ETag']}", 200),
            ("Mon, 18 Jun 2007 21:12:01 GMT", 200),
            ("Fri, 18 Jun 2077 21:12:01 GMT", 200),
            ("nonsense", 200),
        ):
            answer = download.get(Range="bytes=0-4", If_Range=name)
            assert answer.status == status, name
            assert answer.body == (REPLY[:5] if status == 206 else REPLY)

    def test_who_has_the_reply_does_not_get_it_again(self, download: Download) -> None:
        answer = download.get(If_None_Match=download.get("HEAD")["ETag"])
        assert (answer.status, answer.body) == (304, b"")
        assert download.get(If_None_Match='"another"').body == REPLY

    def test_who_wants_another_one_does_not_get_this(self, download: Download) -> None:
        answer = download.get(If_Match='"another"')
        assert (answer.status, answer.body) == (412, b"")
        assert download.get(If_Match=download.get("HEAD")["ETag"]).body == REPLY


def test_a_reply_of_no_bytes(folder: Path) -> None:
    download = Download(folder)
    download.file.write_bytes(b"")
    answer = download.get()
    assert (answer.status, answer.body, answer["Content-Length"]) == (200, b"", "0")


@pytest.mark.parametrize("end", ["close", "cancel"])
def test_the_reply_is_there_until_the_session_ends(download: Download, end: str) -> None:
    getattr(download.client, end)()
    assert download.get().status == 404


SPELLINGS = [
    *("session.json", "request", "notifying", "", ".", "response/", "response/x", "./response"),
    *("response%00", "response%20", "RESPONSE", "%72esponse/../request", "..%2Frequest"),
    *("response/../request", "../.closed/x", "response?x=1/../request"),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_nothing_else_of_the_session_can_be_fetched(
    download: Download, spelling: str, method: str
) -> None:
    base = download.url.removesuffix("response")
    answer = download.get(method, base + spelling)
    if spelling.startswith("response?"):
        assert answer.status == 200, "a query string is none of the path"
    else:
        assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "url",
    [
        *("/up%20load/BITS-Sessions", "/up%20load/BITS-Sessions/", "/up%20load/bits-sessions/"),
        *("/up%20load/BITS-Sessions/.closed/", "/up%20load/BITS-Sessions/.swept-sessions"),
        *("/up%20load/%42ITS-Sessions/{id}/request", "/up%20load/bits-sessions/{id}/response"),
        *("/up%20load/BITS-Sessions//{id}/response", "/up%20load/BITS-Sessions%5C{id}/response"),
        *("/up%20load/BITS-Sessions/{bare}/response", "/up%20load/BITS-Sessions/.removed-{id}/x"),
        *("/up%20load/%EF%BC%A2ITS-Sessions/{id}/request", "/up%20load/x/../BITS-Sessions/{id}/x"),
        *("//up%20load/BITS-Sessions/{id}/response", "/UP%20LOAD/BITS-Sessions/{id}/response"),
        "/up%20load/BITS-Sessions/%7B5E53C221-F2D6-4BF2-B994-1DC43CEACA8D%7D/response",
    ],
)
def test_nothing_else_of_bits_sessions_can_be_fetched(download: Download, url: str) -> None:
    guid = download.client.session_id
    url = url.replace("{id}", guid.replace("{", "%7B").replace("}", "%7D"))
    answer = download.get(url=url.replace("{bare}", guid[1:-1]))
    assert answer.status in (404, 405)
    assert answer.body == b""


def test_the_session_id_may_be_spelled_in_lower_case(download: Download) -> None:
    guid = download.client.session_id
    assert download.get(url=download.url.replace(guid[1:-1], guid[1:-1].lower())).body == REPLY


@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST", "PROPFIND", "OPTIONS"])
def test_a_reply_can_be_fetched_and_nothing_else(download: Download, method: str) -> None:
    assert download.get(method).status in (200, 405)
    assert download.get().body == REPLY


@pytest.mark.parametrize("planted", ["link", "pipe", "folder", "nothing"])
def test_what_was_put_in_the_replys_place_meanwhile_is_not_served(
    download: Download, planted: str
) -> None:
    download.file.unlink()
    match planted:
        case "link":
            download.file.symlink_to("/etc/hostname")
        case "pipe":
            os.mkfifo(download.file)
        case "folder":
            download.file.mkdir()
    answer = download.get()
    assert (answer.status, answer.body) == (404, b"")


def test_a_file_named_response_is_no_reply_unless_the_application_made_it(folder: Path) -> None:
    """An application that failed may have left something there."""
    download = Download(folder, reply=b"")
    url = f"/up%20load/BITS-Sessions/{download.client.session_id}/response"
    download.file.write_bytes(b"left over")
    assert download.get(url=url).status == 404


@pytest.mark.parametrize("moment", [-(1 << 40), -1, 1 << 38, 1 << 60])
def test_whatever_time_the_application_gave_its_reply(small_disk: Path, moment: int) -> None:
    """A disk in memory keeps times that no calendar has."""
    download = Download(small_disk, b"reply")
    os.utime(download.file, (moment, moment))
    answer = download.get()
    assert (answer.status, answer.body) == (200, b"reply")
    again = download.get(If_Modified_Since=answer["Last-Modified"])
    assert again.status == 304


def test_no_descriptor_stays_open(download: Download) -> None:
    before = open_descriptors()
    etag = download.get()["ETag"]
    requests: list[dict[str, Any]] = [
        {"Range": "bytes=0-4"},
        {"Range": "bytes=9999999999-"},
        {"If_None_Match": etag},
        {"If_Match": '"another"'},
        {"method": "HEAD"},
    ]
    for request in requests:
        download.get(**request)
    assert open_descriptors() == before
