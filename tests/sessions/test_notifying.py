"""What the manager does with a server application, on every store."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server import Durability, NotificationType, NotifyAt, VirtualDirectory
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AccessDenied,
    ApplicationBroken,
    ApplicationFailed,
    ApplicationRefused,
    ApplicationTimedOut,
    EntityVanished,
    MalformedPacket,
    PathNotFound,
    ServiceUnavailable,
    SessionNotFound,
)
from bits_server.protocol.notifications import NotificationRequest, NotificationResponse
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.manager import FragmentOutcome, SessionManager, Uploader
from bits_server.sessions.notifying import Notifier
from bits_server.sessions.turns import Turns
from bits_server.storage.record import NotificationOutcome, SessionRecord
from bits_server.storage.session_folder import FolderSession
from tests.sessions.application import Application
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import (
    FileStage,
    MemoryStage,
    StoreStage,
    nothing_left_behind,
    path_of,
    run_at_once,
)
from tests.support.waiting import wait_until

CONTENT = b"request entity" * 300
URL = "http://bits.test/upload/f.bin?a=1"
COPY = NotificationResponse(200, copies_to_destination=True)
STATIC = "https://files.example.com/reply?x=1"
ANYONE = Uploader(client_address="192.0.2.1")


class Upload:
    """One upload to a virtual directory that has a server application."""

    def __init__(self, stage: StoreStage, observer: RecordingObserver, **settings: Any) -> None:
        self.stage = stage
        self.observer = observer
        self.application = Application()
        self.destination = path_of(settings.pop("destination", "f.bin"))
        self.directory = VirtualDirectory(
            **{
                "url": "/up load",
                "path": "/nowhere",
                "notification_type": NotificationType.BY_VALUE,
                "notification_url": "http://127.0.0.1:9/",
                **settings,
            }
        )
        self.store = stage.another_store(create_folders=self.directory.create_folders)
        self.manager = self.another_manager()
        self.session_id = self.manager.create_session(self.destination, ANYONE, URL)

    def another_manager(self, *, threads: int = 16) -> SessionManager:
        """As a server has it that was started anew."""
        self.turns = Turns(threads, patience=0.0)
        notifier = Notifier(
            self.directory, self.store, self.application, self.turns, self.observer, lambda: 7.5
        )
        return SessionManager(self.directory, self.store, self.observer, notifier=notifier)

    def send(
        self, first: int = 0, body: bytes = CONTENT, total: int = len(CONTENT)
    ) -> FragmentOutcome:
        content_range = ContentRange(first, first + len(body) - 1, total)
        blocks = iter([memoryview(body)] if body else [])
        return self.manager.receive_fragment(
            self.session_id, content_range, self.destination, ANYONE, blocks
        )

    def close(self) -> None:
        self.manager.close_session(self.session_id, self.destination, ANYONE)
        self.stage.kept_closed.add(str(self.session_id))
        self.stage.deleted.add(self.session_id)

    def reply(self, uploader: Uploader = ANYONE) -> bytes:
        with self.manager.open_reply(self.session_id, uploader).file as file:
            return file.read()

    def outcome(self) -> NotificationOutcome:
        with closing(self.store.open(self.session_id)) as session:
            assert session.record.notification is not None
            return session.record.notification

    def refuse(self, status: int) -> None:
        def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
            raise ApplicationRefused(f"it answered {status}", status)

        self.application.answer = answer

    def accept(self, response: NotificationResponse = NotificationResponse(200)) -> None:  # noqa: B008
        self.application.answer = lambda _request, _entity: response


@pytest.fixture
def upload(stage: StoreStage, observer: RecordingObserver) -> Upload:
    return Upload(stage, observer)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileStage]:
    stage = FileStage(tmp_path)
    with nothing_left_behind(stage):
        yield stage


def test_the_application_is_told_when_the_last_byte_is_there_and_once(upload: Upload) -> None:
    upload.send(0, CONTENT[:100])
    assert upload.application.calls == []
    upload.send(100, CONTENT[100:])
    for _ in range(3):
        assert upload.send(100, CONTENT[100:]) == FragmentOutcome(len(CONTENT))
    request = NotificationRequest(str(upload.session_id), URL, entity_length=len(CONTENT))
    assert upload.application.calls == [(request, CONTENT)]
    assert upload.observer.names().count("notified") == 1


def test_the_outcome_is_in_the_record(upload: Upload) -> None:
    upload.accept(COPY)
    upload.application.body = b"reply"
    upload.send()
    assert upload.outcome() == NotificationOutcome(
        attempts=1,
        began=7.5,
        ended=7.5,
        succeeded=True,
        status=200,
        copies_to_destination=True,
        reply_url=f"/up%20load/BITS-Sessions/%7B{str(upload.session_id)[1:-1]}%7D/response",
        has_reply=True,
    )


def test_a_server_that_was_started_anew_repeats_the_outcome(upload: Upload) -> None:
    upload.application.body = b"reply"
    first = upload.send()
    upload.manager = upload.another_manager()
    assert upload.send() == first
    assert first.reply_url is not None
    assert upload.reply() == b"reply"
    assert len(upload.application.calls) == 1


@pytest.mark.parametrize("copies", [True, False])
def test_the_file_is_at_its_destination_only_if_the_application_asked_for_it(
    upload: Upload, copies: bool
) -> None:
    upload.accept(NotificationResponse(200, copies_to_destination=copies))
    upload.send()
    assert upload.stage.files() == {}
    upload.close()
    assert upload.stage.files() == ({"f.bin": CONTENT} if copies else {})
    upload.close()  # repeated
    assert len(upload.application.calls) == 1


def test_an_application_may_take_the_file_away(upload: Upload) -> None:
    upload.send()
    upload.stage.take_entity_away(upload.session_id)
    assert upload.send() == FragmentOutcome(len(CONTENT))
    assert upload.manager.received_length(upload.session_id, upload.destination, ANYONE) == len(
        CONTENT
    )
    upload.close()


def test_what_was_taken_away_cannot_be_copied(upload: Upload) -> None:
    upload.accept(COPY)
    upload.send()
    upload.stage.take_entity_away(upload.session_id)
    with pytest.raises(EntityVanished):
        upload.close()


def test_after_a_failure_the_next_packet_calls_again_with_the_same_words(upload: Upload) -> None:
    upload.refuse(500)
    with pytest.raises(ApplicationRefused):
        upload.send()
    assert upload.outcome() == NotificationOutcome(
        1, 7.5, 7.5, status=500, told_status=500, error="it answered 500"
    )
    with pytest.raises(ApplicationRefused):
        upload.close()
    upload.accept()
    upload.send(0, CONTENT[:5])  # any Fragment
    upload.close()
    assert len(upload.application.calls) == 3
    assert len(set(upload.application.calls)) == 1


def test_a_403_is_final(upload: Upload) -> None:
    upload.refuse(403)
    with pytest.raises(ApplicationRefused):
        upload.send()
    upload.accept()
    for packet in (upload.send, upload.close):
        with pytest.raises(ApplicationRefused) as caught:
            packet()
        assert caught.value.status == 403
    assert len(upload.application.calls) == 1
    upload.manager.cancel_session(upload.session_id, upload.destination, ANYONE)


@pytest.mark.parametrize("kind", [ApplicationTimedOut, ApplicationBroken])
def test_an_application_that_fails_without_an_answer_is_called_again(
    upload: Upload, kind: type[ApplicationFailed]
) -> None:
    def fail(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
        raise kind("as it does")

    upload.application.answer = fail
    with pytest.raises(kind):
        upload.send()
    assert (upload.outcome().status, upload.outcome().told_status) == (None, kind.status)
    upload.accept()
    upload.send()
    assert upload.outcome().attempts == 2
    assert upload.outcome().error is None


@pytest.mark.parametrize("durability", Durability)
def test_the_entity_is_on_the_disk_before_the_application_is_told(
    files: FileStage,
    observer: RecordingObserver,
    durability: Durability,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And so is the record: the entity may be gone when the machine comes back."""
    events: list[str] = []
    make_durable, save = FolderSession.make_durable, FolderSession.save

    def noted_make_durable(session: FolderSession) -> None:
        events.append("durable")
        make_durable(session)

    def noted_save(session: FolderSession, record: SessionRecord, *, lasting: bool = False) -> None:
        if record.is_complete:
            events.append("outcome" if record.notification else "complete")
            assert lasting
        save(session, record, lasting=lasting)

    def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
        events.append("told")
        return NotificationResponse(200)

    monkeypatch.setattr(FolderSession, "make_durable", noted_make_durable)
    monkeypatch.setattr(FolderSession, "save", noted_save)
    upload = Upload(files, observer, durability=durability)
    upload.application.answer = answer
    upload.send()
    told = events.index("told")
    assert ("durable" in events[events.index("complete") : told]) == (
        durability is not Durability.NONE
    )
    assert events[told:] == ["told", "outcome"]


