"""Answers that no good server gives: none ends in an exception, a loop, or a file that is lost."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server.client import Queue, Settings
from bits_server.client.errors import Transient
from bits_server.client.headway import MOST_IN_VAIN, Headway
from bits_server.client.jobs import JobState
from bits_server.client.reply import put_in_place
from tests.client.conftest import GivenPasswords, JobMaker, Runner
from tests.client.test_transfer import ALICE, REPLY, MovingClock, of
from tests.support.challenges import BasicChallenge, DigestChallenge
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault


def test_a_session_that_is_lost_at_the_hello_begins_anew(
    make_job: JobMaker, run: Runner, content: bytes
) -> None:
    with FakeIis() as iis:
        iis.script("Fragment", Fault(status=503))
        job = run(make_job(of(iis)))
        iis.script("Ping", Fault(status=500, hresult="0x8020001F"))
        assert run(job).state is JobState.TRANSFERRED
        assert iis.count("Create-Session") == 2
        assert iis.files == {"/upload/f.bin": content}


def test_a_server_that_takes_nothing_is_left_alone_for_a_while(
    make_job: JobMaker, run: Runner
) -> None:
    with FakeIis() as iis:
        iis.script("Fragment", *[Fault(status=416, received=0)] * 50)
        job = run(make_job(of(iis)))
        assert iis.count("Fragment") == MOST_IN_VAIN + 1
    assert job.state is JobState.TRANSIENT_ERROR
    assert job.error is not None
    assert job.error.hresult == 0x8020001B


def test_going_back_once_is_not_in_vain_for_long() -> None:
    headway = Headway()
    for received in range(100, 1000, 100):
        headway.came(received - 100, received)
    for _ in range(MOST_IN_VAIN - 1):
        headway.came(900, 0)
        headway.came(0, 100)
    headway.came(900, 1000)
    for _ in range(MOST_IN_VAIN - 1):
        headway.came(900, 0)
        headway.came(0, 900)
    with pytest.raises(Transient):
        headway.came(900, 0)


@pytest.mark.parametrize("kind", ["Ping", "Close-Session"])
def test_a_success_that_is_no_ack_is_somebody_elses(
    make_job: JobMaker, run: Runner, content: bytes, kind: str
) -> None:
    """The log-in page of a network must not end the upload."""
    with FakeIis() as iis:
        iis.script("Fragment", Fault(status=503))
        job = run(make_job(of(iis)))
        iis.script(kind, Fault(status=200, fields={"BITS-Packet-Type": "text"}))
        job = run(job)
        assert job.state is JobState.TRANSIENT_ERROR
        assert iis.files == {}
        assert run(job).state is JobState.TRANSFERRED
        assert iis.files == {"/upload/f.bin": content}


@pytest.mark.parametrize("timeout", [0xFFFFFFFF, 10**30])
def test_a_time_out_without_end(make_job: JobMaker, run: Runner, timeout: int) -> None:
    with FakeIis(host_id="127.0.0.1:9", fallback_timeout=timeout) as iis:
        job = run(make_job(of(iis)))
    assert job.state is JobState.TRANSIENT_ERROR
    assert job.session is not None
    assert job.session.host_id_until is None


@pytest.mark.parametrize("host", ["[", "a b", "h:port", "h:99999", "user@h", "h/path", "h?q"])
def test_a_host_that_can_be_none(make_job: JobMaker, run: Runner, host: str) -> None:
    with FakeIis(host_id=host) as iis:
        job = run(make_job(of(iis)))
        assert iis.kinds() == ["Create-Session"]
    assert job.state is JobState.ERROR
    assert job.error is not None
    assert "BITSHostId" in job.error.text


def test_a_host_that_only_says_hello_is_left_too(make_job: JobMaker, run: Runner) -> None:
    """The clock stops when a Fragment is taken, not before [MC-BUP] 3.1.5.1.4."""
    clock = MovingClock()
    with FakeIis() as other:
        host = f"127.0.0.1:{other.address[1]}"
        with FakeIis(host_id=host, fallback_timeout=100) as iis:
            other.sessions = iis.sessions
            other.script("Fragment", *[Fault(status=503)] * 9)
            job = run(make_job(of(iis)), clock=clock)
            for _ in range(2):
                assert job.state is JobState.TRANSIENT_ERROR
                clock.move(51)
                job = run(job, clock=clock)
    assert job.state is JobState.TRANSFERRED


@pytest.mark.parametrize("url", ["http://[", "file:///etc/passwd", "http://a:b/", "http://u:p@h/"])
def test_a_reply_url_that_cannot_be_used(
    make_job: JobMaker, run: Runner, tmp_path: Path, url: str
) -> None:
    with FakeIis() as iis:
        iis.script("Fragment", Fault(fields={"BITS-Reply-URL": url}))
        job = run(make_job(of(iis), reply_path=str(tmp_path / "reply")))
        assert job.state is JobState.ERROR
        iis.script("Fragment", Fault(fields={"BITS-Reply-URL": url}))
        assert run(make_job(of(iis))).state is JobState.TRANSFERRED, "which needs no reply"


@pytest.mark.parametrize("challenge", [BasicChallenge, DigestChallenge])
def test_another_host_that_has_the_reply_gets_no_password(
    make_job: JobMaker,
    run: Runner,
    tmp_path: Path,
    challenge: type[BasicChallenge | DigestChallenge],
) -> None:
    asks = challenge(ALICE.user, ALICE.password)
    with FakeIis(challenge=asks) as iis, FakeIis(challenge=asks) as other:
        other.replies["/reply"] = REPLY
        iis.script("Fragment", Fault(fields={"BITS-Reply-URL": f"{other.url}/reply"}))
        job = make_job(of(iis), reply_path=str(tmp_path / "reply"))
        done = run(job, passwords=GivenPasswords(ALICE))
        assert done.state is JobState.ERROR
        assert done.error is not None
        assert "another host" in done.error.text
        assert other.requests
        assert not [one for one in other.requests if "authorization" in one.headers]


def test_the_host_that_the_session_was_given_is_logged_in_to(
    make_job: JobMaker, run: Runner
) -> None:
    asks = BasicChallenge(ALICE.user, ALICE.password)
    with FakeIis(challenge=asks) as other:
        first = FakeIis(challenge=asks, host_id=f"127.0.0.1:{other.address[1]}")
        other.sessions = first.sessions
        with first:
            done = run(make_job(of(first)), passwords=GivenPasswords(ALICE))
    assert done.state is JobState.TRANSFERRED


def test_a_part_of_another_reply_is_not_added(
    make_job: JobMaker, run: Runner, tmp_path: Path
) -> None:
    """By a server that does not look at If-Range."""
    place, other = tmp_path / "reply.bin", os.urandom(200_000)
    with FakeIis(reply=REPLY) as iis:
        iis.script("GET", Fault(sends=50_000))
        job = run(make_job(of(iis), reply_path=str(place)))
        iis.replies = dict.fromkeys(iis.replies, other)
        assert job.session is not None
        looks_away = Fault(status=206, fields={"Content-Range": "bytes 50000-199999/200000"})
        iis.script("GET", replace(looks_away, fields={**looks_away.fields, "ETag": '"new"'}))
        job = run(job)
        assert job.state is JobState.TRANSIENT_ERROR
        assert run(job).state is JobState.TRANSFERRED
    put_in_place(str(place), job.id)
    assert place.read_bytes() == other


def test_a_file_that_changes_while_its_last_bytes_are_read(
    make_job: JobMaker, run: Runner, local_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Changing(io.FileIO):
        def readinto(self, buffer: Any, /) -> int | None:
            read = super().readinto(buffer)
            os.utime(local_file, (1, 1))
            return read

    with FakeIis() as iis:
        job = make_job(of(iis))
        monkeypatch.setattr(io, "FileIO", Changing)
        done = run(job)
        assert iis.files == {}
    assert done.state is JobState.ERROR
    assert done.error is not None
    assert done.error.hresult == 0x8020001D


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("ftp://h/f", ""),
        ("http://[", ""),
        ("http://h:port/f", ""),
        ("https://alice:secret@h/f", ""),
        ("https://h/f", "http://carol:secret@proxy"),
    ],
)
def test_no_job_is_made_that_cannot_work_or_would_keep_a_password(
    tmp_path: Path, local_file: Path, url: str, proxy: str
) -> None:
    queue = Queue(tmp_path / "state")
    with pytest.raises(ValueError, match="URL") as raised:
        queue.create(local_file, url, settings=Settings(proxy=proxy))
    assert "secret" not in str(raised.value)
    assert queue.jobs() == []
