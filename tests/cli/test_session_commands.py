"""``bits-server sessions``: what each command says, does, and how it ends."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bits_server.cli import main
from bits_server.cli.session_report import HEADING
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from tests.conftest import Tell
from tests.storage.stages import FileStage, closed_record_of, new_record, nothing_left_behind
from tests.support.bits_client import BitsClient, assert_refused
from tests.support.live_server import LiveServer
from tests.support.server_application import Answer, ServerApplication, refused_url

GUID = "{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"
DAY = 86_400
CONTENT = b"request entity" * 300


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[FileStage]:
    with nothing_left_behind(FileStage(tmp_path)) as stage:
        assert isinstance(stage, FileStage)
        yield stage


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sessions", *arguments])


def _list(stage: FileStage, *options: str) -> Result:
    result = _run("list", str(stage.root), *options)
    assert result.exit_code == 0, result.output
    return result


def _names(result: Result) -> list[str]:
    """The destinations in the order of the lines."""
    head, *rows = result.output.splitlines()
    assert head == HEADING
    return [row.rpartition(" /upload ")[2].strip("'") for row in rows]


def _documents(result: Result) -> list[dict[str, Any]]:
    found = json.loads(result.output)
    assert found.keys() == {"sessions"}
    sessions: list[dict[str, Any]] = found["sessions"]
    return sessions


# list


def test_the_list_has_a_line_for_each_session(stage: FileStage) -> None:
    opened = stage.create("a.bin")
    complete = stage.create_complete(b"x" * 1536, "folder/b.bin")
    stage.age(complete, 90)
    lines = _list(stage, "--sort", "state").output.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        " ".join(HEADING.split()),
        f"{opened} opened 0 B - - 0s 0s - - /upload 'a.bin'",
        f"{complete} complete 1.5 KiB 1.5 KiB 100.0 0s 1min30s - - /upload 'folder/b.bin'",
    ]
    columns = {line.index(" /upload '") for line in lines[1:]}
    assert columns == {HEADING.index(" DESTINATION")}


def test_no_session_is_told_as_such(stage: FileStage) -> None:
    assert _list(stage).output == "no sessions\n"
    assert _documents(_list(stage, "--json")) == []


def test_a_name_cannot_forge_a_line(stage: FileStage) -> None:
    stage.create("a\n{FORGED} \x1b[2J.bin")
    assert len(_list(stage).output.splitlines()) == 2
    assert "\x1b" not in _list(stage).output


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), ["old", "middle", "young"]),
        (("--reverse",), ["young", "middle", "old"]),
        (("--sort", "idle"), ["young", "old", "middle"]),
        (("--sort", "total", "--reverse"), ["middle", "young", "old"]),
        (("--sort", "destination"), ["middle", "old", "young"]),
        (("--sort", "received"), ["old", "young", "middle"]),
        (("--idle-longer-than", "2d"), ["young"]),
        (("--state", "complete"), ["middle", "young"]),
        (("--state", "complete", "--state", "opened"), ["old", "middle", "young"]),
        (("--destination", "*d*"), ["old", "middle"]),
        (("--user", "alice"), ["middle"]),
        (("--user", ""), ["old", "young"]),
    ],
)
def test_the_list_is_sorted_and_filtered(
    stage: FileStage, options: tuple[str, ...], names: list[str]
) -> None:
    sessions = {
        "young": stage.create_complete(b"xy", "young"),
        "old": stage.create("old"),
        "middle": stage.create_complete(b"xyz", "middle"),
    }
    changes: dict[str, dict[str, Any]] = {
        "old": {"created": 1_000.0},
        "middle": {"created": 2_000.0, "owner": "alice"},
        "young": {"created": 3_000.0},
    }
    ages = {"young": 3 * DAY, "old": DAY, "middle": 60}
    for name, session_id in sessions.items():
        with stage.open(session_id) as session, session.locked():
            session.save(replace(session.record, **changes[name]))
        stage.age(session_id, ages[name])
    assert _names(_list(stage, *options)) == names
    documents = _documents(_list(stage, "--json", *options))
    assert [each["destination"] for each in documents] == names


def test_without_an_order_all_are_listed(stage: FileStage) -> None:
    for number in range(20):
        stage.create(f"{number}")
    found = _names(_list(stage, "--sort", "none"))
    assert sorted(found, key=int) == [str(number) for number in range(20)]


def test_a_wreck_is_listed_with_what_is_wrong(stage: FileStage) -> None:
    wreck = stage.create()
    stage.break_record(wreck)
    (_, line) = _list(stage).output.splitlines()
    assert line.startswith(f"{wreck}  unreadable ")
    assert "session.json cannot be read" in line
    (document,) = _documents(_list(stage, "--json"))
    assert document["state"] == "unreadable"
    stage.store.remove_wreck(wreck)


def test_a_record_that_cannot_even_be_opened_spoils_no_list(stage: FileStage) -> None:
    broken, _good = stage.create(), stage.create("good.bin")
    record = stage.session_folder(broken) / "session.json"
    content = record.read_bytes()
    record.unlink()
    record.mkdir()
    assert len(_documents(_list(stage, "--json"))) == 2
    result = _run("show", str(broken), str(stage.root))
    assert result.exit_code == 1
    assert "Is a directory" in result.output
    record.rmdir()
    record.write_bytes(content)


@pytest.mark.parametrize(
    "options",
    [("--sort", "size"), ("--state", "done"), ("--idle-longer-than", "3")],
)
def test_an_option_that_makes_no_sense_ends_with_status_2(
    stage: FileStage, options: tuple[str, ...]
) -> None:
    result = _run("list", str(stage.root), *options)
    assert result.exit_code == 2
    assert options[0] in result.output


def test_a_list_of_many_keeps_little_in_memory(
    stage: FileStage, tell: Tell, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without an order nothing; with one the lines, a few hundred bytes each."""
    for number in range(1_000):
        stage.create(f"folder/{number}.bin")
    peaks = {}
    for order in ("none", "age"):
        tracemalloc.start()
        try:
            arguments = ["sessions", "list", str(stage.root), "--sort", order]
            assert main.main(arguments, standalone_mode=False) is None
            peaks[order] = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert len(capfd.readouterr().out.splitlines()) == 2 * 1_001
    tell(f"peaks for 1 000 sessions, bytes: {peaks}")
    assert peaks["none"] < 600_000  # the records of the last 256 are kept
    assert peaks["age"] < peaks["none"] + 1_000 * 600


