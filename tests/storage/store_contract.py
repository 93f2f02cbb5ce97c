"""What every store must do: one suite; a store's test module supplies the constructor.

Each sentence of ``storage.interface`` has its test here. What there is on a disk only (links,
modes, descriptors of folders) is in ``test_filesystem``. The end of each test fails where something
was left behind.
"""

from __future__ import annotations

import itertools
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from bits_server.protocol.errors import (
    AccessDenied,
    BitsError,
    EntityVanished,
    FragmentOutOfOrder,
    MalformedPacket,
    PathNotFound,
    SessionNotFound,
)
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import SessionState
from bits_server.storage.interface import DestinationState, LeftoverKind, StoredSession, Sweep
from tests.storage.stages import (
    StoreStage,
    assert_ends,
    closed_record_of,
    new_record,
    nothing_left_behind,
    path_of,
    run_at_once,
)

CONTENT = bytes(range(256)) * 40
UNKNOWN = SessionId("{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}")


class StoreContract(ABC):
    """Inherit, and say how a stage is made."""

    @abstractmethod
    def make_stage(self, path: Path) -> StoreStage:
        """A stage with an empty virtual directory; ``path`` is an empty folder for its use."""

    @pytest.fixture
    def stage(self, tmp_path: Path) -> Iterator[StoreStage]:
        with nothing_left_behind(self.make_stage(tmp_path)) as stage:
            yield stage

    # create, open, session_ids

    def test_a_created_session_can_be_opened_and_has_its_record(self, stage: StoreStage) -> None:
        record = new_record("folder/f.bin")
        stage.store.create(record)
        with stage.open(record.session_id) as session:
            assert session.record == record
            assert session.record.state is SessionState.OPENED

    def test_another_process_sees_the_session(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with closing(stage.another_store().open(session_id)) as session:
            assert session.record.session_id == session_id

    def test_a_session_that_was_never_made_is_not_found(self, stage: StoreStage) -> None:
        with pytest.raises(SessionNotFound):
            stage.store.open(UNKNOWN)

    def test_a_session_is_not_made_over_another_one(self, stage: StoreStage) -> None:
        record = new_record()
        stage.store.create(record)
        with pytest.raises(FileExistsError):
            stage.store.create(replace(record, destination="other.bin"))
        with stage.open(record.session_id) as session:
            assert session.record == record

    def test_every_session_is_listed_once(self, stage: StoreStage) -> None:
        assert list(stage.store.session_ids()) == []
        made = [stage.create(f"{number}.bin") for number in range(5)]
        assert sorted(map(str, stage.store.session_ids())) == sorted(map(str, made))

    def test_making_a_session_puts_nothing_at_its_destination(self, stage: StoreStage) -> None:
        stage.create_complete(CONTENT)
        assert stage.files() == {}

    def test_closing_a_session_changes_nothing(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        session = stage.store.open(session_id)
        before = session.record
        session.close()
        with stage.open(session_id) as again:
            assert again.record == before
            assert again.received_length() == len(CONTENT)

    # locked, save

    def test_the_lock_reads_the_record_anew(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as early, stage.open(session_id) as late:
            before = early.record
            with late.locked():
                late.save(replace(late.record, total=77))
            assert early.record == before
            with early.locked():
                assert early.record == replace(before, total=77)
            assert early.record == replace(before, total=77)

    def test_a_saved_record_is_seen_by_every_process(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session, session.locked():
            changed = replace(session.record, total=5, owner="somebody", is_complete=False)
            session.save(changed)
            assert session.record == changed
        with closing(stage.another_store().open(session_id)) as session:
            assert session.record == changed

    @pytest.mark.parametrize("closed", [False, True])
    def test_a_session_that_was_removed_meanwhile_cannot_be_used(
        self, stage: StoreStage, closed: bool
    ) -> None:
        session_id = stage.create()
        with stage.open(session_id) as late, stage.open(session_id) as session:
            record = closed_record_of(session.record) if closed else None
            stage.delete(session, record)
            with pytest.raises(SessionNotFound), late.locked():
                raise AssertionError("the lock of a removed session was given")
            with pytest.raises(SessionNotFound):
                late.append(b"x", 0)
            with pytest.raises(SessionNotFound):
                late.received_length()

    def test_the_lock_of_a_session_that_became_a_wreck_is_not_given(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            stage.break_record(session_id)
            with pytest.raises(SessionNotFound), session.locked():
                raise AssertionError("the lock of a wreck was given")

    def test_a_session_opened_under_its_lock_knows_its_record_and_takes_bytes(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        with stage.store.locked(session_id) as session:
            assert session.write(b"abcdef", 0) == 6
            assert session.write(b"efgh", 4) == 8
            with pytest.raises(FragmentOutOfOrder):
                session.write(b"x", 9)
            _complete(session)
            assert session.write(b"abcdefgh", 0) == 8
        with stage.open(session_id) as session:
            assert (session.record.total, session.record.is_complete) == (8, True)
        assert _content(stage, session_id) == b"abcdefgh"

    def test_no_session_that_is_unknown_or_a_wreck_is_opened_under_its_lock(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        stage.break_record(session_id)
        for each in (session_id, SessionId.new()):
            with pytest.raises(SessionNotFound), stage.store.locked(each):
                raise AssertionError("it was opened")

    def test_an_error_under_the_lock_gives_it_back(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            with pytest.raises(ZeroDivisionError), session.locked():
                raise ZeroDivisionError
            assert_ends(lambda: _lock(stage, session_id), "the lock is still held")

    def test_the_lock_is_held_against_every_other_thread(self, stage: StoreStage) -> None:
        session_id = stage.create()

        def count() -> None:
            with stage.open(session_id) as session:
                for _ in range(50):
                    with session.locked():
                        session.save(replace(session.record, total=(session.record.total or 0) + 1))

        run_at_once(*[count] * 4)
        with stage.open(session_id) as session:
            assert session.record.total == 200

    def test_a_reader_beside_a_writer_sees_a_whole_record(self, stage: StoreStage) -> None:
        first = new_record("a" * 200)
        second = replace(first, destination="b" * 2_000)
        stage.store.create(first)
        seen = set()
        is_written = threading.Event()

        def write() -> None:
            with stage.open(first.session_id) as session:
                for record in [second, first] * 100:
                    with session.locked():
                        session.save(record)
            is_written.set()

        def read() -> None:
            while not is_written.is_set():
                with stage.open(first.session_id) as session:
                    seen.add(session.record)

        run_at_once(write, read)
        assert seen <= {first, second}
        assert seen

    # received_length, append

    def test_nothing_is_received_at_first(self, stage: StoreStage) -> None:
        with stage.open(stage.create()) as session:
            assert session.received_length() == 0

    def test_blocks_in_order_are_appended(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            assert session.append(b"abc", 0) == 3
            assert session.append(bytearray(b"def"), 3) == 6
            assert session.append(memoryview(b"ghi"), 6) == 9
            assert session.received_length() == 9
        assert _content(stage, session_id) == b"abcdefghi"

    @pytest.mark.parametrize(
        ("block", "at", "expected"),
        [
            pytest.param(b"0123456789", 0, b"abcdef6789", id="overlaps from the start"),
            pytest.param(b"45678", 4, b"abcdef678", id="overlaps in the middle"),
            pytest.param(b"012345", 0, b"abcdef", id="repeats all"),
            pytest.param(b"23", 2, b"abcdef", id="repeats what is long past"),
            pytest.param(b"5", 5, b"abcdef", id="repeats the last byte"),
            pytest.param(b"", 3, b"abcdef", id="is empty"),
            pytest.param(b"678", 6, b"abcdef678", id="follows"),
        ],
    )
    def test_bytes_that_are_there_are_skipped_and_never_rewritten(
        self, stage: StoreStage, block: bytes, at: int, expected: bytes
    ) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            session.append(b"abcdef", 0)
            assert session.append(block, at) == len(expected)
            assert session.received_length() == len(expected)
        assert _content(stage, session_id) == expected

    @pytest.mark.parametrize("at", [4, 5, 2**40])
    def test_a_gap_is_refused_and_takes_nothing(self, stage: StoreStage, at: int) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            session.append(b"abc", 0)
            with pytest.raises(FragmentOutOfOrder):
                session.append(b"xyz", at)
            assert session.received_length() == 3
        assert _content(stage, session_id) == b"abc"

    def test_a_gap_before_the_first_byte_is_refused(self, stage: StoreStage) -> None:
        with stage.open(stage.create()) as session:
            with pytest.raises(FragmentOutOfOrder):
                session.append(b"x", 1)
            assert session.received_length() == 0

    def test_an_empty_block_makes_the_empty_file(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            assert session.append(b"", 0) == 0
        assert _content(stage, session_id) == b""

    def test_the_length_is_the_total_once_the_record_says_complete(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.take_entity_away(session_id)
        with stage.open(session_id) as session:
            assert session.received_length() == len(CONTENT)

    @pytest.mark.parametrize("is_taken_away", [False, True])
    @pytest.mark.parametrize("at", [0, 100, len(CONTENT) - 1])
    def test_a_fragment_that_comes_again_after_the_last_one_changes_nothing(
        self, stage: StoreStage, is_taken_away: bool, at: int
    ) -> None:
        session_id = stage.create_complete(CONTENT)
        if is_taken_away:
            stage.take_entity_away(session_id)
        with stage.open(session_id) as session:
            assert session.append(b"x" * (len(CONTENT) - at), at) == len(CONTENT)
        if not is_taken_away:
            stage.publish(session_id, "f.bin")
            assert stage.files() == {"f.bin": CONTENT}

    def test_completion_by_another_process_is_noticed_by_an_append(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as early, stage.open(session_id) as late:
            late.append(b"abc", 0)
            with late.locked():
                late.save(replace(late.record, total=3, is_complete=True))
            stage.take_entity_away(session_id)
            assert early.append(b"abc", 0) == 3

    def test_two_threads_that_append_the_same_bytes_write_them_once(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        cuts = {7: range(0, len(CONTENT), 7 * 50), 11: range(0, len(CONTENT), 11 * 50)}

        def append(size: int) -> None:
            with stage.open(session_id) as session:
                for at in cuts[size]:
                    block = CONTENT[at : at + size * 50]
                    assert session.append(block, at) >= at + len(block)

        run_at_once(*(lambda size=size: append(size) for size in (7, 11, 7, 11)))
        assert _content(stage, session_id) == CONTENT

    def test_a_session_removed_while_it_is_written_ends_with_session_not_found(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        is_written = threading.Event()

        def write_on(session: StoredSession) -> None:
            for at in itertools.count():
                session.append(b"x", at)
                is_written.set()

        def write() -> None:
            with stage.open(session_id) as session, pytest.raises(SessionNotFound):
                write_on(session)

        def remove() -> None:
            assert is_written.wait(10)
            with stage.open(session_id) as session:
                stage.delete(session)

        run_at_once(write, remove)

    def test_received_bytes_can_be_made_durable_at_any_time(self, stage: StoreStage) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            session.make_durable()
            session.append(b"abc", 0)
            session.make_durable()
            assert session.received_length() == 3

    # last_progress, progress

    def test_a_new_session_has_just_made_progress(self, stage: StoreStage) -> None:
        before = time.time() - 1  # a file system's clock is coarser than ours
        session_id = stage.create()
        with stage.open(session_id) as session:
            assert before <= session.last_progress() <= time.time() + 1
        assert [found for found, _ in stage.store.progress()] == [session_id]

    @pytest.mark.parametrize("is_complete", [False, True])
    def test_progress_is_when_bytes_were_last_taken(
        self, stage: StoreStage, is_complete: bool
    ) -> None:
        session_id = stage.create_complete(b"abc") if is_complete else stage.create()
        stage.age(session_id, 5_000)
        with stage.open(session_id) as session:
            assert session.last_progress() == pytest.approx(time.time() - 5_000, abs=5)
            assert dict(stage.store.progress())[session_id] == session.last_progress()
            if not is_complete:
                session.append(b"abc", 0)
                assert session.last_progress() == pytest.approx(time.time(), abs=5)
                assert dict(stage.store.progress())[session_id] == session.last_progress()

    def test_looking_at_a_session_is_no_progress(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(b"abc")
        stage.age(session_id, 5_000)
        with stage.open(session_id) as session:
            with session.locked():
                session.received_length()
            session.append(b"abc", 0)
            assert session.last_progress() == pytest.approx(time.time() - 5_000, abs=5)

    @pytest.mark.parametrize("is_complete", [False, True])
    def test_a_touch_is_progress_and_changes_nothing_else(
        self, stage: StoreStage, is_complete: bool
    ) -> None:
        session_id = stage.create_complete(b"abc") if is_complete else stage.create()
        stage.age(session_id, 5_000)
        with stage.open(session_id) as session:
            before = session.record, session.received_length()
            with session.locked():
                session.touch()
            assert session.last_progress() == pytest.approx(time.time(), abs=5)
        with stage.open(session_id) as session:
            assert (session.record, session.received_length()) == before
            assert dict(stage.store.progress())[session_id] == session.last_progress()

    def test_progress_tells_of_wrecks_too(self, stage: StoreStage) -> None:
        session_id = stage.create()
        stage.break_record(session_id)
        stage.age(session_id, 5_000)
        [(found, last_progress)] = stage.store.progress()
        assert found == session_id
        assert last_progress == pytest.approx(time.time() - 5_000, abs=5)
        stage.store.remove_wreck(session_id)

    # states

    def test_the_states_are_those_of_all_sessions_and_none_for_wrecks(
        self, stage: StoreStage
    ) -> None:
        assert list(stage.store.states()) == []
        stage.create()
        wreck = stage.create()
        stage.break_record(wreck)
        with stage.open(stage.create()) as session, session.locked():
            session.save(replace(session.record, total=5))
        stage.create_complete(b"abc")
        stage.create_complete(b"abc")
        with stage.open(stage.create_complete(b"abc")) as session:
            stage.delete(session, closed_record_of(session.record))
        found = Counter(stage.store.states())
        complete = SessionState.COMPLETE
        assert found == {None: 1, SessionState.OPENED: 1, SessionState.RECEIVING: 1, complete: 2}
        stage.store.remove_wreck(wreck)

    # publish

    def test_a_complete_entity_gets_a_free_name(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.publish(session_id, "f.bin")
        assert stage.files() == {"f.bin": CONTENT}

    def test_publishing_leaves_the_session_as_it_was(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.publish(session_id, "f.bin")
        with closing(stage.another_store().open(session_id)) as session:
            assert session.record.state is SessionState.COMPLETE
            assert session.received_length() == len(CONTENT)

    def test_an_empty_entity_is_published(self, stage: StoreStage) -> None:
        stage.publish(stage.create_complete(b""), "f.bin")
        assert stage.files() == {"f.bin": b""}

    def test_a_file_goes_into_a_folder_that_exists(self, stage: StoreStage) -> None:
        stage.put_folder("a")
        stage.put_folder("a/b")
        stage.publish(stage.create_complete(CONTENT), "a/b/f.bin")
        assert stage.files() == {"a/b/f.bin": CONTENT}

    def test_a_file_is_not_overwritten_where_that_is_off(self, stage: StoreStage) -> None:
        stage.put_file("f.bin", b"old")
        session_id = stage.create_complete(CONTENT)
        with pytest.raises(AccessDenied):
            stage.publish(session_id, "f.bin")
        assert stage.files() == {"f.bin": b"old"}

    def test_a_file_is_replaced_where_overwriting_is_on(self, stage: StoreStage) -> None:
        stage.put_file("f.bin", b"old")
        stage.publish(stage.create_complete(CONTENT), "f.bin", overwrite=True)
        assert stage.files() == {"f.bin": CONTENT}

    def test_overwriting_does_without_an_old_file(self, stage: StoreStage) -> None:
        stage.publish(stage.create_complete(CONTENT), "f.bin", overwrite=True)
        assert stage.files() == {"f.bin": CONTENT}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_folder_is_never_replaced(self, stage: StoreStage, overwrite: bool) -> None:
        stage.put_folder("f.bin")
        session_id = stage.create_complete(CONTENT)
        with pytest.raises(MalformedPacket):
            stage.publish(session_id, "f.bin", overwrite=overwrite)
        assert stage.files() == {}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_missing_folder_is_told(self, stage: StoreStage, overwrite: bool) -> None:
        session_id = stage.create_complete(CONTENT)
        with pytest.raises(PathNotFound):
            stage.publish(session_id, "a/f.bin", overwrite=overwrite)
        assert stage.store.examine(path_of("a/x")) is DestinationState.NO_FOLDER

    def test_missing_folders_are_made_where_the_settings_say_so(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        store = stage.another_store(create_folders=True)
        with closing(store.open(session_id)) as session, session.locked():
            session.publish(path_of("a/b/c/f.bin"), overwrite=False)
        assert stage.files() == {"a/b/c/f.bin": CONTENT}
        assert stage.store.examine(path_of("a/b")) is DestinationState.FOLDER

    @pytest.mark.parametrize("create_folders", [False, True])
    def test_a_file_in_the_place_of_a_folder_is_told_as_a_missing_one(
        self, stage: StoreStage, create_folders: bool
    ) -> None:
        stage.put_file("a", b"no folder")
        session_id = stage.create_complete(CONTENT)
        store = stage.another_store(create_folders=create_folders)
        with (
            closing(store.open(session_id)) as session,
            session.locked(),
            pytest.raises(PathNotFound),
        ):
            session.publish(path_of("a/f.bin"), overwrite=False)
        assert stage.files() == {"a": b"no folder"}

    def test_nothing_is_published_into_bits_sessions(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        with pytest.raises(MalformedPacket):
            stage.publish(session_id, "BITS-Sessions/f.bin")

    def test_an_entity_that_vanished_is_told(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.take_entity_away(session_id)
        with pytest.raises(EntityVanished):
            stage.publish(session_id, "f.bin")
        assert stage.files() == {}

    def test_an_entity_of_another_length_is_not_published(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        with stage.open(session_id) as session:
            with session.locked():
                session.save(replace(session.record, total=len(CONTENT) + 1))
            with session.locked(), pytest.raises(EntityVanished):
                session.publish(path_of("f.bin"), overwrite=False)
        assert stage.files() == {}

    @pytest.mark.parametrize("problem", ["a file", "a folder", "no folder"])
    def test_a_refused_publication_can_be_repeated_when_the_way_is_free(
        self, stage: StoreStage, problem: str
    ) -> None:
        session_id = stage.create_complete(CONTENT)
        destination = "a/f.bin" if problem == "no folder" else "f.bin"
        if problem == "a file":
            stage.put_file("f.bin", b"old")
        elif problem == "a folder":
            stage.put_folder("f.bin")
            destination = "f.bin"
        with pytest.raises(BitsError):
            stage.publish(session_id, destination)
        with stage.open(session_id) as session:
            assert session.received_length() == len(CONTENT)
        if problem == "a file":
            stage.remove_file("f.bin")
        elif problem == "a folder":
            destination = "g.bin"
        else:
            stage.put_folder("a")
        stage.publish(session_id, destination)
        assert stage.files() == {destination: CONTENT}

    @pytest.mark.parametrize("overwrite", [False, True])
    def test_a_publication_that_was_done_already_is_not_refused(
        self, stage: StoreStage, overwrite: bool
    ) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.publish(session_id, "f.bin", overwrite=overwrite)
        for _ in range(2):  # the process died before the session was removed
            with closing(stage.another_store().open(session_id)) as session, session.locked():
                assert session.record.state is SessionState.COMPLETE
                session.publish(path_of("f.bin"), overwrite=overwrite)
        assert stage.files() == {"f.bin": CONTENT}

    def test_a_file_of_somebody_else_is_not_taken_for_what_was_published(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.publish(session_id, "f.bin")
        stage.remove_file("f.bin")
        stage.put_file("f.bin", b"of somebody else")
        with pytest.raises(AccessDenied):
            stage.publish(session_id, "f.bin")
        assert stage.files() == {"f.bin": b"of somebody else"}

    def test_of_two_sessions_for_one_destination_one_wins(self, stage: StoreStage) -> None:
        contents = [bytes([number]) * 10_000 for number in range(6)]
        sessions = [stage.create_complete(content) for content in contents]
        denied = []

        def publish(session_id: SessionId) -> None:
            try:
                stage.publish(session_id, "f.bin")
            except AccessDenied:
                denied.append(session_id)

        run_at_once(*(lambda each=each: publish(each) for each in sessions))
        assert len(denied) == len(sessions) - 1
        [winner] = set(sessions) - set(denied)
        assert stage.files() == {"f.bin": contents[sessions.index(winner)]}

    # publish_empty, examine

    def test_an_empty_file_is_made_once(self, stage: StoreStage) -> None:
        assert stage.store.publish_empty(path_of("f.bin")) is True
        assert stage.store.publish_empty(path_of("f.bin")) is False
        assert stage.files() == {"f.bin": b""}

    def test_an_empty_file_never_replaces_anything(self, stage: StoreStage) -> None:
        stage.put_file("f.bin", b"old")
        stage.put_folder("g.bin")
        assert stage.store.publish_empty(path_of("f.bin")) is False
        assert stage.store.publish_empty(path_of("g.bin")) is False
        assert stage.files() == {"f.bin": b"old"}

    def test_an_empty_file_needs_its_folder(self, stage: StoreStage) -> None:
        with pytest.raises(PathNotFound):
            stage.store.publish_empty(path_of("a/f.bin"))
        with pytest.raises(MalformedPacket):
            stage.store.publish_empty(path_of("BITS-Sessions/f.bin"))
        assert stage.another_store(create_folders=True).publish_empty(path_of("a/b/f.bin"))
        assert stage.files() == {"a/b/f.bin": b""}

    def test_a_destination_is_what_stands_there_now(self, stage: StoreStage) -> None:
        assert stage.store.examine(path_of("f.bin")) is DestinationState.FREE
        stage.put_file("f.bin", b"old")
        assert stage.store.examine(path_of("f.bin")) is DestinationState.TAKEN
        stage.remove_file("f.bin")
        stage.put_folder("f.bin")
        assert stage.store.examine(path_of("f.bin")) is DestinationState.FOLDER
        assert stage.store.examine(path_of("f.bin/x")) is DestinationState.FREE

    @pytest.mark.parametrize(
        ("create_folders", "expected"),
        [(False, DestinationState.NO_FOLDER), (True, DestinationState.FREE)],
    )
    def test_a_missing_folder_matters_where_none_is_made(
        self, stage: StoreStage, create_folders: bool, expected: DestinationState
    ) -> None:
        store = stage.another_store(create_folders=create_folders)
        assert store.examine(path_of("a/f.bin")) is expected
        assert store.examine(path_of("a/b/f.bin")) is expected
        stage.put_folder("a")
        assert store.examine(path_of("a/f.bin")) is DestinationState.FREE
        assert stage.files() == {}

    @pytest.mark.parametrize("create_folders", [False, True])
    def test_below_a_file_there_is_no_folder(self, stage: StoreStage, create_folders: bool) -> None:
        stage.put_file("a", b"no folder")
        store = stage.another_store(create_folders=create_folders)
        assert store.examine(path_of("a/f.bin")) is DestinationState.NO_FOLDER
        assert store.examine(path_of("a/b/f.bin")) is DestinationState.NO_FOLDER

    def test_bits_sessions_is_no_destination(self, stage: StoreStage) -> None:
        assert stage.store.examine(path_of("BITS-Sessions/f.bin")) is DestinationState.OUTSIDE
        itself = stage.store.examine(path_of("BITS-Sessions"))
        assert itself in (DestinationState.FOLDER, DestinationState.OUTSIDE)

    # delete, closed_record

    @pytest.mark.parametrize("is_complete", [False, True])
    def test_a_deleted_session_is_gone_and_leaves_no_record(
        self, stage: StoreStage, is_complete: bool
    ) -> None:
        session_id = stage.create_complete(CONTENT) if is_complete else stage.create()
        with stage.open(session_id) as session:
            stage.delete(session)
        with pytest.raises(SessionNotFound):
            stage.store.open(session_id)
        assert stage.store.closed_record(session_id) is None
        assert list(stage.store.session_ids()) == []
        assert list(stage.store.leftovers()) == []

    @pytest.mark.parametrize("is_complete", [False, True])
    def test_a_closed_session_leaves_a_record(self, stage: StoreStage, is_complete: bool) -> None:
        session_id = stage.create_complete(CONTENT) if is_complete else stage.create()
        with stage.open(session_id) as session:
            closed = closed_record_of(session.record)
            stage.delete(session, closed)
        with pytest.raises(SessionNotFound):
            stage.store.open(session_id)
        assert stage.another_store().closed_record(session_id) == closed
        [leftover] = stage.store.leftovers()
        assert leftover.kind is LeftoverKind.CLOSED_RECORD
        assert leftover.since == pytest.approx(time.time(), abs=5)

    def test_a_published_file_stays_when_its_session_goes(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        with stage.open(session_id) as session:
            with session.locked():
                session.publish(path_of("f.bin"), overwrite=False)
            stage.delete(session, closed_record_of(session.record))
        assert stage.files() == {"f.bin": CONTENT}

    def test_deleting_one_session_leaves_the_others(self, stage: StoreStage) -> None:
        first, second = stage.create(), stage.create_complete(CONTENT)
        with stage.open(first) as session:
            stage.delete(session)
        assert list(stage.store.session_ids()) == [second]
        stage.publish(second, "f.bin")
        assert stage.files() == {"f.bin": CONTENT}

    @pytest.mark.parametrize(("seconds_ago", "is_kept"), [(0, True), (3_590, True), (3_600, False)])
    def test_a_closed_record_is_kept_for_an_hour(
        self, stage: StoreStage, seconds_ago: float, is_kept: bool
    ) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            closed = closed_record_of(session.record, seconds_ago=seconds_ago)
            stage.delete(session, closed)
        assert stage.store.closed_record(session_id) == (closed if is_kept else None)

    def test_a_session_that_was_never_closed_has_no_closed_record(self, stage: StoreStage) -> None:
        assert stage.store.closed_record(UNKNOWN) is None
        assert stage.store.closed_record(stage.create()) is None

    # cleaning, swept, wrecks, leftovers

    def test_nobody_cleans_beside_another_one(self, stage: StoreStage) -> None:
        with stage.store.cleaning() as first:
            assert first
            with stage.another_store().cleaning() as second:
                assert not second
            with stage.another_store().cleaning() as third:
                assert not third, "the refused one gave back a lock that it did not have"
        with stage.another_store().cleaning() as afterwards:
            assert afterwards

    def test_an_error_in_a_cleanup_gives_the_turn_back(self, stage: StoreStage) -> None:
        with pytest.raises(ZeroDivisionError), stage.store.cleaning():
            raise ZeroDivisionError
        with stage.another_store().cleaning() as may_clean:
            assert may_clean

    def test_of_many_threads_one_cleans(self, stage: StoreStage) -> None:
        at_work = []
        most = []

        def clean() -> None:
            for _ in range(50):
                with stage.another_store().cleaning() as may_clean:
                    if may_clean:
                        at_work.append(1)
                        most.append(len(at_work))
                        at_work.pop()

        run_at_once(*[clean] * 4)
        assert max(most) == 1

    def test_a_cleanup_is_remembered_by_kind(self, stage: StoreStage) -> None:
        assert stage.store.last_swept(Sweep.SESSIONS) == 0
        stage.store.note_swept(Sweep.SESSIONS)
        last_swept = stage.another_store().last_swept(Sweep.SESSIONS)
        assert last_swept == pytest.approx(time.time(), abs=5)
        assert stage.store.last_swept(Sweep.LEFTOVERS) == 0
        stage.store.note_swept(Sweep.LEFTOVERS)
        assert stage.store.last_swept(Sweep.LEFTOVERS) >= last_swept
        assert list(stage.store.leftovers()) == []

    def test_a_wreck_is_listed_cannot_be_opened_and_can_be_removed(self, stage: StoreStage) -> None:
        session_id = stage.create_complete(CONTENT)
        stage.break_record(session_id)
        with pytest.raises(SessionNotFound):
            stage.store.open(session_id)
        assert list(stage.store.session_ids()) == [session_id]
        stage.store.remove_wreck(session_id)
        assert list(stage.store.session_ids()) == []
        assert list(stage.store.leftovers()) == []
        with pytest.raises(FileNotFoundError):
            stage.store.remove_wreck(session_id)

    @pytest.mark.parametrize("kind", [LeftoverKind.DEBRIS, LeftoverKind.FOREIGN])
    def test_what_else_there_is_is_told_with_its_age(
        self, stage: StoreStage, kind: LeftoverKind
    ) -> None:
        session_id = stage.create()
        planted = stage.plant(kind, str(UNKNOWN) if kind is LeftoverKind.DEBRIS else "notes.txt")
        stage.age_leftover(planted, 5_000)
        [found] = stage.store.leftovers()
        assert (found.kind, found.name) == (kind, planted.name)
        assert found.since == pytest.approx(time.time() - 5_000, abs=5)
        assert list(stage.store.session_ids()) == [session_id]

    def test_debris_and_closed_records_are_removed_and_may_be_gone_already(
        self, stage: StoreStage
    ) -> None:
        session_id = stage.create()
        with stage.open(session_id) as session:
            stage.delete(session, closed_record_of(session.record))
        stage.plant(LeftoverKind.DEBRIS, str(UNKNOWN))
        found = list(stage.store.leftovers())
        assert {leftover.kind for leftover in found} == {
            LeftoverKind.CLOSED_RECORD,
            LeftoverKind.DEBRIS,
        }
        for leftover in found:
            stage.store.remove_leftover(leftover)
            stage.store.remove_leftover(leftover)
        assert list(stage.store.leftovers()) == []
        assert stage.store.closed_record(session_id) is None

    def test_what_is_foreign_is_never_removed(self, stage: StoreStage) -> None:
        planted = stage.plant(LeftoverKind.FOREIGN, "notes.txt")
        stage.store.remove_leftover(planted)
        assert [found.name for found in stage.store.leftovers()] == ["notes.txt"]


class EndContract(StoreContract):
    """That the end of each test can fail: each thing that must not be left is left once."""

    @pytest.fixture
    def untidy(self, tmp_path: Path) -> StoreStage:
        return self.make_stage(tmp_path)

    def test_a_lock_that_is_held_is_found(
        self, untidy: StoreStage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tests.storage.stages.LOCK_SECONDS", 0.2)
        with (
            untidy.open(untidy.create()) as session,
            session.locked(),
            pytest.raises(AssertionError, match="lock is still held"),
        ):
            untidy.assert_nothing_left()
        with untidy.store.cleaning(), pytest.raises(AssertionError, match="clean-up"):
            untidy.assert_nothing_left()

    def test_a_hidden_file_beside_a_destination_is_found(self, untidy: StoreStage) -> None:
        untidy.put_folder("a")
        untidy.put_file("a/.f.bin.publishing", b"half")
        with pytest.raises(AssertionError, match="beside a destination"):
            untidy.assert_nothing_left()

    def test_a_deleted_session_that_is_there_is_found(self, untidy: StoreStage) -> None:
        untidy.deleted.add(untidy.create())
        with pytest.raises(AssertionError, match="still there"):
            untidy.assert_nothing_left()

    @pytest.mark.parametrize("kind", LeftoverKind)
    def test_a_leftover_that_nobody_announced_is_found(
        self, untidy: StoreStage, kind: LeftoverKind
    ) -> None:
        if kind is LeftoverKind.CLOSED_RECORD:
            with untidy.open(untidy.create()) as session, session.locked():
                session.delete(closed_record_of(session.record))
        else:
            untidy.plant(kind, str(UNKNOWN))
            untidy.planted.clear()
        with pytest.raises(AssertionError, match="left over"):
            untidy.assert_nothing_left()

    def test_an_open_descriptor_is_found(self, untidy: StoreStage) -> None:
        with pytest.raises(AssertionError, match="still open"), nothing_left_behind(untidy):
            leaked = open("/dev/null")  # noqa: SIM115
        leaked.close()


def _lock(stage: StoreStage, session_id: SessionId) -> None:
    with stage.open(session_id) as session, session.locked():
        pass


def _content(stage: StoreStage, session_id: SessionId) -> bytes:
    """The bytes received so far, as they would be published."""
    with stage.open(session_id) as session, session.locked():
        _complete(session)
        session.publish(path_of("content"), overwrite=True)
    return stage.files()["content"]


def _complete(session: StoredSession) -> None:
    session.save(replace(session.record, total=session.received_length(), is_complete=True))
