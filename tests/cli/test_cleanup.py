"""``bits-server cleanup``: what it says, what it removes, and how it ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bits_server.cli import main
from bits_server.protocol.session_id import SessionId
from bits_server.storage.interface import LeftoverKind
from tests.storage.stages import FileStage, closed_record_of, nothing_left_behind

GUID = "{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"
DAY = 86_400


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[FileStage]:
    with nothing_left_behind(FileStage(tmp_path)) as stage:
        assert isinstance(stage, FileStage)
        yield stage


def _cleanup(stage: FileStage, *options: str) -> Result:
    return CliRunner().invoke(main, ["cleanup", str(stage.root), *options])


def _lines(result: Result) -> list[str]:
    return [line.strip() for line in result.output.splitlines()]


def test_sessions_over_the_timeout_are_removed_and_named(stage: FileStage) -> None:
    incomplete = stage.create("a/f.bin")
    complete = stage.create_complete(b"all", "g.bin")
    stage.create("young.bin")
    for session_id in (incomplete, complete):
        stage.age(session_id, 15 * DAY)
        stage.deleted.add(session_id)
    result = _cleanup(stage)
    assert result.exit_code == 0
    first, *rest = _lines(result)
    assert first == f"{stage.root}: 3 sessions found"
    assert sorted(rest) == sorted(
        [
            f"removed: {incomplete} 'a/f.bin', incomplete",
            f"removed: {complete} 'g.bin', complete, but never closed",
        ]
    )
    assert len(list(stage.store.session_ids())) == 1


def test_an_empty_folder_is_clean(stage: FileStage) -> None:
    result = _cleanup(stage)
    assert result.exit_code == 0
    assert _lines(result) == [f"{stage.root}: 0 sessions found"]


def test_a_folder_that_never_had_a_session_is_left_as_it_is(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["cleanup", str(tmp_path)])
    assert result.exit_code == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("age_days", "older_than", "is_removed"),
    [(4, "3d", True), (2, "3d", False), (15, "20d", False), (1, "12h", True)],
)
def test_older_than_takes_the_place_of_the_timeout(
    stage: FileStage, age_days: int, older_than: str, is_removed: bool
) -> None:
    session_id = stage.create()
    stage.age(session_id, age_days * DAY)
    result = _cleanup(stage, "--older-than", older_than)
    assert result.exit_code == 0
    assert (f"removed: {session_id} 'f.bin', incomplete" in _lines(result)) is is_removed
    assert list(stage.store.session_ids()) == ([] if is_removed else [session_id])


def test_a_dry_run_says_what_would_go_and_changes_nothing(stage: FileStage) -> None:
    _plant_one_of_each(stage)
    before = _tree(stage)
    result = _cleanup(stage, "--dry-run")
    assert result.exit_code == 0
    assert _tree(stage) == before
    verbs = [line.partition(":")[0] for line in _lines(result)[1:]]
    assert sorted(verbs) == ["not ours, left alone", *["would be removed"] * 4]
    really = _cleanup(stage)
    assert _lines(really) == [line.replace("would be ", "") for line in _lines(result)]


def test_everything_that_was_found_is_told(stage: FileStage) -> None:
    expired, wreck = _plant_one_of_each(stage)
    result = _cleanup(stage)
    assert result.exit_code == 0
    assert sorted(_lines(result)[1:]) == sorted(
        [
            f"removed: {expired} 'f.bin', incomplete",
            f"removed: {wreck}, without a readable record",
            f"removed: .removed-{GUID}, left by a crash",
            "removed: 1 records of sessions closed over an hour ago",
            "not ours, left alone: 'notes.txt'",
        ]
    )
    assert sorted(os.listdir(stage.sessions)) == [".closed", ".owners", ".quota", "notes.txt"]
    assert os.listdir(stage.sessions / ".closed") == []


def test_a_session_that_cannot_be_removed_is_told_and_ends_with_status_1(
    stage: FileStage,
) -> None:
    session_id, other = stage.create(), stage.create("g.bin")
    in_the_way = stage.sessions / f".removed-{session_id}"
    in_the_way.touch()  # whoever put it there should have a look
    for each in (session_id, other):
        stage.age(each, 15 * DAY)
    result = _cleanup(stage)
    assert result.exit_code == 1
    assert f"could not be removed: {session_id}: " in result.output
    assert f"removed: {other} 'g.bin', incomplete" in _lines(result)
    in_the_way.unlink()
    assert _cleanup(stage).exit_code == 0


def test_beside_another_cleanup_nothing_is_done_and_it_ends_with_status_1(
    stage: FileStage,
) -> None:
    session_id = stage.create()
    stage.age(session_id, 15 * DAY)
    with stage.store.cleaning():
        result = _cleanup(stage)
    assert result.exit_code == 1
    assert _lines(result) == [f"{stage.root}: another clean-up is at work here"]
    assert list(stage.store.session_ids()) == [session_id]


@pytest.mark.parametrize("age", ["3", "3 days", "", "-3d", "3w"])
def test_an_age_that_is_none_is_refused(stage: FileStage, age: str) -> None:
    stage.age(stage.create(), 15 * DAY)
    result = _cleanup(stage, "--older-than", age)
    assert result.exit_code == 2
    assert "--older-than" in result.output
    assert len(list(stage.store.session_ids())) == 1


def test_a_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["cleanup", str(tmp_path / "nowhere")])
    assert result.exit_code == 1
    assert "nowhere is not a folder" in result.output
    assert list(tmp_path.iterdir()) == []


def _plant_one_of_each(stage: FileStage) -> tuple[SessionId, SessionId]:
    expired, wreck, closed = stage.create(), stage.create(), stage.create()
    stage.break_record(wreck)
    for session_id in (expired, wreck):
        stage.age(session_id, 15 * DAY)
    with stage.open(closed) as session:
        stage.delete(session, closed_record_of(session.record))
    [record] = stage.leftovers(LeftoverKind.CLOSED_RECORD)
    stage.age_leftover(record, DAY)
    stage.age_leftover(stage.plant(LeftoverKind.DEBRIS, GUID), DAY)
    stage.plant(LeftoverKind.FOREIGN, "notes.txt")
    return expired, wreck


def _tree(stage: FileStage) -> dict[str, tuple[int, int]]:
    """Every file and folder, with its inode and when it was changed."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns) for path in stage.root.rglob("*")
    }
