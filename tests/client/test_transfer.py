"""A transfer against a server that answers as IIS does, and goes wrong where it is told to."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bits_server.client.credentials import Credentials
from bits_server.client.jobs import ErrorContext, Job, JobState
from bits_server.client.local_file import describe
from bits_server.client.reply import put_in_place
from tests.client.conftest import GivenPasswords, JobMaker, Runner
from tests.support.challenges import BasicChallenge, DigestChallenge
from tests.support.cutting_proxy import CuttingProxy, Plan
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault

ALICE = Credentials("alice", "pässword: €")
REPLY = os.urandom(200_000)


def of(iis: FakeIis) -> str:
    return f"{iis.url}/upload/f.bin"


class TestAPlainUpload:
    def test_the_packets_in_their_order(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        with FakeIis() as iis:
            job = run(make_job(of(iis), fragment_size_limit=100_000))
            assert iis.files == {"/upload/f.bin": content}
            assert iis.kinds() == ["Create-Session", *["Fragment"] * 3, "Close-Session"]
            assert iis.connections == 1
        assert job.state is JobState.TRANSFERRED
        assert job.progress.transferred == job.progress.total == len(content)
        assert job.session is None
        assert job.error is None

    def test_an_empty_file(self, make_job: JobMaker, run: Runner, local_file: Path) -> None:
        local_file.write_bytes(b"")
        with FakeIis() as iis:
            assert run(make_job(of(iis))).state is JobState.TRANSFERRED

    def test_states_are_saved_before_they_are_relied_upon(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        saved: list[Job] = []
        with FakeIis() as iis:
            run(make_job(of(iis)), saved=saved)
        states = list(dict.fromkeys(job.state for job in saved))
        assert states == [JobState.CONNECTING, JobState.TRANSFERRING, JobState.TRANSFERRED]
        assert next(job for job in saved if job.session is not None).progress.transferred == 0

    def test_a_file_that_has_changed_is_not_sent(
        self, make_job: JobMaker, run: Runner, local_file: Path
    ) -> None:
        with FakeIis() as iis:
            job = make_job(of(iis))
            os.utime(local_file, (1, 1))
            done = run(job)
            assert iis.requests == []
        assert done.state is JobState.ERROR
        assert done.error is not None
        assert done.error.hresult == 0x8020001D
        assert done.error.context is ErrorContext.LOCAL_FILE

    def test_a_file_that_changes_on_the_way(
        self, make_job: JobMaker, run: Runner, local_file: Path
    ) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", Fault(before=lambda: local_file.write_bytes(b"other")))
            done = run(make_job(of(iis), fragment_size_limit=100_000))
            assert iis.count("Fragment") == 1
        assert done.error is not None
        assert done.error.hresult == 0x8020001D

    def test_a_file_that_is_gone(self, make_job: JobMaker, run: Runner, local_file: Path) -> None:
        with FakeIis() as iis:
            job = make_job(of(iis))
            local_file.unlink()
            done = run(job)
        assert done.error is not None
        assert done.error.hresult == 0x80070002

    @pytest.mark.parametrize("kind", ["pipe", "folder"])
    def test_what_is_no_file_any_more(
        self, make_job: JobMaker, run: Runner, local_file: Path, kind: str
    ) -> None:
        """Nobody waits for the other end of a pipe."""
        local_file.write_bytes(b"")
        job = make_job("http://127.0.0.1:9/f")
        local_file.unlink()
        os.mkfifo(local_file) if kind == "pipe" else local_file.mkdir()
        os.utime(local_file, ns=(job.file.mtime_ns, job.file.mtime_ns))
        done = run(replace(job, file=replace(job.file, size=local_file.stat().st_size)))
        assert done.state is JobState.ERROR
        assert done.error is not None
        assert done.error.hresult == 0x8020001D


def test_what_never_was_a_file_makes_no_job(tmp_path: Path) -> None:
    """A device or a pipe would go up as an empty file, or be waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path, tmp_path / "missing"):
        with pytest.raises(OSError, match=r"regular file|directory"):
            describe(str(path))