def test_what_an_attempt_that_failed_had_replied_is_not_the_reply_of_the_next(
    files: FileStage, observer: RecordingObserver
) -> None:
    upload = Upload(files, observer, notification_type=NotificationType.BY_REFERENCE)

    def reply_and_fail(request: NotificationRequest, _entity: bytes) -> NotificationResponse:
        assert request.response_path is not None
        Path(request.response_path).write_bytes(b"old")
        raise ApplicationRefused("no", 500)

    upload.application.answer = reply_and_fail
    with pytest.raises(ApplicationRefused):
        upload.send()
    upload.accept()
    assert upload.send().reply_url is None


def test_by_reference_the_paths_are_told_and_the_file_there_is_the_reply(
    files: FileStage, observer: RecordingObserver
) -> None:
    upload = Upload(files, observer, notification_type=NotificationType.BY_REFERENCE)

    def answer(request: NotificationRequest, entity: bytes) -> NotificationResponse:
        assert entity == b""
        assert request.request_path is not None
        assert request.response_path is not None
        assert Path(request.request_path).read_bytes() == CONTENT
        Path(request.response_path).write_bytes(b"")
        return NotificationResponse(204)

    upload.application.answer = answer
    upload.application.body = b"thrown away"
    assert upload.send().reply_url is not None, "an empty file is a reply too"
    assert upload.reply() == b""


