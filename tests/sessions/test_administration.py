"""What an operator does with sessions, on every store."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bits_server import NotificationType, NotifyAt, VirtualDirectory
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import (
    AccessDenied,
    ApplicationRefused,
    EntityVanished,
    SessionNotFound,
)
from bits_server.protocol.notifications import NotificationRequest, NotificationResponse
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.administration import Administration, NotPossible
from bits_server.sessions.cleanup import Cleanup
from bits_server.sessions.manager import SessionManager, Uploader
from bits_server.sessions.notifying import Notifier
from bits_server.sessions.turns import Turns
from bits_server.storage.interface import LeftoverKind, SessionBroken
from tests.sessions.application import Application, accept
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import (
    FileStage,
    StoreStage,
    closed_record_of,
    nothing_left_behind,
    path_of,
)

CONTENT = b"request entity" * 300
DAY = 86_400


@pytest.fixture
def application() -> Application:
    return Application()


def _directory(**settings: Any) -> VirtualDirectory:
    kind = settings.pop("notification_type", NotificationType.BY_VALUE)
    url = "http://127.0.0.1:9/"
    return VirtualDirectory(
        "/upload", "/nowhere", notification_type=kind, notification_url=url, **settings
    )


def _administration(
    stage: StoreStage, application: Application | None = None, **settings: Any
) -> Administration:
    """As another process has it."""
    directory, store = _directory(**settings), stage.another_store()
    if application is None:
        return Administration(directory, store, None)
    notifier = Notifier(directory, store, application, Turns(1), None)
    return Administration(directory, store, notifier)


def _manager(stage: StoreStage, application: Application, **settings: Any) -> SessionManager:
    """As the running server has it."""
    directory, observer = _directory(**settings), RecordingObserver()
    notifier = Notifier(directory, stage.store, application, Turns(16), observer)
    return SessionManager(directory, stage.store, observer, notifier=notifier)


def _repeat_last_fragment(manager: SessionManager, session_id: SessionId) -> str | None:
    content_range = ContentRange(0, len(CONTENT) - 1, len(CONTENT))
    blocks = iter([memoryview(CONTENT)])
    destination = path_of("f.bin")
    return manager.receive_fragment(
        session_id, content_range, destination, Uploader(), blocks
    ).reply_url


def _refuse(status: int) -> Any:
    def answer(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
        raise ApplicationRefused(f"it answered {status}", status)

    return answer


# look_at, look_at_all


def test_every_session_is_looked_at_with_what_has_come_of_it(stage: StoreStage) -> None:
    opened, complete = stage.create("a/f.bin"), stage.create_complete(CONTENT, "g.bin")
    with stage.open(opened) as session:
        session.append(b"abc", 0)
    found = {each.session_id: each for each in _administration(stage).look_at_all()}
    assert set(found) == {opened, complete}
    assert found[opened].received_length == 3
    assert found[complete].received_length == len(CONTENT)
    assert [each.record and each.record.destination for each in found.values()].count("g.bin") == 1
    assert found[opened].last_progress == pytest.approx(time.time(), abs=5)
    assert found[opened] == _administration(stage).look_at(opened)


def test_a_wreck_is_among_them_and_says_what_is_wrong(stage: StoreStage) -> None:
    wreck, good = stage.create(), stage.create()
    stage.break_record(wreck)
    found = {each.session_id: each for each in _administration(stage).look_at_all()}
    assert found[wreck].record is None
    assert found[wreck].problem
    assert found[good].problem == ""
    with pytest.raises(SessionBroken):
        _administration(stage).look_at(wreck)
    stage.store.remove_wreck(wreck)


def test_only_those_idle_for_long_enough_are_looked_at(stage: StoreStage) -> None:
    old, young = stage.create(), stage.create()
    stage.age(old, 2 * DAY)
    found = _administration(stage).look_at_all(idle_since=time.time() - DAY)
    assert [each.session_id for each in found] == [old]
    assert young in set(stage.store.session_ids())


def test_a_session_that_ends_while_they_are_listed_is_left_out(stage: StoreStage) -> None:
    both = {stage.create(), stage.create()}
    listing = _administration(stage).look_at_all()
    first = next(listing)
    (other,) = both - {first.session_id}
    with stage.open(other) as session:
        stage.delete(session)
    assert list(listing) == []


def test_the_listing_keeps_no_session_open(stage: StoreStage) -> None:
    for number in range(20):
        stage.create(f"{number}.bin")
    for facts in _administration(stage).look_at_all():
        with stage.open(facts.session_id) as session, session.locked():
            pass  # would wait for ever if the listing had it


def test_a_closed_session_is_known_for_a_while(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session:
        stage.delete(session, closed_record_of(session.record))
    closed = _administration(stage).closed_record(session_id)
    assert closed is not None
    assert closed.destination == "f.bin"


# cancel, extend


def test_a_cancelled_session_is_gone_for_the_server_too(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    stage.deleted.add(session_id)
    assert _administration(stage).cancel(session_id).destination == "f.bin"
    with pytest.raises(SessionNotFound):
        stage.store.open(session_id)
    with pytest.raises(SessionNotFound):
        _administration(stage).cancel(session_id)
    assert stage.leftovers(LeftoverKind.DEBRIS) == []


def test_cancel_ends_a_session_that_the_server_has_open(stage: StoreStage) -> None:
    session_id = stage.create()
    with stage.open(session_id) as session:
        session.append(b"abc", 0)
        _administration(stage).cancel(session_id)
        with pytest.raises(SessionNotFound):
            session.append(b"def", 3)
    stage.deleted.add(session_id)


def test_the_cleanup_leaves_an_extended_session(stage: StoreStage) -> None:
    extended, other = stage.create("a.bin"), stage.create("b.bin")
    for session_id in (extended, other):
        stage.age(session_id, 15 * DAY)
    assert _administration(stage).extend(extended).destination == "a.bin"
    report = Cleanup("/upload", stage.store, None, session_timeout=14 * DAY).run()
    assert report is not None
    assert [record.session_id for record in report.removed] == [other]
    assert list(stage.store.session_ids()) == [extended]
    stage.deleted.add(other)


# notify


def test_a_success_is_told_of_again_and_the_new_reply_counts(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    manager = _manager(stage, application)
    assert _repeat_last_fragment(manager, session_id) is None
    application.body = b"reply"
    outcome = _administration(stage, application).notify(session_id)
    assert (outcome.succeeded, outcome.attempts, outcome.has_reply) == (True, 2, True)
    assert [request.session_id for request, _ in application.calls] == [str(session_id)] * 2
    assert application.calls[0] == application.calls[1]
    # The server hears of it, and does not call once more.
    assert _repeat_last_fragment(manager, session_id) == outcome.reply_url
    with manager.open_reply(session_id, Uploader()).file as file:
        assert file.read() == b"reply"
    assert len(application.calls) == 2


def test_a_final_403_is_not_final_for_an_operator(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    manager = _manager(stage, application)
    application.answer = _refuse(403)
    with pytest.raises(ApplicationRefused):
        _repeat_last_fragment(manager, session_id)
    with pytest.raises(ApplicationRefused):
        _repeat_last_fragment(manager, session_id)
    assert len(application.calls) == 1
    application.answer = accept
    assert _administration(stage, application).notify(session_id).succeeded
    assert _repeat_last_fragment(manager, session_id) is None
    assert len(application.calls) == 2


def test_a_failure_is_kept_and_told_to_the_client(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    manager = _manager(stage, application)
    _repeat_last_fragment(manager, session_id)
    application.answer = _refuse(403)
    with pytest.raises(ApplicationRefused, match="it answered 403"):
        _administration(stage, application).notify(session_id)
    with pytest.raises(ApplicationRefused):
        _repeat_last_fragment(manager, session_id)
    assert len(application.calls) == 2


def test_an_upload_whose_last_fragment_died_after_its_last_byte_is_complete(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session, session.locked():
        session.save(replace(session.record, is_complete=False))
    assert _administration(stage, application).notify(session_id).succeeded
    with stage.open(session_id) as session:
        assert session.record.is_complete


def test_with_notify_at_close_there_is_no_reply(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    application.body = b"reply"
    administration = _administration(stage, application, notify_at=NotifyAt.CLOSE)
    outcome = administration.notify(session_id)
    assert outcome.succeeded
    assert outcome.reply_url is None


@pytest.mark.parametrize("received", [0, 2])
def test_an_incomplete_upload_is_nobody_s_business(
    stage: StoreStage, application: Application, received: int
) -> None:
    session_id = stage.create()
    if received:
        with stage.open(session_id) as session, session.locked():
            session.save(replace(session.record, total=5))
        with stage.open(session_id) as session:
            session.append(b"ab", 0)
    expected = "2 of 5 bytes" if received else "no Fragment"
    with pytest.raises(NotPossible, match=expected):
        _administration(stage, application).notify(session_id)
    assert application.calls == []


def test_without_an_application_nobody_can_be_notified(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with pytest.raises(NotPossible, match="notification_type is none"):
        _administration(stage, notification_type=NotificationType.NONE).notify(session_id)


def test_a_session_that_does_not_exist_cannot_be_notified(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create()
    with stage.open(session_id) as session:
        stage.delete(session)
    with pytest.raises(SessionNotFound):
        _administration(stage, application).notify(session_id)


@pytest.mark.parametrize("kind", [NotificationType.BY_VALUE, NotificationType.BY_REFERENCE])
def test_an_entity_that_the_application_took_away_is_told_of_no_more(
    tmp_path: Path, application: Application, kind: NotificationType
) -> None:
    with nothing_left_behind(FileStage(tmp_path)) as stage:
        session_id = stage.create_complete(CONTENT)
        stage.take_entity_away(session_id)
        with pytest.raises(EntityVanished):
            _administration(stage, application, notification_type=kind).notify(session_id)
        assert application.calls == []


def test_a_copy_that_an_operator_s_call_asks_for_is_checked_at_close(
    stage: StoreStage, application: Application
) -> None:
    session_id = stage.create_complete(CONTENT)
    manager = _manager(stage, application)
    _repeat_last_fragment(manager, session_id)
    stage.put_file("f.bin", b"in the way")
    application.answer = lambda *_: NotificationResponse(200, copies_to_destination=True)
    assert _administration(stage, application).notify(session_id).copies_to_destination
    with pytest.raises(AccessDenied):
        manager.close_session(session_id, path_of("f.bin"), Uploader())
    stage.remove_file("f.bin")
    manager.close_session(session_id, path_of("f.bin"), Uploader())
    stage.deleted.add(session_id)
    stage.kept_closed.add(str(session_id))
    assert stage.files() == {"f.bin": CONTENT}