class TestWhatIsReceived:
    def test_it_goes_where_the_server_says(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        """Back after a lost block, and on after bytes that came in spite of a broken connection."""
        with FakeIis() as iis:
            iis.script("Fragment", None, Fault(reads=70_000))
            job = run(make_job(of(iis), fragment_size_limit=100_000))
            assert iis.files == {"/upload/f.bin": content}
            ranges = [
                request.headers["content-range"]
                for request in iis.requests
                if request.kind == "Fragment"
            ]
        assert job.state is JobState.TRANSFERRED
        assert ranges[2] == "bytes 299999-299999/300000", "the last byte asks where to go on"
        assert ranges[3].startswith("bytes 170000-")

    def test_413_makes_smaller_fragments(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        with FakeIis(largest_fragment=20_000) as iis:
            job = run(make_job(of(iis)))
            assert iis.files == {"/upload/f.bin": content}
        assert job.state is JobState.TRANSFERRED

    def test_413_for_5_kb_is_fatal(self, make_job: JobMaker, run: Runner) -> None:
        with FakeIis(largest_fragment=5000) as iis:
            job = run(make_job(of(iis)))
            sizes = [request.declared_length for request in iis.requests]
        assert job.state is JobState.ERROR
        assert job.error is not None
        assert job.error.http_status == 413
        assert min(size for size in sizes if size) == 5120

    @pytest.mark.parametrize("kind", ["Fragment", "Close-Session"])
    def test_a_session_that_was_lost_begins_anew(
        self, make_job: JobMaker, run: Runner, content: bytes, kind: str
    ) -> None:
        with FakeIis() as iis:
            iis.script(kind, Fault(loses_session=True))
            job = run(make_job(of(iis), fragment_size_limit=100_000))
            assert iis.files == {"/upload/f.bin": content}
            assert iis.count("Create-Session") == 2
        assert job.state is JobState.TRANSFERRED

    def test_a_server_that_forgets_every_session_is_left_alone_for_a_while(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", *[Fault(loses_session=True)] * 20)
            job = run(make_job(of(iis)))
            assert iis.count("Create-Session") == 4
        assert job.state is JobState.TRANSIENT_ERROR
        assert job.error is not None
        assert job.error.hresult == 0x8020001F


STATUSES = {
    400: JobState.ERROR,
    403: JobState.ERROR,
    404: JobState.ERROR,
    405: JobState.ERROR,
    408: JobState.TRANSIENT_ERROR,
    409: JobState.TRANSIENT_ERROR,
    500: JobState.TRANSIENT_ERROR,
    501: JobState.ERROR,
    502: JobState.TRANSIENT_ERROR,
    503: JobState.TRANSIENT_ERROR,
    504: JobState.TRANSIENT_ERROR,
    505: JobState.ERROR,
    302: JobState.ERROR,
    308: JobState.TRANSIENT_ERROR,
}


@pytest.mark.parametrize("kind", ["Create-Session", "Fragment", "Close-Session"])
@pytest.mark.parametrize("status", STATUSES)
def test_a_status_is_taken_as_windows_takes_it(
    make_job: JobMaker, run: Runner, kind: str, status: int
) -> None:
    with FakeIis() as iis:
        iis.script(kind, Fault(status=status, hresult="0x80070070" if status == 500 else ""))
        job = run(make_job(of(iis)))
        is_repeated = kind != "Close-Session" or status not in (408, 409)
        assert job.state is (STATUSES[status] if is_repeated else JobState.ERROR)
        assert job.error is not None
        assert job.error.http_status == status
        assert job.error.hresult == (0x80070070 if status == 500 else 0x80190000 + status)
        if job.state is JobState.TRANSIENT_ERROR:
            again = run(job)
            assert again.state is JobState.TRANSFERRED
            assert iis.count("Ping") == (kind != "Create-Session"), "on resume it says hello first"


class TestRetries:
    def test_a_head_that_was_cut_is_no_answer(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        """At any byte of it: the library would take half of the fields for all of them."""
        for cut in (1, 12, 30, 120, 160, 200):
            with FakeIis() as iis, CuttingProxy(iis.address, [Plan(answered=cut)]) as proxy:
                job = run(make_job(f"{proxy.url}/upload/f.bin"))
                assert job.state is JobState.TRANSIENT_ERROR, (cut, job.error)
                assert job.session is None
                assert run(job).state is JobState.TRANSFERRED
                assert iis.files == {"/upload/f.bin": content}

    def test_the_next_try_is_after_the_retry_delay(self, make_job: JobMaker, run: Runner) -> None:
        job = run(make_job("http://127.0.0.1:9/upload/f", retry_delay=1234.0))
        assert job.state is JobState.TRANSIENT_ERROR
        assert job.next_try is not None
        assert 1200 < (job.next_try - datetime.now(UTC)).total_seconds() <= 1234
        assert job.error is not None
        assert job.error.hresult == 0x80072EFD

    def test_not_even_a_library_comes_again_sooner_than_after_5_seconds(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        clock = MovingClock()
        job = run(make_job("http://127.0.0.1:9/upload/f", retry_delay=0.0), clock=clock)
        assert job.next_try == clock.now() + timedelta(seconds=5)

    def test_without_progress_for_too_long_it_gives_up(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        """The time begins with the first error, and anew with each byte."""
        clock = MovingClock()
        long_ago = clock.now() - timedelta(days=100)
        job = run(make_job("http://127.0.0.1:9/upload/f", created=long_ago), clock=clock)
        assert job.state is JobState.TRANSIENT_ERROR
        clock.move(14 * 86_400 - 1)
        job = run(job, clock=clock)
        assert job.state is JobState.TRANSIENT_ERROR
        with FakeIis() as iis:
            iis.script("Fragment", None, Fault(status=503))
            there = replace(job, url=of(iis), settings=replace(job.settings, retry_delay=5.0))
            there = replace(there, settings=replace(there.settings, fragment_size_limit=100_000))
            moved = run(there, clock=clock)
            assert moved.failing_since == clock.now()
        clock.move(1)
        job = run(job, clock=clock)
        assert job.state is JobState.ERROR
        assert job.error is not None
        assert job.error.hresult == 0x80200024

    def test_a_kept_connection_that_was_closed_meanwhile_says_nothing(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", Fault(is_answered=False))
            job = run(make_job(of(iis), fragment_size_limit=100_000))
            assert iis.files == {"/upload/f.bin": content}
        assert job.state is JobState.TRANSFERRED
        assert job.error_count == 0

    def test_too_large_is_fatal_though_its_status_is_500(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", Fault(status=500, hresult="0x80200020"))
            assert run(make_job(of(iis))).state is JobState.ERROR

    def test_an_error_of_the_application_is_told_as_such(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        with FakeIis() as iis:
            iis.script("Fragment", Fault(status=500, hresult="0x801901F4", context="0x7"))
            job = run(make_job(of(iis)))
        assert job.error is not None
        assert job.error.context is ErrorContext.REMOTE_APPLICATION


class TestStopping:
    def test_it_stops_between_fragments_and_goes_on(
        self, make_job: JobMaker, run: Runner, content: bytes
    ) -> None:
        stop = threading.Event()
        with FakeIis() as iis:
            iis.script("Fragment", Fault(before=stop.set))
            job = run(make_job(of(iis), fragment_size_limit=100_000), stop=stop)
            assert job.state is JobState.QUEUED
            assert job.progress.transferred == 100_000
            assert run(job).state is JobState.TRANSFERRED
            assert iis.files == {"/upload/f.bin": content}
            assert iis.count("Create-Session") == 1


class TestHostId:
    def test_the_named_host_is_greeted_and_used(self, make_job: JobMaker, run: Runner) -> None:
        with FakeIis() as other:
            with FakeIis(host_id=f"127.0.0.1:{other.address[1]}") as first:
                job = make_job(of(first))
                other.sessions = first.sessions
                done = run(job)
                assert first.kinds() == ["Create-Session"]
            assert other.kinds() == ["Ping", "Fragment", "Close-Session"]
        assert done.state is JobState.TRANSFERRED

    def test_after_the_fallback_time_out_the_first_host_takes_over(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        clock = MovingClock()
        with FakeIis(host_id="127.0.0.1:9", fallback_timeout=100) as iis:
            job = run(make_job(of(iis)), clock=clock)
            assert job.state is JobState.TRANSIENT_ERROR
            clock.move(50)
            job = run(job, clock=clock)
            assert job.state is JobState.TRANSIENT_ERROR, "the named host is still waited for"
            clock.move(51)
            job = run(job, clock=clock)
        assert job.state is JobState.TRANSFERRED


class MovingClock:
    def __init__(self) -> None:
        self._now = datetime.now(UTC)

    def move(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()


class TestReplies:
    def test_a_reply_by_a_relative_url_with_backslashes(
        self, make_job: JobMaker, run: Runner, tmp_path: Path
    ) -> None:
        place = tmp_path / "reply.bin"
        with FakeIis(reply=REPLY) as iis:
            job = run(make_job(of(iis), reply_path=str(place)))
            assert iis.kinds() == ["Create-Session", "Fragment", "GET", "Close-Session"]
        assert job.state is JobState.TRANSFERRED
        assert job.progress.reply_transferred == job.progress.reply_total == len(REPLY)
        assert not place.exists(), "it gets its name with complete"
        put_in_place(str(place), job.id)
        assert place.read_bytes() == REPLY

    @pytest.mark.parametrize("knows_ranges", [True, False])
    def test_a_download_that_was_cut_goes_on(
        self, make_job: JobMaker, run: Runner, tmp_path: Path, knows_ranges: bool
    ) -> None:
        place = tmp_path / "reply.bin"
        with FakeIis(reply=REPLY, knows_ranges=knows_ranges) as iis:
            iis.script("GET", Fault(sends=50_000))
            job = run(make_job(of(iis), reply_path=str(place)))
            assert job.state is JobState.TRANSIENT_ERROR
            job = run(job)
            asked = [request.headers.get("range") for request in iis.requests]
        assert job.state is JobState.TRANSFERRED
        assert "bytes=50000-" in asked
        put_in_place(str(place), job.id)
        assert place.read_bytes() == REPLY

    def test_another_reply_is_not_mixed_with_the_first(
        self, make_job: JobMaker, run: Runner, tmp_path: Path
    ) -> None:
        place, other = tmp_path / "reply.bin", os.urandom(200_000)
        with FakeIis(reply=REPLY) as iis:
            iis.script("GET", Fault(sends=50_000))
            job = run(make_job(of(iis), reply_path=str(place)))
            iis.replies = dict.fromkeys(iis.replies, other)
            job = run(job)
        put_in_place(str(place), job.id)
        assert place.read_bytes() == other

    def test_which_reply_it_is_is_written_down_before_its_bytes_are(
        self, make_job: JobMaker, run: Runner, tmp_path: Path
    ) -> None:
        """Else a crash would leave bytes of one reply, and say that they are of another."""
        saved: list[Job] = []
        with FakeIis(reply=REPLY) as iis:
            iis.script("GET", *[Fault(sends=50_000)] * 2)
            job = run(make_job(of(iis), reply_path=str(tmp_path / "reply")))
            assert job.session is not None
            iis.replies = dict.fromkeys(iis.replies, os.urandom(200_000))
            run(job, saved=saved)
        tags = [
            each.session.reply_tag
            for each in saved
            if each.session is not None and each.state is JobState.TRANSFERRING
        ]
        assert tags[0] == job.session.reply_tag
        assert tags[-1] not in (None, tags[0])

    def test_a_disk_that_is_too_small_for_the_reply(
        self, make_job: JobMaker, run: Runner, small_disk: Path
    ) -> None:
        """It is told, and goes on where there is room again; nothing is uploaded again."""
        place, filled = small_disk / "reply", small_disk / "filled"
        filled.write_bytes(bytes(1_900_000))
        with FakeIis(reply=REPLY) as iis:
            job = run(make_job(of(iis), reply_path=str(place)))
            assert job.state is JobState.ERROR
            assert job.error is not None
            assert job.error.hresult == 0x8007001D
            assert job.error.context is ErrorContext.LOCAL_FILE
            assert "No space left" in job.error.text
            filled.unlink()
            job = run(job)
            assert iis.kinds()[-3:] == ["Ping", "GET", "Close-Session"]
            assert iis.requests[-2].headers["range"] != "bytes=0-"
            assert iis.requests[-2].status == 206
        assert job.state is JobState.TRANSFERRED
        put_in_place(str(place), job.id)
        assert place.read_bytes() == REPLY

    def test_no_reply_where_one_is_wanted_is_an_error(
        self, make_job: JobMaker, run: Runner, tmp_path: Path
    ) -> None:
        with FakeIis() as iis:
            job = run(make_job(of(iis), reply_path=str(tmp_path / "reply")))
        assert job.state is JobState.ERROR
        assert job.error is not None
        assert job.error.hresult == 0x8020001B


class OfTickets:
    """Negotiate, and nobody has a ticket."""

    def ask(self) -> list[str]:
        return ["Negotiate"]

    def accepts(self, authorization: str, method: str, target: str) -> bool:  # noqa: ARG002
        return False


class TestLogin:
    @pytest.mark.parametrize(
        "challenge",
        [
            BasicChallenge(ALICE.user, ALICE.password),
            DigestChallenge(ALICE.user, ALICE.password),
            DigestChallenge(ALICE.user, ALICE.password, algorithm="SHA-256"),
            DigestChallenge(ALICE.user, ALICE.password, uses=2),
        ],
        ids=["basic", "digest", "digest-sha-256", "digest with stale nonces"],
    )
    def test_an_upload(
        self, make_job: JobMaker, run: Runner, content: bytes, challenge: Any
    ) -> None:
        with FakeIis(challenge=challenge) as iis:
            job = run(
                make_job(of(iis), fragment_size_limit=100_000), passwords=GivenPasswords(ALICE)
            )
            assert iis.files == {"/upload/f.bin": content}
        assert job.state is JobState.TRANSFERRED

    @pytest.mark.parametrize("credentials", [None, Credentials("alice", "wrong")])
    def test_nobody_who_may_is_fatal_and_tells_no_password(
        self, make_job: JobMaker, run: Runner, credentials: Credentials | None
    ) -> None:
        with FakeIis(challenge=BasicChallenge(ALICE.user, ALICE.password)) as iis:
            job = run(make_job(of(iis)), passwords=GivenPasswords(credentials))
        assert job.state is JobState.ERROR
        assert job.error is not None
        assert job.error.hresult == 0x80190191
        assert "wrong" not in job.error.text.replace("is wrong", "")

    def test_a_password_is_not_sent_in_the_clear_unless_asked_for_by_name(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        """127.0.0.1 is another matter: so the host is called by another name."""
        with FakeIis(challenge=BasicChallenge(ALICE.user, ALICE.password)) as iis:
            url = f"http://files.example.test:{iis.address[1]}/upload/f.bin"
            proxy = f"http://127.0.0.1:{iis.address[1]}"
            job = make_job(url, proxy=proxy)
            done = run(job, passwords=GivenPasswords(ALICE))
            assert done.state is JobState.ERROR
            assert done.error is not None
            assert "https" in done.error.text
            assert not [one for one in iis.requests if "authorization" in one.headers]
            named = replace(job, settings=replace(job.settings, auth="basic"))
            assert run(named, passwords=GivenPasswords(ALICE)).state is JobState.TRANSFERRED

    def test_who_has_no_ticket_is_told_so(
        self, make_job: JobMaker, run: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        pytest.importorskip("requests_gssapi", reason="requests-gssapi is not installed")
        monkeypatch.setenv("KRB5CCNAME", f"FILE:{tmp_path}/none")
        monkeypatch.setenv("KRB5_CONFIG", "/dev/null")
        with FakeIis(challenge=OfTickets()) as iis:
            job = run(make_job(of(iis)))
        assert job.error is not None
        assert job.error.hresult == 0x80190191
        assert "kinit" in job.error.text
        assert "password" not in job.error.text

    def test_nobody_is_asked_for_a_password_that_nobody_wants(
        self, make_job: JobMaker, run: Runner
    ) -> None:
        passwords = GivenPasswords(ALICE, ALICE)
        with FakeIis() as iis:
            run(make_job(of(iis)), passwords=passwords)
        assert passwords.asked == []