def test_by_reference_a_reply_that_is_no_file_is_the_applications_failure(
    files: FileStage, observer: RecordingObserver
) -> None:
    upload = Upload(files, observer, notification_type=NotificationType.BY_REFERENCE)
    folder = files.session_folder(upload.session_id)

    def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
        (folder / "response").symlink_to("/etc/hostname")
        return NotificationResponse(200)

    upload.application.answer = answer
    with pytest.raises(ApplicationBroken):
        upload.send()
    assert (upload.outcome().status, upload.outcome().told_status) == (200, 502)


def test_a_store_without_paths_is_refused_where_it_is_put_together(tmp_path: Path) -> None:
    stage = MemoryStage(tmp_path)
    with pytest.raises(TypeError, match="by reference"):
        Upload(stage, RecordingObserver(), notification_type=NotificationType.BY_REFERENCE)


@pytest.mark.parametrize("body", [b"", b"reply"])
def test_a_static_url_goes_to_the_client_and_any_reply_is_ignored(
    upload: Upload, body: bytes
) -> None:
    upload.accept(NotificationResponse(200, static_response_url=STATIC))
    upload.application.body = body
    assert upload.send().reply_url == STATIC
    with pytest.raises(SessionNotFound):
        upload.reply()
    upload.close()


def test_an_empty_body_is_no_reply(upload: Upload) -> None:
    assert upload.send().reply_url is None
    with pytest.raises(SessionNotFound):
        upload.reply()


