"""What the server does with each packet, on every store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from bits_server import VirtualDirectory
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AccessDenied,
    BitsError,
    EntityTooLarge,
    EntityVanished,
    FragmentOutOfOrder,
    FragmentTooLarge,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.sessions.manager import SessionManager, Uploader
from bits_server.settings import Durability
from bits_server.storage.interface import StoredSession
from bits_server.storage.record import ClosedRecord
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import StoreStage, path_of, run_at_once

CONTENT = bytes(range(256)) * 4
DESTINATION = path_of("f.bin")
ANYONE = Uploader(client_address="192.0.2.1")
NOW = 1_700_000_000.25


class Upload:
    """One client's upload through a manager; what it closes is accounted for on the stage."""

    def __init__(self, stage: StoreStage, observer: RecordingObserver, **settings: Any) -> None:
        self._stage = stage
        directory = VirtualDirectory(**{"url": "/upload", "path": "/nowhere", **settings})
        store = stage.another_store(create_folders=directory.create_folders)
        self.manager = SessionManager(directory, store, observer)
        self.uploader = ANYONE
        self.destination = DESTINATION
        self.session_id = SessionId.parse("{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}")
        self.is_here = False  # the bytes of its Fragments: they need not be waited for

    def create(self) -> SessionId:
        self.session_id = self.manager.create_session(self.destination, self.uploader)
        return self.session_id

    def send(self, first: int, body: bytes, total: int = len(CONTENT)) -> int:
        return self.send_blocks(first, body, iter([memoryview(body)] if body else []), total)

    def send_blocks(
        self, first: int, body: bytes, blocks: Iterator[memoryview], total: int = len(CONTENT)
    ) -> int:
        content_range = ContentRange(first, first + len(body) - 1, total)
        outcome = self.manager.receive_fragment(
            self.session_id,
            content_range,
            self.destination,
            self.uploader,
            blocks,
            is_here=self.is_here,
        )
        assert outcome.reply_url is None, "nobody is there who would reply"
        return outcome.received_length

    def close(self) -> None:
        self._stage.kept_closed.add(str(self.session_id))
        self.manager.close_session(self.session_id, self.destination, self.uploader)
        self._stage.deleted.add(self.session_id)

    def cancel(self) -> None:
        self.manager.cancel_session(self.session_id, self.destination, self.uploader)
        self._stage.deleted.add(self.session_id)

    def received_length(self) -> int:
        return self.manager.received_length(self.session_id, self.destination, self.uploader)

    def state(self) -> SessionState:
        with self._stage.open(self.session_id) as session:
            return session.record.state


UploadMaker = Callable[..., Upload]


@pytest.fixture(params=[False, True], ids=["awaited", "here"])
def make_upload(
    stage: StoreStage, observer: RecordingObserver, request: pytest.FixtureRequest
) -> UploadMaker:
    """An upload to a virtual directory with these settings."""

    def make(**settings: Any) -> Upload:
        upload = Upload(stage, observer, **settings)
        upload.is_here = request.param
        return upload

    return make


@pytest.fixture
def upload(make_upload: UploadMaker) -> Upload:
    upload = make_upload()
    upload.create()
    return upload


# Create-Session


