"""Where concrete classes meet: what of this machine is refused, and how it is said."""

from __future__ import annotations

import grp
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bits_server.app import check_environment, create_app, make_cleanups
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError
from bits_server.sessions.cleanup import Cleanup
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.settings import Settings, SettingsError, VirtualDirectory
from bits_server.storage.record import SessionRecord
from tests.support.bits_client import BitsClient
from tests.support.wire import InProcessSender

SECOND = "[[virtual_directory]] number 2"


def settings_of(*paths: str | Path, **changes: Any) -> Settings:
    """A virtual directory for each path."""
    return Settings(
        tuple(
            VirtualDirectory(f"/v{number}", str(path), **changes)
            for number, path in enumerate(paths, 1)
        )
    )


def check_or_create(name: str) -> Callable[[Settings], object]:
    if name == "check_environment":
        return check_environment
    return lambda settings: create_app(settings, clean_up=False)


@pytest.fixture(params=["check_environment", "create_app"])
def use(request: pytest.FixtureRequest) -> Callable[[Settings], object]:
    """Both ways to have the settings looked at."""
    return check_or_create(request.param)


def refusal(use: Callable[[Settings], object], settings: Settings) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        use(settings)
    return caught.value


def test_a_folder_that_is_missing_is_refused_with_table_and_key(
    use: Callable[[Settings], object], folder: Path
) -> None:
    error = refusal(use, settings_of(folder, folder.parent / "missing"))
    assert (error.table, error.key) == (SECOND, "path")
    assert f"mkdir -p {folder.parent}/missing" in error.problem
    assert not (folder.parent / "missing").exists()


def test_a_file_is_no_folder(use: Callable[[Settings], object], folder: Path) -> None:
    (folder.parent / "file").touch()
    error = refusal(use, settings_of(folder, folder.parent / "file"))
    assert (error.table, error.key) == (SECOND, "path")
    assert "is not a folder" in error.problem


def test_a_path_that_no_machine_can_have_is_no_folder(
    use: Callable[[Settings], object], folder: Path
) -> None:
    for path in ("/a\x00b", "/" + "x" * 5000, f"{folder}/\ud800"):
        assert refusal(use, settings_of(folder, path)).table == SECOND