# which virtual directories


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    file = tmp_path / "settings.toml"
    file.write_text(
        "".join(
            f'[[virtual_directory]]\nurl = "/{name}"\npath = "{tmp_path / name}"\n'
            for name in ("one", "two")
        )
    )
    return file


def _create_in(folder: Path, destination: str) -> str:
    store = FilesystemStore(str(folder), DiskRules())
    store.prepare()
    record = new_record(destination)
    store.create(record)
    return record.guid


def test_a_settings_file_means_all_its_virtual_directories_or_one(
    settings_file: Path, tmp_path: Path
) -> None:
    first, second = _create_in(tmp_path / "one", "f"), _create_in(tmp_path / "two", "g")
    file = str(settings_file)
    both = _documents(_run("list", "--settings", file, "--json"))
    assert {each["session_id"] for each in both} == {first, second}
    (one,) = _documents(_run("list", "--settings", file, "--json", "--url", "/two"))
    assert (one["session_id"], one["virtual_directory"]) == (second, "/two")
    assert _run("extend", second, "--settings", file).output.count("/two 'g'") == 1
    wrong = _run("cancel", second, "--settings", file, "--url", "/one")
    assert wrong.exit_code == 1
    assert f"{second} was not found. /one: no session has this id" in wrong.output
    assert _run("cancel", second, "--settings", file).exit_code == 0
    unknown = _run("list", "--settings", file, "--url", "/three")
    assert unknown.exit_code == 2
    assert "'/three' is none of /one, /two" in unknown.output


def test_a_folder_or_a_settings_file_must_be_named(settings_file: Path, tmp_path: Path) -> None:
    assert _run("list").exit_code == 2
    assert _run("list", str(tmp_path), "--settings", str(settings_file)).exit_code == 2
    missing = _run("list", str(tmp_path / "nowhere"))
    assert missing.exit_code == 1
    assert "is not a folder" in missing.output


