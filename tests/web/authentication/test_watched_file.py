"""A file is read again when it changes, and never half of it."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bits_server.web.authentication.basic import parse_htpasswd
from bits_server.web.authentication.watched_file import MOST_LOOKS, QUIET_SECONDS, WatchedFile
from tests.support.passwords import add_user
from tests.support.tools import require_tool


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("before\n")
    return path


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[float]]:
    """Have something done whenever the reader waits; how long it wanted to."""

    def set_to(action: Callable[[], object]) -> list[float]:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            action()

        monkeypatch.setattr("time.sleep", sleep)
        return waits

    return set_to


def counting(texts: list[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        texts.append(text)
        if "bad" in text:
            raise ValueError(text.strip())
        return text

    return parse


def test_a_change_counts_with_the_next_look_and_is_read_once(file: Path) -> None:
    texts: list[str] = []
    watched = WatchedFile(str(file), counting(texts))
    for text in ("before\n", "after\n"):
        file.write_text(text)
        assert [watched.content() for _ in range(3)] == [text] * 3
    assert texts == ["before\n", "after\n"]


@pytest.mark.parametrize("keeps_its_time", [False, True])
def test_a_file_that_is_being_written_is_waited_for(
    file: Path, meanwhile: Callable[..., list[float]], keeps_its_time: bool
) -> None:
    """An emptied file may have the time of its last change for a moment."""
    watched = WatchedFile(str(file), str.upper)
    watched.content()
    status = file.stat()
    file.write_text("")
    if keeps_its_time:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    steps = iter(["half", "half of it\n", "half of it\n"])
    meanwhile(lambda: file.write_text(next(steps)) if file.read_text()[-1:] != "\n" else None)
    assert watched.content() == "HALF OF IT\n"


def test_a_first_look_at_a_file_that_is_being_written_waits_too(
    file: Path, meanwhile: Callable[..., list[float]]
) -> None:
    file.write_text("")
    meanwhile(lambda: file.write_text("whole\n"))
    assert WatchedFile(str(file), str).content() == "whole\n"


def test_a_file_that_nobody_touches_is_read_without_a_wait(
    file: Path, meanwhile: Callable[..., list[float]]
) -> None:
    waits = meanwhile(lambda: None)
    os.utime(file, (1, 1))
    assert WatchedFile(str(file), str).content() == "before\n"
    assert waits == []


def test_whoever_never_stops_writing_holds_nobody_for_ever(
    file: Path, meanwhile: Callable[..., list[float]]
) -> None:
    watched = WatchedFile(str(file), len)
    waits = meanwhile(lambda: file.write_text(file.read_text() + "x"))
    assert watched.content() == len("before\n") + MOST_LOOKS - 1
    assert len(waits) == MOST_LOOKS
    assert sum(waits) < 5


def test_a_file_that_cannot_be_used_is_read_once_too(
    file: Path, meanwhile: Callable[..., list[float]]
) -> None:
    """Else each packet would wait while it is so."""
    texts: list[str] = []
    watched = WatchedFile(str(file), counting(texts))
    file.write_text("bad\n")
    waits = meanwhile(lambda: None)
    for _ in range(5):
        with pytest.raises(ValueError, match="bad"):
            watched.content()
    assert (texts, len(waits)) == (["bad\n"], 1)
    file.write_text("good\n")
    assert watched.content() == "good\n"


def test_a_file_that_is_gone_is_an_error_until_it_is_back(file: Path) -> None:
    watched = WatchedFile(str(file), str)
    file.unlink()
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            watched.content()
    file.write_text("back\n")
    assert watched.content() == "back\n"


def test_a_mark_of_the_encoding_is_none_of_the_text(file: Path) -> None:
    file.write_bytes("\ufeffalice:x\r\njörg:y\r\n".encode())
    assert WatchedFile(str(file), str).content() == "alice:x\njörg:y\n"


def test_nobody_is_missing_while_the_real_htpasswd_writes(tmp_path: Path) -> None:
    """It empties the file first. Without the wait, one look of six found no alice."""
    users = tmp_path / "users"
    add_user(users, "alice", "secret")
    watched = WatchedFile(str(users), parse_htpasswd)
    missing: list[str] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.0001):
            if "alice" not in watched.content():
                missing.append("alice")

    looker = threading.Thread(target=look)
    looker.start()
    try:
        command = [require_tool("htpasswd"), "-bB", "-C", "4", str(users)]
        for number in range(20):
            subprocess.run([*command, f"user{number}", "x"], check=True, capture_output=True)
            is_over.wait(QUIET_SECONDS * 1.2)
    finally:
        is_over.set()
        looker.join()
    assert missing == []
    assert "user19" in watched.content()