def test_the_url_of_a_reply_is_absolute_where_the_settings_know_our_name(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    upload = Upload(stage, observer, public_url="https://files/up/")
    upload.application.body = b"reply"
    url = upload.send().reply_url
    assert url is not None
    assert url.startswith("https://files/up/BITS-Sessions/%7B")


def test_a_reply_is_only_for_whoever_may_go_on_with_the_session(upload: Upload) -> None:
    upload.application.body = b"reply"
    upload.send()
    with pytest.raises(SessionNotFound):
        upload.reply(Uploader("somebody else"))
    upload.close()
    with pytest.raises(SessionNotFound):
        upload.reply()


def test_a_copy_that_may_not_be_is_refused_without_a_second_call(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    stage.put_file("f.bin", b"there before")
    upload = Upload(stage, observer)
    upload.accept(COPY)
    for packet in (upload.send, upload.send, upload.close):
        with pytest.raises(AccessDenied):
            packet()
    stage.remove_file("f.bin")
    upload.send()
    upload.close()
    assert len(upload.application.calls) == 1
    assert stage.files() == {"f.bin": CONTENT}


def test_a_copy_into_a_folder_that_is_missing_is_refused(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    upload = Upload(stage, observer, destination="missing/f.bin")
    upload.accept(COPY)
    for packet in (upload.send, upload.close):
        with pytest.raises(PathNotFound):
            packet()
    upload.manager.cancel_session(upload.session_id, upload.destination, ANYONE)


def test_many_may_upload_to_one_url_that_is_taken(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    stage.put_file("f.bin", b"there before")
    for _ in range(3):
        upload = Upload(stage, observer)
        upload.send()
        upload.close()
    assert stage.files() == {"f.bin": b"there before"}


def test_a_destination_that_is_a_folder_is_refused_at_once(
    stage: StoreStage, observer: RecordingObserver
) -> None:
    stage.put_folder("f.bin")
    with pytest.raises(MalformedPacket):
        Upload(stage, observer)


def test_a_query_string_that_makes_the_url_too_long_is_refused_at_once(upload: Upload) -> None:
    base = len(upload.directory.notification_url) + 1
    upload.manager.create_session(upload.destination, ANYONE, "http://h/?" + "x" * (2200 - base))
    with pytest.raises(MalformedPacket):
        upload.manager.create_session(
            upload.destination, ANYONE, "http://h/?" + "x" * (2201 - base)
        )


class TestAtClose:
    """``notify_at = "close"``, and whoever comes to Close-Session without having been told."""

    @pytest.fixture
    def late(self, stage: StoreStage, observer: RecordingObserver) -> Upload:
        return Upload(stage, observer, notify_at=NotifyAt.CLOSE)

    def test_the_application_is_told_before_the_ack_of_close(self, late: Upload) -> None:
        late.accept(COPY)
        late.application.body = b"too late"
        assert late.send() == FragmentOutcome(len(CONTENT))
        assert late.application.calls == []
        late.close()
        late.close()
        assert len(late.application.calls) == 1
        assert late.stage.files() == {"f.bin": CONTENT}

    def test_a_failure_keeps_the_session(self, late: Upload) -> None:
        late.send()
        late.refuse(500)
        for _ in range(2):
            with pytest.raises(ApplicationRefused):
                late.close()
        late.accept()
        late.close()
        assert len(late.application.calls) == 3

    def test_an_incomplete_upload_is_nobodys_business(self, upload: Upload) -> None:
        upload.send(0, CONTENT[:5])
        upload.close()
        assert upload.application.calls == []
        assert upload.stage.files() == {}

    @pytest.mark.parametrize("copies", [True, False])
    def test_without_a_fragment_it_is_told_of_the_empty_entity(
        self, upload: Upload, copies: bool
    ) -> None:
        upload.accept(NotificationResponse(200, copies_to_destination=copies))
        upload.application.body = b"too late"
        upload.close()
        request = NotificationRequest(str(upload.session_id), URL)
        assert upload.application.calls == [(request, b"")]
        assert upload.stage.files() == ({"f.bin": b""} if copies else {})

    def test_without_a_fragment_what_is_there_stays(
        self, stage: StoreStage, observer: RecordingObserver
    ) -> None:
        stage.put_file("f.bin", b"there before")
        upload = Upload(stage, observer)
        upload.refuse(503)
        with pytest.raises(ApplicationRefused):
            upload.close()
        upload.accept(COPY)
        upload.close()
        assert stage.files() == {"f.bin": b"there before"}

    def test_who_died_before_it_could_be_told_is_told_of_now(self, upload: Upload) -> None:
        """The last byte was written, the record does not say so yet."""
        with closing(upload.store.open(upload.session_id)) as session:
            with session.locked():
                session.save(replace(session.record, total=len(CONTENT)))
            session.append(CONTENT, 0)
        upload.close()
        assert [entity for _, entity in upload.application.calls] == [CONTENT]

    def test_a_setting_that_changed_does_not_undo_what_the_application_was_given(
        self, upload: Upload
    ) -> None:
        upload.send()
        upload.manager = SessionManager(upload.directory, upload.store, upload.observer)
        upload.close()
        assert upload.stage.files() == {}


class TestTwoAtOnce:
    @pytest.mark.parametrize("status", [200, 404])
    def test_two_that_bring_the_last_fragment_notify_once_and_hear_the_same(
        self, upload: Upload, status: int
    ) -> None:
        first_is_in = threading.Event()
        heard: list[str | int | None] = []

        def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
            first_is_in.set()
            wait_until(lambda: upload.turns._places._value == 16 // 2 - 2)
            if status != 200:
                raise ApplicationRefused("no", status)
            return NotificationResponse(200, static_response_url=STATIC)

        def second() -> None:
            assert first_is_in.wait(10)
            send()

        def send() -> None:
            try:
                heard.append(upload.send().reply_url)
            except ApplicationRefused as error:
                heard.append(error.status)

        upload.application.answer = answer
        run_at_once(send, second)
        assert heard == [STATIC if status == 200 else status] * 2
        assert len(upload.application.calls) == 1

    def test_a_cancel_while_the_application_works_wins(self, upload: Upload) -> None:
        def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
            upload.manager.cancel_session(upload.session_id, upload.destination, ANYONE)
            return NotificationResponse(200)

        upload.application.answer = answer
        with pytest.raises(SessionNotFound):
            upload.send()

    def test_who_finds_no_turn_is_told_to_come_again_and_nothing_is_lost(
        self, upload: Upload
    ) -> None:
        manager = upload.manager = upload.another_manager(threads=1)
        other = Upload(upload.stage, upload.observer)
        other.manager = manager

        def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
            with pytest.raises(ServiceUnavailable):
                other.send()
            return NotificationResponse(200)

        upload.application.answer = answer
        upload.send()
        upload.accept()
        assert other.send() == FragmentOutcome(len(CONTENT))


def test_an_unknown_session_has_no_reply(upload: Upload) -> None:
    with pytest.raises(SessionNotFound):
        upload.manager.open_reply(SessionId.parse("{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"), ANYONE)
