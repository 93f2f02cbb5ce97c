"""The commands: what they print, how they end, and that looking changes nothing."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bits_server.app import create_app
from bits_server.cli import main
from bits_server.operations.nginx_config import location_blocks
from bits_server.operations.settings_file import load_settings, show_settings
from bits_server.settings import Settings, VirtualDirectory
from bits_server.version import VERSION
from tests.support.bits_client import BitsClient
from tests.support.wire import InProcessSender

served: list[Settings] = []


class ServerThatDoesNotRun:
    """Stands in for gunicorn: notes the settings that it would serve."""

    def __init__(self, settings: Settings, make_app: object, read_settings: object) -> None:
        self.settings = settings
        assert callable(make_app)
        assert callable(read_settings)
        assert read_settings() == settings

    def run(self) -> None:
        served.append(self.settings)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    served.clear()
    monkeypatch.setattr("bits_server.cli.commands.EmbeddedServer", ServerThatDoesNotRun)
    monkeypatch.setattr("bits_server.cli.commands.log_as_set", lambda _settings: None)


@pytest.fixture
def file(tmp_path: Path, folder: Path) -> Path:
    """A settings file that can be used."""
    file = tmp_path / "settings.toml"
    file.write_text(f'[[virtual_directory]]\nurl = "/in"\npath = "{folder}"\n')
    return file


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def assert_ended(result: Result, status: int, *texts: str) -> None:
    """A message and a status, and never a traceback."""
    assert result.exit_code == status, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    for text in texts:
        assert text in result.output
    assert "Traceback" not in result.output


def disk(folder: Path) -> dict[str, Any]:
    """Everything below ``folder``: what it is, and when it was changed."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = os.lstat(path)
        content = path.read_bytes() if path.is_file() else None
        found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found


def test_the_version_is_told() -> None:
    result = run("--version")
    assert_ended(result, 0)
    assert result.output == f"bits-server, version {VERSION}\n"


@pytest.mark.parametrize("name", main.commands)
def test_every_command_explains_itself(name: str) -> None:
    command = main.commands[name]
    assert_ended(run(name, "--help"), 0, f"Usage: main {name} ", str(command.help).split(".")[0])
    assert f"  {name} " in run("--help").output


class TestCheckSettings:
    def test_a_good_file_is_approved_with_what_is_served_where(
        self, file: Path, folder: Path
    ) -> None:
        result = run("check-settings", file)
        assert_ended(result, 0)
        assert result.output == f"{file} can be used:\n  /in -> {folder}\n"

    def test_it_changes_nothing_on_disk(self, file: Path, folder: Path, tmp_path: Path) -> None:
        (folder / "there").write_bytes(b"a file")
        before = disk(tmp_path)
        assert run("check-settings", file).exit_code == 0
        file.write_text(file.read_text().replace("/in", "/in/"))
        before |= {name: state for name, state in disk(tmp_path).items() if name == str(file)}
        assert run("check-settings", file).exit_code == 1
        assert disk(tmp_path) == before

    def test_a_log_file_that_can_be_made_is_approved_and_not_made(
        self, file: Path, tmp_path: Path
    ) -> None:
        log = tmp_path / "new.log"
        file.write_text(f'[server]\nlog_file = "{log}"\n{file.read_text()}')
        assert run("check-settings", file).exit_code == 0
        assert not log.exists()

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("url: /upload", "is not TOML"),
            ("[sever]", "sever: is unknown"),
            (
                '[[virtual_directory]]\nurl = "/in"',
                "[[virtual_directory]] number 1: path: is missing",
            ),
            ("[server]\nworkers = 0", "workers: must be between 1 and 1024"),
            ('[server]\nlog_file = "/nowhere/log"', "log_file: /nowhere/log cannot be written"),
            ('[server]\nlog_file = "{folder}"', "[server]: log_file: "),
            (
                '[[virtual_directory]]\nurl = "/in"\npath = "/nowhere/at/all"',
                "[[virtual_directory]] number 1: path: /nowhere/at/all is not a folder",
            ),
            (
                '[[virtual_directory]]\nurl = "/in"\npath = "{folder}"\nsession_group = "no such"',
                "[[virtual_directory]] number 1: session_group: this machine has no group",
            ),
        ],
    )
    def test_a_bad_file_is_refused_with_status_1_and_one_line(
        self, file: Path, folder: Path, text: str, problem: str
    ) -> None:
        if "[server]" in text:
            text += "\n" + file.read_text()
        file.write_text(text.replace("{folder}", str(folder)))
        result = run("check-settings", file)
        assert_ended(result, 1, problem)
        assert result.output.startswith(f"Error: {file}: ")
        assert len(result.output.splitlines()) == 1

    def test_a_file_that_is_missing_is_refused_with_status_1(self, tmp_path: Path) -> None:
        assert_ended(run("check-settings", tmp_path / "none.toml"), 1, "none.toml: cannot be read")

    def test_without_a_file_the_usage_is_told_with_status_2(self) -> None:
        assert_ended(run("check-settings"), 2, "Missing argument 'FILE'")

    def test_a_folder_in_which_sessions_cannot_be_kept_is_refused(
        self, file: Path, folder: Path
    ) -> None:
        (folder / "BITS-Sessions").write_bytes(b"a file has that name")
        assert_ended(run("check-settings", file), 1, "BITS-Sessions")