def test_a_session_knows_who_made_it_and_what_for(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    directory = VirtualDirectory(url="/upload", path="/nowhere")
    manager = SessionManager(directory, stage.store, observer, clock=lambda: NOW)
    uploader = Uploader(user="someone", client_address="192.0.2.7")
    session_id = manager.create_session(path_of("a b.bin"), uploader)
    with stage.open(session_id) as session:
        record = session.record
    assert record.session_id == session_id
    assert (record.destination, record.owner) == ("a b.bin", "someone")
    assert (record.client_address, record.created) == ("192.0.2.7", NOW)
    assert record.state is SessionState.OPENED
    assert observer.events == [("session_created", "/upload", str(session_id))]


def test_each_session_has_an_id_of_its_own(upload: Upload) -> None:
    assert len({upload.create() for _ in range(50)}) == 50


def test_what_would_refuse_the_upload_at_its_end_refuses_it_at_once(
    make_upload: UploadMaker, stage: StoreStage, observer: RecordingObserver
) -> None:
    stage.put_file("taken.bin", b"old")
    stage.put_folder("folder")
    refusals: dict[str, type[BitsError]] = {
        "taken.bin": AccessDenied,
        "folder": MalformedPacket,
        "missing/f.bin": PathNotFound,
        "taken.bin/f.bin": PathNotFound,
        "BITS-Sessions/f.bin": MalformedPacket,
    }
    upload = make_upload()
    for destination, refusal in refusals.items():
        upload.destination = path_of(destination)
        with pytest.raises(refusal):
            upload.create()
    assert list(stage.store.session_ids()) == []
    assert observer.events == []


def test_settings_allow_what_is_refused_otherwise(
    make_upload: UploadMaker, stage: StoreStage
) -> None:
    stage.put_file("taken.bin", b"old")
    upload = make_upload(allow_overwrites=True, create_folders=True)
    for destination in ("taken.bin", "missing/f.bin"):
        upload.destination = path_of(destination)
        upload.create()
        upload.send(0, CONTENT)
        upload.close()
    assert stage.files() == {"taken.bin": CONTENT, "missing/f.bin": CONTENT}


# Fragment


def test_each_fragment_is_answered_with_the_next_expected_byte(
    upload: Upload, observer: RecordingObserver
) -> None:
    guid = str(upload.session_id)
    assert upload.send(0, CONTENT[:100]) == 100
    assert upload.state() is SessionState.RECEIVING
    assert upload.send(100, CONTENT[100:]) == len(CONTENT)
    assert upload.state() is SessionState.COMPLETE
    assert observer.events[1:] == [
        ("fragment_received", "/upload", guid, "bytes 0-99/1024", "100"),
        ("fragment_received", "/upload", guid, "bytes 100-1023/1024", "1024"),
    ]


def test_a_fragment_comes_in_any_number_of_blocks(upload: Upload, stage: StoreStage) -> None:
    blocks = (memoryview(CONTENT)[at : at + 7] for at in range(0, len(CONTENT), 7))
    assert upload.send_blocks(0, CONTENT, blocks) == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_bytes_that_came_before_the_body_broke_stay(upload: Upload, stage: StoreStage) -> None:
    def broken() -> Iterator[memoryview]:
        yield memoryview(CONTENT)[:10]
        yield memoryview(CONTENT)[10:25]
        raise MalformedPacket("the body ended early")

    with pytest.raises(MalformedPacket):
        upload.send_blocks(0, CONTENT, broken())
    assert upload.received_length() == 25
    assert upload.send(25, CONTENT[25:]) == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_a_body_that_breaks_after_its_last_byte_does_not_make_it_complete(
    upload: Upload, stage: StoreStage
) -> None:
    def too_long() -> Iterator[memoryview]:
        yield memoryview(CONTENT)
        raise MalformedPacket("the body is longer than its range")

    with pytest.raises(MalformedPacket):
        upload.send_blocks(0, CONTENT, too_long())
    assert upload.state() is SessionState.RECEIVING
    assert upload.received_length() == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}, "every byte is there: Close-Session publishes"


def test_bytes_whose_length_a_crash_lost_are_no_file(upload: Upload, stage: StoreStage) -> None:
    """Neither that file nor an empty one is made of them, and the upload may go on."""
    with stage.open(upload.session_id) as session, session.locked():
        session.write(CONTENT, 0)
    assert upload.received_length() == len(CONTENT)
    upload.close()
    assert stage.files() == {}


