"""What a notification needs of a store: the reply, the entity to be sent, one call at a time."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bits_server.protocol.errors import EntityVanished, SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.storage.disk import DiskRules
from bits_server.storage.interface import HasLocalPaths, ReplyUnusable, StoredSession
from tests.storage.stages import STAGES, FileStage, StoreStage, assert_ends, nothing_left_behind

CONTENT = b"request entity" * 100
REPLY = b"reply" * 50_000


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreStage]:
    with nothing_left_behind(STAGES[request.param](tmp_path)) as stage:
        yield stage


@pytest.fixture
def files(tmp_path: Path) -> Iterator[FileStage]:
    stage = FileStage(tmp_path, DiskRules(sync_on_close=True))
    with nothing_left_behind(stage):
        yield stage


def keep_reply(session: StoredSession, content: bytes = REPLY) -> None:
    with session.new_reply() as reply:
        reply.write(content[:7])
        reply.write(content[7:])


def read_reply(session: StoredSession) -> bytes | None:
    reply = session.open_reply()
    if reply is None:
        return None
    with reply.file as file:
        content = file.read()
    assert reply.length == len(content)
    return content


@pytest.mark.parametrize("is_opened", [False, True])
def test_a_reply_is_private_unless_the_settings_open_it_to_a_group(
    tmp_path: Path, is_opened: bool
) -> None:
    """To that of nginx, which sends it then."""
    rules = DiskRules(session_mode=0o640, session_group=os.getgid() if is_opened else None)
    stage = FileStage(tmp_path, rules)
    with nothing_left_behind(stage), stage.open(stage.create_complete(CONTENT)) as session:
        keep_reply(session)
        reply = session.open_reply()
        assert reply is not None
        with reply.file as file:
            expected = 0o640 if is_opened else 0o600
            assert os.fstat(file.fileno()).st_mode & 0o777 == expected


def test_a_session_has_no_reply_until_one_is_kept(stage: StoreStage) -> None:
    with stage.open(stage.create_complete(CONTENT)) as session:
        assert session.open_reply() is None
        session.discard_reply()
        keep_reply(session)
        assert read_reply(session) == REPLY
        session.discard_reply()
        assert session.open_reply() is None


def test_another_process_reads_the_reply(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session:
        keep_reply(session)
    other = stage.another_store().open(session_id)
    try:
        assert read_reply(other) == REPLY
    finally:
        other.close()


def test_a_reply_that_was_not_finished_is_none(stage: StoreStage) -> None:
    with stage.open(stage.create_complete(CONTENT)) as session:
        with pytest.raises(ZeroDivisionError), session.new_reply() as reply:
            reply.write(bytes(1 // len(REPLY[:0])))
        assert session.open_reply() is None


def test_nobody_sees_a_reply_that_is_being_written(stage: StoreStage) -> None:
    with stage.open(stage.create_complete(CONTENT)) as session:
        with session.new_reply() as reply:
            reply.write(REPLY)
            assert session.open_reply() is None
        assert read_reply(session) == REPLY


def test_a_reply_may_be_empty(stage: StoreStage) -> None:
    with stage.open(stage.create_complete(CONTENT)) as session:
        with session.new_reply():
            pass
        assert read_reply(session) == b""


def test_another_reply_has_another_tag_and_the_same_one_keeps_it(stage: StoreStage) -> None:
    tags = set()
    with stage.open(stage.create_complete(CONTENT)) as session:
        for content in (b"one", b"two", b"three"):
            keep_reply(session, content)
            for _ in range(2):
                reply = session.open_reply()
                assert reply is not None
                reply.file.close()
                tags.add(reply.tag)
    assert len(tags) == 3


def test_the_reply_goes_with_its_session(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session:
        with session.notifying():
            keep_reply(session)
        stage.delete(session)
    with pytest.raises(SessionNotFound):
        stage.store.open(session_id)


def test_the_entity_is_read_as_it_came(stage: StoreStage) -> None:
    with (
        stage.open(stage.create_complete(CONTENT)) as session,
        session.open_request_entity() as entity,
    ):
        assert entity.read() == CONTENT


def test_the_entity_of_a_session_without_a_fragment_is_empty(stage: StoreStage) -> None:
    with stage.open(stage.create()) as session:
        session.append(b"", 0)
        with session.open_request_entity() as entity:
            assert entity.read() == b""


def test_an_entity_that_was_taken_away_cannot_be_sent(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    stage.take_entity_away(session_id)
    with stage.open(session_id) as session, pytest.raises(EntityVanished):
        session.open_request_entity()


def test_an_entity_of_another_length_is_not_sent(stage: StoreStage) -> None:
    with stage.open(stage.create_complete(CONTENT)) as session:
        with session.locked():
            session.save(replace(session.record, total=5), lasting=True)
        with pytest.raises(EntityVanished):
            session.open_request_entity()


def test_one_at_a_time_notifies_while_packets_go_on(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    second_is_in = threading.Event()

    def second() -> None:
        with stage.open(session_id) as other, other.notifying():
            second_is_in.set()

    thread = threading.Thread(target=second, daemon=True)
    with stage.open(session_id) as session, session.notifying():
        thread.start()
        assert_ends(lambda: append_again(stage, session_id), "a packet waits for a notification")
        assert not second_is_in.wait(0.1)
    thread.join(10)
    assert second_is_in.is_set()


def append_again(stage: StoreStage, session_id: SessionId) -> None:
    with stage.open(session_id) as session:
        assert session.append(CONTENT, 0) == len(CONTENT)


def test_of_a_session_that_is_gone_nobody_is_notified(stage: StoreStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session, stage.open(session_id) as other:
        stage.delete(other)
        with pytest.raises(SessionNotFound), session.notifying():
            pytest.fail("the session is gone")


def test_only_files_have_local_paths(stage: StoreStage) -> None:
    assert isinstance(stage.store, HasLocalPaths) == isinstance(stage, FileStage)


def test_the_local_paths_are_those_of_the_files(files: FileStage) -> None:
    session_id = files.create_complete(CONTENT)
    assert isinstance(files.store, HasLocalPaths)
    paths = files.store.local_paths(session_id)
    assert Path(paths.request).read_bytes() == CONTENT
    Path(paths.response).write_bytes(b"by the application")
    with files.open(session_id) as session:
        assert read_reply(session) == b"by the application"


def _link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def _pipe(path: Path) -> None:
    os.mkfifo(path)


PLANTED: dict[str, Callable[[Path], None]] = {
    "a link": _link,
    "a link to nothing": _dangling,
    "a pipe": _pipe,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_no_file_is_no_reply_and_nobody_waits_for_it(
    files: FileStage, planted: str
) -> None:
    session_id = files.create_complete(CONTENT)
    PLANTED[planted](files.session_folder(session_id) / "response")
    with files.open(session_id) as session:

        def look() -> None:
            with pytest.raises(ReplyUnusable, match="cannot be read by user"):
                session.open_reply()

        assert_ends(look, "opening waits")
        session.discard_reply()
        assert session.open_reply() is None


def test_a_folder_with_something_in_it_is_discarded_as_a_whole(files: FileStage) -> None:
    session_id = files.create_complete(CONTENT)
    response = files.session_folder(session_id) / "response"
    response.mkdir()
    (response / "file").touch()
    with files.open(session_id) as session:
        session.discard_reply()
    assert not response.exists()


def test_a_link_that_waits_for_the_new_reply_is_not_followed(files: FileStage) -> None:
    session_id = files.create_complete(CONTENT)
    victim = files.root.parent / "victim"
    victim.write_bytes(b"precious")
    (files.session_folder(session_id) / "response.new").symlink_to(victim)
    with files.open(session_id) as session:
        keep_reply(session)
        assert read_reply(session) == REPLY
    assert victim.read_bytes() == b"precious"


@pytest.mark.parametrize("planted", PLANTED)
def test_what_waits_for_the_new_reply_makes_room(files: FileStage, planted: str) -> None:
    session_id = files.create_complete(CONTENT)
    PLANTED[planted](files.session_folder(session_id) / "response.new")
    with files.open(session_id) as session:
        assert_ends(lambda: keep_reply(session), "opening waits")
        assert read_reply(session) == REPLY


def test_another_name_of_a_file_in_the_place_of_the_new_reply_is_not_written_to(
    files: FileStage,
) -> None:
    session_id = files.create_complete(CONTENT)
    victim = files.root.parent / "victim"
    victim.write_bytes(b"precious")
    os.link(victim, files.session_folder(session_id) / "response.new")
    with files.open(session_id) as session:
        keep_reply(session)
    assert victim.read_bytes() == b"precious"


def test_another_name_of_a_file_is_no_reply(files: FileStage) -> None:
    """An application could have the server read to a client what it may not read itself."""
    session_id = files.create_complete(CONTENT)
    secret = files.root.parent / "secret"
    secret.write_bytes(b"password")
    os.link(secret, files.session_folder(session_id) / "response")
    with files.open(session_id) as session:
        with pytest.raises(ReplyUnusable, match="another name"):
            session.open_reply()
        session.discard_reply()
    assert secret.read_bytes() == b"password"


LOCKED = "somebody else holds the lock"


@pytest.mark.parametrize("way", ["a file of its own", "the request entity"])
def test_the_session_group_cannot_hold_a_notification_up(tmp_path: Path, way: str) -> None:
    """It may write to the folder, and so put there what it has opened and locked."""
    rules = DiskRules(session_mode=0o660, session_group=os.getgid(), sync_on_close=False)
    stage = FileStage(tmp_path, rules)
    with nothing_left_behind(stage):
        session_id = stage.create_complete(CONTENT)
        folder = stage.session_folder(session_id)
        notifying = folder / "notifying"
        if way == "the request entity":
            (folder / "request").rename(notifying)
        else:
            notifying.touch()
            notifying.chmod(0o666)
        with notifying.open() as file, stage.open(session_id) as session:
            fcntl.flock(file, fcntl.LOCK_EX)

            def take_turn() -> None:
                with session.notifying():
                    pass

            assert_ends(take_turn, LOCKED)
            assert os.stat(notifying).st_ino != os.fstat(file.fileno()).st_ino
            assert_ends(take_turn, LOCKED)  # and now it is the server's own


def test_a_pipe_in_the_entitys_place_is_not_waited_for(files: FileStage) -> None:
    session_id = files.create_complete(CONTENT)
    files.take_entity_away(session_id)
    os.mkfifo(files.session_folder(session_id) / "request")
    with files.open(session_id) as session:

        def look() -> None:
            with pytest.raises(EntityVanished):
                session.open_request_entity()

        assert_ends(look, "opening waits")