class TestShowSettings:
    def test_the_settings_are_printed_with_every_default(self, file: Path) -> None:
        result = run("show-settings", file)
        assert_ended(result, 0, 'maximum_fragment_size = "64MiB"', "workers = 2", 'url = "/in"')
        assert result.output == show_settings(load_settings(str(file)))

    def test_what_is_printed_can_be_checked_and_shown_again(
        self, file: Path, tmp_path: Path
    ) -> None:
        shown = tmp_path / "shown.toml"
        shown.write_text(run("show-settings", file).output)
        assert run("check-settings", shown).exit_code == 0
        assert run("show-settings", shown).output == shown.read_text()

    def test_it_does_not_look_at_the_machine(self, file: Path, folder: Path) -> None:
        folder.rmdir()
        assert_ended(run("show-settings", file), 0, str(folder))

    def test_a_bad_file_is_refused_with_status_1(self, file: Path) -> None:
        file.write_text("[server]\nthreads = 0\n" + file.read_text())
        assert_ended(run("show-settings", file), 1, f"Error: {file}: [server]: threads: ")


class TestNginxConfig:
    def test_the_locations_of_the_virtual_directories_are_printed(
        self, file: Path, folder: Path
    ) -> None:
        folder.rmdir()  # the folder may be on another machine than nginx
        result = run("nginx-config", file)
        assert_ended(result, 0)
        assert result.output == location_blocks(load_settings(str(file)))

    def test_a_file_that_cannot_be_used_is_named(self, file: Path) -> None:
        file.write_text("[[virtual_directory]]\n")
        expected = f"Error: {file}: [[virtual_directory]] number 1: url: is missing"
        assert_ended(run("nginx-config", file), 1, expected)


class TestServe:
    def test_a_folder_is_served_at_upload(self, folder: Path) -> None:
        assert_ended(run("serve", folder), 0)
        assert served == [Settings((VirtualDirectory("/upload", str(folder)),))]

    def test_a_relative_folder_is_made_absolute(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder.parent)
        assert_ended(run("serve", folder.name, "--url", "/in/box"), 0)
        assert served == [Settings((VirtualDirectory("/in/box", str(folder)),))]

    def test_a_settings_file_is_served(self, file: Path) -> None:
        assert_ended(run("serve", "--settings", file), 0)
        assert served == [load_settings(str(file))]

    def test_options_go_before_the_file_and_the_rest_is_the_files(self, file: Path) -> None:
        file.write_text('[server]\nbind = ["127.0.0.1:1"]\nthreads = 3\n' + file.read_text())
        options = ["--bind", "127.0.0.1:0", "--bind", "unix:/run/s", "--workers", "7"]
        assert_ended(run("serve", "--settings", file, *options), 0)
        assert served[0].bind == ("127.0.0.1:0", "unix:/run/s")
        assert (served[0].workers, served[0].threads) == (7, 3)

    def test_without_a_folder_and_a_file_it_says_what_to_name(self) -> None:
        result = run("serve")
        assert_ended(result, 2, "Name the FOLDER that receives the files, or give --settings FILE.")
        assert served == []

    @pytest.mark.parametrize("extra", [["folder"], ["--url", "/in"]])
    def test_a_folder_or_url_beside_a_file_is_refused(self, file: Path, extra: list[str]) -> None:
        assert_ended(run("serve", "--settings", file, *extra), 2, "without --settings")
        assert served == []

    def test_a_missing_folder_is_refused_before_anything_is_started(self, tmp_path: Path) -> None:
        missing = tmp_path / "missing"
        assert_ended(run("serve", missing), 1, f"{missing} is not a folder", f"mkdir -p {missing}")
        assert served == []
        assert not missing.exists()

    @pytest.mark.parametrize(
        ("option", "value", "problem"),
        [
            ("--url", "upload", "url: 'upload' must be a path such as '/upload'"),
            ("--bind", "8080", "bind: '8080' is none of HOST:PORT, unix:PATH, fd://NUMBER"),
            ("--workers", "0", "workers: must be between 1 and 1024"),
            ("--threads", "9999", "threads: must be between 1 and 1024"),
        ],
    )
    def test_an_option_without_sense_is_refused_by_name(
        self, folder: Path, option: str, value: str, problem: str
    ) -> None:
        assert_ended(run("serve", folder, option, value), 1, problem)
        assert served == []

    def test_a_folder_of_a_file_that_is_missing_is_refused_with_the_file(
        self, file: Path, folder: Path
    ) -> None:
        folder.rmdir()
        expected = f"Error: {file}: [[virtual_directory]] number 1: path: {folder} is not a folder"
        assert_ended(run("serve", "--settings", file), 1, expected)


