"""``bits-client`` for the eyes: what fits into a terminal, what moves it, and what is asked for."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from tqdm.utils import disp_len

from bits_server.client import Job, JobState
from bits_server.client.command.display import page, table
from bits_server.client.command.words import duration_text, printable, size_text
from tests.client.conftest import PROGRAM, Command, JobMaker
from tests.support.challenges import BasicChallenge
from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault
from tests.support.terminal import CTRL_C, CTRL_D, Terminal

HOSTILE = "\x1b]0;owned\x07\x1b[2Jn\nm\x9b31m‮.bin"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(os.urandom(600_000))
    return path


def transfer(file: Path, iis: FakeIis, *options: str) -> list[str]:
    return [*PROGRAM, "transfer", str(file), f"{iis.url}/upload/f.bin", *options]


@pytest.mark.parametrize(
    ("columns", "form"),
    [
        (120, r"local\.bin +\d+% \|.*\| [\d.]+k/600k [\d.]+[kM]?B/s \d+:\d+ left"),
        (60, r"local\.bin \d+% of 600kB, [\d.]+[kM]?B/s, \d+:\d+ left"),
        (40, r"local\.bin \d+% [\d.]+[kM]?B/s \d+:\d+"),
        (20, r"\d+% [\d.]+[kM]?B/s \d+:\d+"),
    ],
)
def test_the_bar_has_speed_and_remaining_time_in_every_width(
    environment: dict[str, str], file: Path, columns: int, form: str
) -> None:
    with FakeIis() as iis:
        command = transfer(file, iis, "--limit", "400kB", "--fragment-size-limit", "100kB")
        with Terminal(command, environment, columns) as terminal:
            assert terminal.end() == 0, terminal.shown
    bars = [line.strip() for line in terminal.lines()]
    assert max(map(disp_len, bars)) <= columns
    assert len([line for line in bars if re.fullmatch(form, line)]) > 3, bars
    assert "100%" in bars[-1]


def test_a_long_name_leaves_room_for_the_numbers(environment: dict[str, str], file: Path) -> None:
    with FakeIis() as iis:
        command = transfer(file, iis, "--name", "月次報告 of the accounting department, 2026")
        with Terminal(command, environment, 40) as terminal:
            assert terminal.end() == 0, terminal.shown
    assert re.match(r"月次報告.*… +100% ", terminal.lines()[-1])
    assert max(map(disp_len, terminal.lines())) <= 40


def test_without_a_terminal_there_are_lines_and_the_last_says_all(
    bits_client: Command, file: Path
) -> None:
    with FakeIis() as iis:
        done = bits_client("transfer", file, f"{iis.url}/upload/f", "--limit", "400kB")
    lines = done.stderr.splitlines()
    assert lines[0] == "0 B of 600.0 kB"
    assert re.fullmatch(r"600\.0 kB of 600\.0 kB, [\d.]+ kB/s", lines[-1])


def test_a_password_is_asked_for_beside_the_bar_and_not_shown(
    environment: dict[str, str], file: Path
) -> None:
    iis = FakeIis(challenge=BasicChallenge("alice", "Passw0rd"))
    with iis, Terminal(transfer(file, iis), environment, 80) as terminal:
        terminal.wait_for_question("User for 127.0.0.1: ")
        assert terminal.lines()[-1] == "User for 127.0.0.1: ", "on a line of its own"
        terminal.type("alice\n")
        terminal.wait_for_question("Password of alice for 127.0.0.1: ")
        terminal.type("Passw0rd\n")
        assert terminal.end() == 0, terminal.shown
    assert "Passw0rd" not in terminal.shown


@pytest.mark.parametrize(("key", "code"), [(CTRL_C, 130), (CTRL_D, 3)])
@pytest.mark.parametrize("question", ["User", "Password"])
def test_who_would_rather_not_say_ends_it(
    environment: dict[str, str], file: Path, key: str, code: int, question: str
) -> None:
    iis = FakeIis(challenge=BasicChallenge("alice", "Passw0rd"))
    with iis, Terminal(transfer(file, iis), environment, 80) as terminal:
        terminal.wait_for_question("User for 127.0.0.1: ")
        if question == "Password":
            terminal.type("alice\n")
            terminal.wait_for_question("Password of alice for 127.0.0.1: ")
        terminal.type(key)
        assert terminal.end() == code, terminal.shown
    assert "the same command goes on" in terminal.shown
    assert "Traceback" not in terminal.shown


def test_no_name_moves_the_cursor(
    bits_client: Command, environment: dict[str, str], file: Path
) -> None:
    """Neither of a job, nor of a file that somebody has sent us."""
    path = file.with_name(HOSTILE.replace("/", ""))
    path.write_bytes(b"x")
    with FakeIis() as iis:
        bits_client("create", path, f"{iis.url}/upload/f")
        job = bits_client("list", "--json")
        assert "\\u001b]0;owned" in job.stdout
        name = HOSTILE
        for arguments in (
            ["list"],
            ["info", name],
            ["suspend", name],
            ["resume", name],
            ["run"],
            ["complete", name],
            ["transfer", str(path), f"{iis.url}/upload/g"],
            ["transfer", str(path), f"{iis.url}/upload/h", "--proxy", "http://127.0.0.1:9"],
        ):
            iis.script("Close-Session", *([Fault(status=500)] if arguments[-1][-1] == "g" else []))
            options = ["--no-wait"] if arguments[0] == "transfer" else []
            with Terminal([*PROGRAM, *arguments, *options], environment, 200) as terminal:
                terminal.end()
            assert "owned" in terminal.shown, arguments
            assert "\x1b]" not in terminal.shown, arguments
            assert "\x1b[2J" not in terminal.shown, arguments
            assert not {"\x9b", "‮", "\x07"} & set(terminal.shown), arguments


def test_no_answer_moves_the_cursor(environment: dict[str, str], file: Path) -> None:
    evil = "\x1b]0;owned\x07\x9b2J" + "x" * 5000
    for fields in ({"BITS-Protocol": evil}, {"BITS-Host-Id": evil}):
        with FakeIis() as iis:
            iis.script("Create-Session", Fault(fields=fields))
            with Terminal(transfer(file, iis), environment, 80) as terminal:
                assert terminal.end() == 1, terminal.shown
        assert "owned" in terminal.shown
        assert "\x1b]" not in terminal.shown
        assert "\x9b" not in terminal.shown
        assert len(terminal.shown) < 2000


def test_a_name_that_is_no_text(bits_client: Command, file: Path) -> None:
    """As Linux lets it be: bytes that are no UTF-8."""
    path = Path(os.fsdecode(os.fsencode(file.parent) + b"/bad\xff.bin"))
    path.write_bytes(b"x")
    with FakeIis() as iis:
        done = bits_client("transfer", path, f"{iis.url}/upload/f")
        assert done.returncode == 0, done.stderr
        assert iis.files == {"/upload/f": b"x"}
    assert "bad?.bin" in bits_client("list", "--all").stdout
    assert r"bad\udcff.bin" in bits_client("list", "--all", "--json").stdout


class TestTables:
    @pytest.fixture
    def job(self, make_job: JobMaker) -> Job:
        return make_job("http://h/f", name="月次報告 2026", state=JobState.TRANSIENT_ERROR)

    @pytest.mark.parametrize(
        ("columns", "headings"),
        [
            (None, "ID STATE PRIORITY DONE OF NAME"),
            (80, "ID STATE PRIORITY DONE OF NAME"),
            (54, "ID STATE DONE OF NAME"),
            (45, "ID STATE DONE NAME"),
            (40, "ID STATE NAME"),
        ],
    )
    def test_the_narrower_the_less_is_said(
        self, job: Job, columns: int | None, headings: str
    ) -> None:
        lines = table([job], columns).split("\n")
        assert lines[0].split() == headings.split()
        assert max(map(disp_len, lines)) <= (columns or 1000)
        assert "TRANSIENT_ERROR" in lines[1]
        assert "月" in lines[1]

    def test_not_even_twenty_columns_are_passed(self, job: Job) -> None:
        assert max(map(disp_len, table([job], 20).split("\n"))) <= 20

    def test_where_nobody_reads_nothing_is_cut(self, make_job: JobMaker) -> None:
        job = make_job("http://h/f", name="n" * 300)
        assert "n" * 300 in table([job])

    def test_a_line_of_a_page_is_one(self, make_job: JobMaker) -> None:
        text = page(make_job("http://h/f", name="a\nstate  ACKNOWLEDGED"))
        assert "\nstate     QUEUED" in text
        assert "ACKNOWLEDGED" in text.split("\n")[1]


def test_words() -> None:
    assert [size_text(each) for each in (0, 999, 1500, 2_500_000, 3e9, 4e12)] == [
        *("0 B", "999 B", "1.5 kB", "2.5 MB", "3.0 GB", "4.0 TB")
    ]
    assert [duration_text(each) for each in (5, 600, 7200, 86_400 * 14)] == [
        *("5 s", "10 min", "2 h", "14 d")
    ]
    assert printable("ä€ 月 \t\x7f\u200b") == "ä€ 月 ???"