def test_an_upload_goes_on_after_a_crash_lost_its_length(upload: Upload, stage: StoreStage) -> None:
    with stage.open(upload.session_id) as session, session.locked():
        session.write(CONTENT[:100], 0)
    assert upload.send(0, CONTENT) == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_session_ids_come_from_the_operating_system(
    upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever knows some of them cannot know the next."""
    monkeypatch.setattr("os.urandom", lambda size: bytes(range(size)))
    assert str(upload.create()) == "{00010203-0405-4607-8809-0A0B0C0D0E0F}"


@pytest.mark.parametrize("first", [0, 40, 99])
def test_an_overlap_is_skipped_and_never_rewritten(
    upload: Upload, stage: StoreStage, first: int
) -> None:
    upload.send(0, CONTENT[:100])
    wrong = b"\xff" * (100 - first) + CONTENT[100:200]
    assert upload.send(first, wrong) == 200
    upload.send(200, CONTENT[200:])
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_a_gap_is_refused_before_its_body_is_read(upload: Upload) -> None:
    upload.send(0, CONTENT[:100])
    blocks = iter([memoryview(CONTENT)[101:]])
    with pytest.raises(FragmentOutOfOrder):
        upload.send_blocks(101, CONTENT[101:], blocks)
    assert upload.received_length() == 100
    assert next(blocks, None) is not None, "its body was read"


def test_a_gap_at_the_start_settles_nothing(upload: Upload) -> None:
    with pytest.raises(FragmentOutOfOrder):
        upload.send(10, b"x" * 10, total=50)
    assert upload.state() is SessionState.OPENED
    assert upload.send(0, CONTENT) == len(CONTENT), "the total was still free"


def test_the_first_fragment_settles_the_length_of_the_file(upload: Upload) -> None:
    upload.send(0, CONTENT[:10])
    with pytest.raises(MalformedPacket):
        upload.send(10, CONTENT[10:], total=len(CONTENT) + 1)
    assert upload.received_length() == 10
    assert upload.send(10, CONTENT[10:]) == len(CONTENT)


def test_two_first_fragments_at_once_settle_one_length(stage: StoreStage, upload: Upload) -> None:
    outcomes: list[int | str] = []

    def send(total: int) -> None:
        try:
            outcomes.append(upload.send(0, b"x", total=total))
        except MalformedPacket:
            outcomes.append("refused")

    run_at_once(*(lambda total=total: send(total) for total in range(2, 10)))
    with stage.open(upload.session_id) as session:
        assert session.record.total in range(2, 10)
        assert session.received_length() == 1
    assert sorted(map(str, outcomes)) == ["1", *["refused"] * 7]


def test_what_is_too_large_is_refused_before_a_byte_is_kept(
    make_upload: UploadMaker, stage: StoreStage
) -> None:
    upload = make_upload(maximum_upload_size=10_000, maximum_fragment_size=5_120)
    upload.create()
    with pytest.raises(EntityTooLarge):
        upload.send(0, b"x" * 10, total=10_001)
    with pytest.raises(EntityTooLarge):
        upload.send(0, b"x" * 6_000, total=10_001)
    with pytest.raises(FragmentTooLarge):
        upload.send(0, b"x" * 5_121, total=10_000)
    assert upload.state() is SessionState.OPENED
    assert upload.send(0, b"x" * 5_120, total=10_000) == 5_120
    assert upload.send(5_120, b"x" * 4_880, total=10_000) == 10_000
    upload.close()
    assert stage.files() == {"f.bin": b"x" * 10_000}


def test_the_empty_file_is_complete_with_its_one_fragment(
    upload: Upload, stage: StoreStage
) -> None:
    assert upload.send(0, b"", total=0) == 0
    assert upload.state() is SessionState.COMPLETE
    assert upload.send(0, b"", total=0) == 0
    upload.close()
    assert stage.files() == {"f.bin": b""}


def test_after_the_last_fragment_any_of_them_may_come_again(
    upload: Upload, stage: StoreStage
) -> None:
    upload.send(0, CONTENT)
    blocks = iter([memoryview(b"\xff" * 50), memoryview(b"\xff" * 50)])
    assert upload.send_blocks(0, CONTENT[:100], blocks) == len(CONTENT)
    assert next(blocks, None) is None, "its body was read to the end"
    assert upload.send(1_000, b"\xff" * 24) == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_a_destination_that_appears_meanwhile_refuses_the_last_fragment_only(
    upload: Upload, stage: StoreStage
) -> None:
    stage.put_file("f.bin", b"of somebody else")
    assert upload.send(0, CONTENT[:100]) == 100
    for _ in range(2):
        with pytest.raises(AccessDenied):
            upload.send(100, CONTENT[100:])
    assert upload.received_length() == len(CONTENT)
    with pytest.raises(AccessDenied):
        upload.close()
    assert stage.files() == {"f.bin": b"of somebody else"}
    stage.remove_file("f.bin")
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


@pytest.mark.parametrize("durability", Durability)
def test_bytes_are_durable_before_each_ack_where_the_settings_say_so(
    make_upload: UploadMaker, durability: Durability, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = make_upload(durability=durability)
    upload.create()
    seen: list[int] = []
    with closing(_store_of(upload).open(upload.session_id)) as session:
        kind = type(session)
    monkeypatch.setattr(kind, "make_durable", lambda self: seen.append(self.received_length()))
    upload.send(0, CONTENT[:100])
    upload.received_length()
    upload.send(100, CONTENT[100:])
    upload.send(100, CONTENT[100:])
    expected = {
        Durability.NONE: [],
        Durability.CLOSE: [len(CONTENT)],  # before the record says complete
        Durability.FRAGMENT: [100, 100, len(CONTENT)],
    }
    assert seen == expected[durability]


# Close-Session


def test_a_complete_file_gets_its_name_and_the_session_goes(
    upload: Upload, stage: StoreStage, observer: RecordingObserver
) -> None:
    upload.send(0, CONTENT)
    assert stage.files() == {}
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}
    assert list(stage.store.session_ids()) == []
    assert observer.events[-1] == (
        "closed",
        "/upload",
        str(upload.session_id),
        "put the request entity at the destination",
    )


def test_an_incomplete_file_is_deleted(
    upload: Upload, stage: StoreStage, observer: RecordingObserver
) -> None:
    upload.send(0, CONTENT[:-1])
    upload.close()
    assert stage.files() == {}
    assert list(stage.store.session_ids()) == []
    assert observer.events[-1][-1] == "delete the partial upload"


def test_without_any_fragment_an_empty_file_is_made(upload: Upload, stage: StoreStage) -> None:
    upload.close()
    assert stage.files() == {"f.bin": b""}


@pytest.mark.parametrize("allow_overwrites", [False, True])
def test_without_any_fragment_nothing_is_overwritten(
    make_upload: UploadMaker,
    stage: StoreStage,
    observer: RecordingObserver,
    allow_overwrites: bool,
) -> None:
    upload = make_upload(allow_overwrites=allow_overwrites)
    upload.create()
    stage.put_file("f.bin", b"of somebody else")
    upload.close()
    assert stage.files() == {"f.bin": b"of somebody else"}
    assert observer.events[-1][-1].startswith("no Fragment came")


@pytest.mark.parametrize("sent", [None, 10, len(CONTENT)])
def test_a_repeated_close_does_nothing_and_succeeds(
    upload: Upload, stage: StoreStage, observer: RecordingObserver, sent: int | None
) -> None:
    if sent is not None:
        upload.send(0, CONTENT[:sent])
    upload.close()
    before = stage.files()
    stage.put_file("f.bin", b"of somebody else, later")
    upload.close()
    upload.close()
    assert stage.files() == {**before, "f.bin": b"of somebody else, later"}
    assert observer.names().count("closed") == 1


def test_a_close_is_repeated_for_an_hour_only(upload: Upload, stage: StoreStage) -> None:
    upload.send(0, CONTENT)
    with stage.open(upload.session_id) as session:
        record = session.record
        stage.delete(
            session,
            ClosedRecord(record.guid, record.destination, record.owner, time.time() - 3_601),
        )
    with pytest.raises(SessionNotFound):
        upload.close()


def test_two_closes_at_once_publish_once_and_both_succeed(
    upload: Upload, stage: StoreStage, observer: RecordingObserver
) -> None:
    upload.send(0, CONTENT)
    run_at_once(*[upload.close] * 4)
    assert stage.files() == {"f.bin": CONTENT}
    assert observer.names().count("closed") == 1


@pytest.mark.parametrize("is_published", [False, True])
def test_a_close_that_was_interrupted_is_finished_by_the_next(
    upload: Upload, stage: StoreStage, monkeypatch: pytest.MonkeyPatch, is_published: bool
) -> None:
    upload.send(0, CONTENT)
    with stage.open(upload.session_id) as session:
        kind = type(session)
    step = "delete" if is_published else "publish"
    with monkeypatch.context() as patch:
        patch.setattr(kind, step, _interrupted)
        with pytest.raises(OSError, match="interrupted"):
            upload.close()
    assert stage.files() == ({"f.bin": CONTENT} if is_published else {})
    if is_published:
        assert upload.state() is SessionState.COMPLETE
    assert upload.received_length() == len(CONTENT)
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}
    assert list(stage.store.session_ids()) == []


def test_a_close_that_left_its_record_and_the_session_is_finished(
    stage: StoreStage, upload: Upload, observer: RecordingObserver, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload.send(0, CONTENT)
    with stage.open(upload.session_id) as session:
        record = session.record
    kept = ClosedRecord(record.guid, record.destination, record.owner, time.time())
    store = _store_of(upload)
    monkeypatch.setattr(store, "closed_record", lambda session_id: kept if session_id else None)
    upload.close()
    assert list(stage.store.session_ids()) == []
    assert stage.files() == {}, "what the first Close put there may have been taken away since"
    assert "interrupted" in observer.events[-1][-1]


def test_what_came_after_an_interrupted_close_is_published_by_the_next(
    stage: StoreStage, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first Close was of a part, and died when its record was kept; the client went on."""
    upload.send(0, CONTENT[:10])
    with stage.open(upload.session_id) as session:
        record = session.record
    kept = ClosedRecord(record.guid, record.destination, record.owner, time.time() - 60)
    monkeypatch.setattr(_store_of(upload), "closed_record", lambda _: kept)
    upload.send(10, CONTENT[10:])
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


@pytest.mark.parametrize("problem", ["entity", "folder"])
def test_a_close_that_is_refused_keeps_the_session(
    make_upload: UploadMaker, stage: StoreStage, problem: str
) -> None:
    upload = make_upload(create_folders=False)
    stage.put_folder("a")
    upload.destination = path_of("a/f.bin")
    upload.create()
    upload.send(0, CONTENT)
    if problem == "entity":
        stage.take_entity_away(upload.session_id)
        with pytest.raises(EntityVanished):
            upload.close()
    else:
        with stage.open(upload.session_id) as session, session.locked():
            session.save(replace(session.record, destination="gone/f.bin"))
        upload.destination = path_of("gone/f.bin")
        with pytest.raises(PathNotFound):
            upload.close()
    assert upload.received_length() == len(CONTENT)
    assert stage.store.closed_record(upload.session_id) is None
    upload.cancel()


# Cancel-Session


@pytest.mark.parametrize("sent", [None, 10, len(CONTENT)])
def test_a_cancelled_session_leaves_nothing(
    upload: Upload, stage: StoreStage, observer: RecordingObserver, sent: int | None
) -> None:
    if sent is not None:
        upload.send(0, CONTENT[:sent])
    upload.cancel()
    assert stage.files() == {}
    assert list(stage.store.session_ids()) == []
    assert list(stage.store.leftovers()) == []
    assert observer.names()[-1] == "cancelled"
    for again in (upload.cancel, upload.close, upload.received_length):
        with pytest.raises(SessionNotFound):
            again()


def test_a_cancel_in_the_middle_of_a_fragment_ends_it(upload: Upload, stage: StoreStage) -> None:
    upload.is_here = False

    def cancelled() -> Iterator[memoryview]:
        yield memoryview(CONTENT)[:100]
        upload.cancel()
        yield memoryview(CONTENT)[100:]

    with pytest.raises(SessionNotFound):
        upload.send_blocks(0, CONTENT, cancelled())
    assert stage.files() == {}
    assert list(stage.store.session_ids()) == []


@pytest.mark.parametrize("first", [0, 50])
def test_a_cancel_just_before_a_fragment_is_read_is_no_gap(
    upload: Upload, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    upload.is_here = False
    upload.send(0, CONTENT[:100])
    store = _store_of(upload)
    real_open = store.open

    def late(session_id: SessionId) -> StoredSession:
        session: StoredSession = real_open(session_id)
        monkeypatch.undo()
        upload.cancel()
        return session

    monkeypatch.setattr(store, "open", late)
    with pytest.raises(SessionNotFound):
        upload.send(first, CONTENT[first:])


# strangers


@pytest.mark.parametrize("change", ["user", "destination"])
def test_nobody_else_goes_on_with_a_session(
    make_upload: UploadMaker, stage: StoreStage, change: str
) -> None:
    upload = make_upload()
    upload.uploader = Uploader(user="owner")
    upload.create()
    upload.send(0, CONTENT[:100])
    stranger = make_upload()
    stranger.session_id = upload.session_id
    stranger.uploader = Uploader(user="stranger" if change == "user" else "owner")
    stranger.destination = path_of("f.bin" if change == "user" else "F.bin")
    for packet in (
        lambda: stranger.send(100, CONTENT[100:]),
        stranger.received_length,
        stranger.cancel,
        lambda: stranger.manager.close_session(
            stranger.session_id, stranger.destination, stranger.uploader
        ),
    ):
        with pytest.raises(SessionNotFound):
            packet()
    upload.send(100, CONTENT[100:])
    upload.close()
    with pytest.raises(SessionNotFound):
        stranger.close()
    assert stage.files() == {"f.bin": CONTENT}


def test_the_owner_may_come_from_another_address(upload: Upload, stage: StoreStage) -> None:
    upload.send(0, CONTENT[:100])
    upload.uploader = Uploader(client_address="198.51.100.3")
    upload.send(100, CONTENT[100:])
    upload.close()
    assert stage.files() == {"f.bin": CONTENT}


def _store_of(upload: Upload) -> Any:
    return upload.manager._store


def _interrupted(*_arguments: Any, **_options: Any) -> None:
    raise OSError("interrupted")