class TestCleanup:
    @pytest.fixture
    def session(self, folder: Path) -> Path:
        """The folder of a session without progress for two days."""
        app = create_app(Settings((VirtualDirectory("/in", str(folder)),)), clean_up=False)
        client = BitsClient(InProcessSender(app), "/in/f.bin")
        client.create()
        client.fragment(b"hello", 0, 10)
        session = folder / "BITS-Sessions" / client.session_id
        for path in (session, *session.iterdir()):
            os.utime(path, (time.time() - 2 * 86_400,) * 2)
        return session

    def test_a_session_that_may_still_go_on_stays(
        self, file: Path, folder: Path, session: Path
    ) -> None:
        result = run("cleanup", "--settings", file)
        assert_ended(result, 0)
        assert result.output == f"{folder}: 1 sessions found\n"
        assert (session / "request").read_bytes() == b"hello"

    def test_one_without_progress_for_longer_than_was_asked_is_removed(
        self, folder: Path, session: Path
    ) -> None:
        assert_ended(run("cleanup", folder, "--older-than", "3d"), 0, "1 sessions found")
        assert session.exists()
        result = run("cleanup", folder, "--older-than", "1d")
        assert_ended(result, 0)
        assert result.output == (
            f"{folder}: 1 sessions found\n  removed: {session.name} 'f.bin', incomplete\n"
        )
        assert not session.exists()

    def test_the_timeout_of_the_settings_holds_where_nothing_was_asked(
        self, file: Path, session: Path
    ) -> None:
        file.write_text(file.read_text() + 'session_timeout = "1d"\n')
        assert_ended(run("cleanup", "--settings", file), 0, f"  removed: {session.name}")
        assert not session.exists()

    def test_a_dry_run_says_what_would_go_and_changes_nothing(
        self, folder: Path, session: Path
    ) -> None:
        before = disk(folder)
        result = run("cleanup", folder, "--dry-run", "--older-than", "1d")
        assert_ended(result, 0, f"  would be removed: {session.name} 'f.bin', incomplete\n")
        assert disk(folder) == before

    def test_where_another_clean_up_is_at_work_it_ends_with_status_1(
        self, folder: Path, session: Path
    ) -> None:
        closed = os.open(folder / "BITS-Sessions" / ".closed", os.O_RDONLY)
        try:
            fcntl.flock(closed, fcntl.LOCK_EX)
            result = run("cleanup", folder, "--older-than", "1d")
        finally:
            os.close(closed)
        assert_ended(result, 1, f"{folder}: another clean-up is at work here")
        assert session.exists()

    def test_what_could_not_be_removed_is_told_with_status_1(
        self, folder: Path, session: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(13, "Permission denied", "f.bin")

        monkeypatch.setattr(os, "rename", refuse)
        result = run("cleanup", folder, "--older-than", "1d")
        assert_ended(result, 1, f"  could not be removed: {session.name}: [Errno 13] ")

    @pytest.mark.parametrize("age", ["2w", "", "1", "-1d"])
    def test_an_age_that_is_none_is_refused_with_status_2(
        self, folder: Path, session: Path, age: str
    ) -> None:
        result = run("cleanup", folder, f"--older-than={age}")
        assert_ended(result, 2, "--older-than", "write it like '14d'")
        assert session.exists()

    def test_without_a_folder_and_a_file_it_says_what_to_name(self) -> None:
        assert_ended(run("cleanup"), 2, "Name the FOLDER")

    def test_a_missing_folder_is_refused_with_status_1(self, tmp_path: Path) -> None:
        assert_ended(run("cleanup", tmp_path / "missing"), 1, "is not a folder")

    def test_a_folder_that_never_had_a_session_is_left_as_it_is(self, folder: Path) -> None:
        assert_ended(run("cleanup", folder), 0, f"{folder}: 0 sessions found")
        assert list(folder.iterdir()) == []