@pytest.mark.parametrize("command", ["cancel", "extend", "notify"])
def test_what_another_user_s_server_could_not_read_is_not_written(
    stage: FileStage, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    session_id = stage.create()
    owner = os.stat(stage.sessions).st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    result = _run(command, str(session_id), str(stage.root))
    assert result.exit_code == 1
    assert "run this command as that user, for instance with: sudo -u " in result.output
    assert _run("show", str(session_id), str(stage.root)).exit_code == 0
    assert list(stage.store.session_ids()) == [session_id]


# show


def test_show_tells_every_fact_in_both_forms(stage: FileStage) -> None:
    session_id = stage.create_complete(CONTENT)
    found = json.loads(_run("show", str(session_id), str(stage.root), "--json").output)
    entity = Path(found["request_entity_path"])
    assert entity.read_bytes() == CONTENT
    assert found["session_id"] == str(session_id)
    text = _run("show", str(session_id), str(stage.root)).output
    told = dict(line.split(": ", 1) for line in text.splitlines())
    assert told.keys() == found.keys()
    assert told["received_bytes"] == f"{len(CONTENT)} (4.1 KiB)"
    assert told["user"] == "-"


def test_an_id_may_be_spelled_without_braces_and_in_lower_case(stage: FileStage) -> None:
    session_id = stage.create()
    for text in (str(session_id), str(session_id)[1:-1], str(session_id).lower()):
        assert _run("show", text, str(stage.root)).exit_code == 0


@pytest.mark.parametrize("command", ["show", "cancel", "extend", "notify"])
@pytest.mark.parametrize("text", [GUID, "nonsense", "{}", "../../etc"])
def test_an_unknown_id_is_told_and_ends_with_status_1(
    stage: FileStage, command: str, text: str
) -> None:
    result = _run(command, text, str(stage.root))
    assert result.exit_code == 1
    assert ("no session has this id" if text == GUID else "is no session id") in result.output


@pytest.mark.parametrize("command", ["show", "cancel", "extend"])
def test_a_broken_session_is_told_and_stays(stage: FileStage, command: str) -> None:
    wreck = stage.create()
    stage.break_record(wreck)
    result = _run(command, str(wreck), str(stage.root))
    assert result.exit_code == 1
    assert f"{wreck} in /upload is broken, and the clean-up will remove it" in result.output
    assert list(stage.store.session_ids()) == [wreck]
    stage.store.remove_wreck(wreck)


def test_of_a_session_that_was_closed_it_is_said_when(stage: FileStage) -> None:
    session_id = stage.create_complete(CONTENT)
    with stage.open(session_id) as session:
        stage.delete(session, closed_record_of(session.record))
    result = _run("show", str(session_id), str(stage.root))
    assert result.exit_code == 1
    assert "it was closed at 20" in result.output


@pytest.mark.parametrize("command", ["list", "show", "cancel", "notify", "extend"])
def test_the_help_says_how_the_command_ends(command: str) -> None:
    result = _run(command, "--help")
    assert result.exit_code == 0
    assert "status 0 when it is done, 1 when it could not be done" in " ".join(
        result.output.split()
    )


# beside the running server


def test_a_cancelled_upload_is_one_that_the_running_server_does_not_know(
    live_server: LiveServer, folder: Path
) -> None:
    with live_server.sender() as sender:
        client = BitsClient(sender)
        client.create()
        client.fragment(CONTENT[:100], 0, len(CONTENT))
        (document,) = _documents(_run("list", str(folder), "--json"))
        assert document["session_id"] == client.session_id
        assert (document["received_bytes"], document["total_bytes"]) == (100, len(CONTENT))
        said = _run("cancel", client.session_id, str(folder))
        assert said.output == f"{client.session_id} cancelled: /upload 'f.bin'\n"
        answer = client.fragment(CONTENT[100:], 100, len(CONTENT))
        assert_refused(answer, 500, "0x8020001F", client.session_id)
        client.upload(CONTENT)
    assert (folder / "f.bin").read_bytes() == CONTENT


def test_a_cancelled_upload_makes_room_under_the_limit(
    make_client: Callable[..., BitsClient], tmp_path: Path, folder: Path
) -> None:
    file = tmp_path / "settings.toml"
    text = f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\nsessions_total = 1\n'
    file.write_text(text)
    client = make_client(sessions_total=1)
    assert client.create().status == 200
    assert make_client("/upload/g.bin", sessions_total=1).create().status == 503
    assert _run("cancel", client.session_id, "--settings", str(file)).exit_code == 0
    assert make_client("/upload/g.bin", sessions_total=1).create().status == 200


def test_an_application_is_notified_beside_the_running_server(folder: Path, tmp_path: Path) -> None:
    """The application was down for a while; the operator does not wait for the client."""
    file = tmp_path / "settings.toml"
    with ServerApplication(Answer(403)) as application:

        def write_settings(url: str) -> None:
            file.write_text(
                f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
                f'notification_type = "by-value"\nnotification_url = "{url}"\n'
            )

        write_settings(application.url)
        options = ["--settings", str(file)]
        with (
            LiveServer(options=options, log_file=tmp_path / "server.log") as server,
            server.sender() as sender,
        ):
            client = BitsClient(sender)
            client.create()
            assert client.fragment(CONTENT, 0, len(CONTENT)).status == 403
            (line,) = _run("list", *options).output.splitlines()[1:]
            assert "  refused 403 " in line

            write_settings(refused_url())
            failed = _run("notify", client.session_id, *options)
            assert failed.exit_code == 1
            assert "the client is to be told 503" in failed.output

            write_settings(application.url)
            application.answer = Answer(fields={"BITS-Copy-File-To-Destination": ""}, reply=b"ok")
            said = _run("notify", client.session_id, *options)
            assert said.exit_code == 0, said.output
            assert said.output.startswith(f"{client.session_id} notified, attempt 3: it answered")
            assert "with a reply at '/upload/BITS-Sessions/" in said.output
            assert said.output.endswith("and wants the file at its destination\n")
            ids = {each.headers["bits-session-id"] for each in application.notifications}
            assert ids == {client.session_id}

            answer = client.fragment(CONTENT, 0, len(CONTENT))
            assert answer.status == 200
            assert sender.send("GET", answer["BITS-Reply-URL"]).body == b"ok"
            shown = json.loads(_run("show", client.session_id, *options, "--json").output)
            assert shown["notification"]["outcome"] == "succeeded"
            assert shown["notification"]["attempts"] == 3
            assert client.close().status == 200
            assert application.calls == 2
    assert (folder / "f.bin").read_bytes() == CONTENT