def test_a_folder_that_cannot_be_written_is_refused_with_table_and_key(
    use: Callable[[Settings], object], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the answer of the system: root, who may run this test, may write everywhere."""
    closed = folder.parent / "closed"
    closed.mkdir()
    may = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: str(path) != str(closed) and may(path, mode)
    )
    error = refusal(use, settings_of(folder, closed))
    assert (error.table, error.key) == (SECOND, "path")
    assert "is not writable" in error.problem
    assert "chown or chmod" in error.problem


def test_a_read_only_folder_is_told_from_one_with_wrong_rights(
    use: Callable[[Settings], object], small_disk: Path
) -> None:
    """So systemd shows a service what it may not write to; no chown would help."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    problem = refusal(use, settings_of(small_disk)).problem
    assert "is mounted read-only" in problem
    assert "ReadWritePaths" in problem
    assert "chown" not in problem


def test_an_unknown_group_is_refused_with_table_and_key(
    use: Callable[[Settings], object], folder: Path
) -> None:
    error = refusal(use, settings_of(folder, session_group="no such group"))
    assert (error.table, error.key) == ("[[virtual_directory]] number 1", "session_group")
    assert "no group 'no such group'" in error.problem


def test_a_group_of_this_machine_is_taken(use: Callable[[Settings], object], folder: Path) -> None:
    use(settings_of(folder, session_group=grp.getgrgid(os.getgid()).gr_name))


class TestFoldersThatOverlap:
    @pytest.fixture
    def inner(self, folder: Path) -> Path:
        inner = folder / "a" / "b"
        inner.mkdir(parents=True)
        return inner

    def assert_refused(self, use: Callable[[Settings], object], *paths: str | Path) -> None:
        for first, second in (paths, paths[::-1]):
            error = refusal(use, settings_of(first, second))
            assert (error.table, error.key) == (SECOND, "path")
            assert "'/v1' overlap; give each its own" in error.problem

    def test_the_same_folder_twice(self, use: Callable[[Settings], object], folder: Path) -> None:
        self.assert_refused(use, folder, folder)
        self.assert_refused(use, folder, f"{folder}/")
        self.assert_refused(use, folder, f"{folder}/../{folder.name}/.")

    def test_one_inside_the_other(
        self, use: Callable[[Settings], object], folder: Path, inner: Path
    ) -> None:
        self.assert_refused(use, folder, inner)

    def test_one_inside_the_other_through_a_link(
        self, use: Callable[[Settings], object], folder: Path, inner: Path
    ) -> None:
        link = folder.parent / "link"
        link.symlink_to(inner)
        self.assert_refused(use, folder, link)
        self.assert_refused(use, link, inner)
        (folder.parent / "way").symlink_to(folder)
        self.assert_refused(use, folder.parent / "way" / "a", inner)

    def test_of_three_folders_the_pair_is_named(self, folder: Path, inner: Path) -> None:
        other = folder.parent / "other"
        other.mkdir()
        error = refusal(check_environment, settings_of(folder, other, inner))
        assert error.table == "[[virtual_directory]] number 3"
        assert "'/v1'" in error.problem

    def test_folders_beside_each_other_do_not_overlap(
        self, use: Callable[[Settings], object], folder: Path
    ) -> None:
        beside = [folder.with_name(folder.name + suffix) for suffix in ("2", "-old", "")]
        for path in beside:
            path.mkdir(exist_ok=True)
        use(settings_of(*beside))

    def test_a_link_that_leads_out_of_a_folder_does_not_make_it_overlap(
        self, use: Callable[[Settings], object], folder: Path
    ) -> None:
        other = folder.parent / "other"
        other.mkdir()
        (folder / "link").symlink_to(other)
        use(settings_of(folder, folder / "link"))


def test_looking_at_the_environment_makes_nothing(folder: Path) -> None:
    check_environment(settings_of(folder))
    assert list(folder.iterdir()) == []


def test_the_application_makes_its_private_folder_for_nobody_else(folder: Path) -> None:
    create_app(settings_of(folder), clean_up=False)
    assert [path.name for path in folder.iterdir()] == ["BITS-Sessions"]
    assert (folder / "BITS-Sessions").stat().st_mode & 0o777 == 0o700


def test_a_folder_in_which_sessions_cannot_be_kept_is_refused_with_table_and_key(
    folder: Path,
) -> None:
    (folder / "BITS-Sessions").write_bytes(b"a file has that name")
    error = refusal(check_or_create("create_app"), settings_of(folder))
    assert (error.table, error.key) == ("[[virtual_directory]] number 1", "path")
    assert f"{folder}/BITS-Sessions" in error.problem


@pytest.mark.parametrize("clean_up", [True, False])
def test_the_application_cleans_up_by_itself_unless_it_is_told_not_to(
    folder: Path, monkeypatch: pytest.MonkeyPatch, clean_up: bool
) -> None:
    started: list[float] = []

    class Housekeeper:
        def __init__(self, cleanups: list[tuple[Cleanup, float]]) -> None:
            self.intervals = [interval for _, interval in cleanups]

        def start(self) -> None:
            started.extend(self.intervals)

    monkeypatch.setattr("bits_server.app.Housekeeper", Housekeeper)
    create_app(settings_of(folder, cleanup_interval=77), clean_up=clean_up)
    assert started == ([77] if clean_up else [])


def test_a_clean_up_of_an_unknown_group_is_refused_with_table_and_key(folder: Path) -> None:
    error = refusal(make_cleanups, settings_of(folder, session_group="no such group"))
    assert (error.table, error.key) == ("[[virtual_directory]] number 1", "session_group")


class Notebook:
    """A SessionObserver that writes the names of what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def session_created(self, directory: str, record: SessionRecord) -> None:
        self.events.append(f"{directory} created {record.destination}")

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        self.events.append(f"{directory} {content_range} of {record.destination}: {received}")

    def notified(self, directory: str, record: SessionRecord) -> None:
        self.events.append(f"{directory} notified of {record.destination}")

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        assert outcome
        self.events.append(f"{directory} closed {record.destination}")

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        self.events.append(f"{directory} cancelled {record.destination}")

    def expired(self, directory: str, record: SessionRecord) -> None:
        self.events.append(f"{directory} expired {record.destination}")

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        self.events.append(f"{directory} cleaned up: {report}")

    def failed(  # of what is no packet
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        assert session_id
        self.events.append(f"{directory} {packet} to {destination}: {type(error).__name__}")

    def answered(self, packet: AnsweredPacket) -> None:
        assert packet.seconds >= 0
        outcome = f"{packet.body_bytes} bytes"
        if packet.error is not None:
            outcome = f"{packet.destination}: {type(packet.error).__name__}"
        self.events.append(f"{packet.directory} {packet.packet} answered, {outcome}")


def test_the_observer_is_told_of_everything_that_happens(folder: Path) -> None:
    notebook = Notebook()
    app = create_app(settings_of(folder), notebook, clean_up=False)
    client = BitsClient(InProcessSender(app), "/v1/f.bin")
    client.upload(b"hello", 3)
    client.target = "/v1/g.bin"
    client.create()
    client.cancel()
    client.cancel()
    assert notebook.events == [
        "/v1 created f.bin",
        "/v1 Create-Session answered, 0 bytes",
        "/v1 bytes 0-2/5 of f.bin: 3",
        "/v1 Fragment answered, 3 bytes",
        "/v1 bytes 3-4/5 of f.bin: 5",
        "/v1 Fragment answered, 2 bytes",
        "/v1 closed f.bin",
        "/v1 Close-Session answered, 0 bytes",
        "/v1 created g.bin",
        "/v1 Create-Session answered, 0 bytes",
        "/v1 cancelled g.bin",
        "/v1 Cancel-Session answered, 0 bytes",
        "/v1 Cancel-Session answered, /v1/g.bin: SessionNotFound",
    ]


def test_without_an_observer_what_happens_is_logged(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bits_server"), "propagate", True)
    app = create_app(settings_of(folder), clean_up=False)
    client = BitsClient(InProcessSender(app), "/v1/f.bin")
    with caplog.at_level(logging.INFO, "bits_server"):
        client.upload(b"hello")
    assert [client.session_id in message for message in caplog.messages] == [True] * 4


def test_two_virtual_directories_keep_their_files_apart(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
    app = create_app(settings_of(*paths), clean_up=False)
    for number in (1, 2):
        BitsClient(InProcessSender(app), f"/v{number}/f").upload(b"%d" % number)
    assert [(path / "f").read_bytes() for path in paths] == [b"1", b"2"]


class TestTheOrderOfChecks:
    """A malformed session id is "session not found": looked at after URL and upload_enabled."""

    @pytest.mark.parametrize("wrong", ["7", "{}"])
    def test_a_malformed_session_id_does_not_hide_that_there_is_no_virtual_directory(
        self, make_client: Callable[..., BitsClient], wrong: str
    ) -> None:
        client = make_client("/elsewhere/f.bin")
        client.session_id = wrong
        assert client.close().status == 404

    def test_a_malformed_session_id_does_not_hide_that_uploads_are_off(
        self, make_client: Callable[..., BitsClient]
    ) -> None:
        client = make_client(upload_enabled=False)
        client.session_id = "7"
        assert client.close().status == 501

    def test_a_well_formed_one_does_not(self, make_client: Callable[..., BitsClient]) -> None:
        for client, status in (
            (make_client("/elsewhere/f.bin"), 404),
            (make_client(upload_enabled=False), 501),
            (make_client(), 500),
        ):
            client.session_id = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
            assert client.close().status == status


def test_metrics_are_told_to_no_request_without_a_socket(folder: Path) -> None:
    """Under a server that does not show it, every request is one for uploads."""
    settings = Settings(settings_of(folder).virtual_directories, metrics_bind="127.0.0.1:9108")
    sender = InProcessSender(create_app(settings, clean_up=False))
    for target in ("/metrics", "/healthz", "/readyz"):
        assert sender.send("GET", target, [("Host", "127.0.0.1:9108")]).status == 404
    BitsClient(sender, "/v1/f").upload(b"content")


@pytest.mark.parametrize(
    ("address", "problem"),
    [("fd://3", "for bits-server serve only"), ("no-such-host.invalid:80", "no-such-host.invalid")],
)
def test_an_address_of_metrics_that_cannot_be_found_is_refused(
    folder: Path, address: str, problem: str
) -> None:
    settings = Settings(settings_of(folder).virtual_directories, metrics_bind=address)
    error = refusal(lambda given: create_app(given, clean_up=False), settings)
    assert (error.table, error.key) == ("[server]", "metrics_bind")
    assert problem in error.problem
