"""The order of writing, syncing and naming, as the kernel saw it: what a power failure leaves.

A file is safe when its data was synced before it got its name, and its folder after; an Ack may
only leave when that is done. The system calls of a real server are recorded with strace.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.tools import require_tool
from tests.support.waiting import wait_until

CALLS = "pwrite64,fdatasync,fsync,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,sendto"
EVENTS: dict[str, str] = {
    r"pwrite64\(\d+<\S+/request>": "write request",
    r"f(data)?sync\(\d+<\S+/request>": "sync request",
    r"fsync\(\d+<\S+/session\.json(\.new)?>": "sync record",
    r"fsync\(\d+<\S+/BITS-Sessions/\{[^/]+\}>": "sync session folder",
    r"fsync\(\d+<\S+/BITS-Sessions>": "sync BITS-Sessions",
    r"fsync\(\d+<\S+/\.closed/[^/]+>": "sync closed record",
    r"fsync\(\d+<\S+/\.closed>": "sync closed folder",
    r"f(data)?sync\(\d+<\S+/uploads(/made)?>": "sync destination folder",
    r"linkat\(.*\"request\".*\"f\"": "name destination",
    r"linkat\(.*\"request\".*publishing\"": "name hidden file",
    r"rename(at2?)?\(.*publishing\".*\"f\"": "name destination",
    r"rename(at2?)?\(.*\"session\.json\.new\"": "name record",
    r"rename(at2?)?\(.*\.new\".*\"\{": "name closed record",
    r"rename(at2?)?\(.*\.removed-": "remove session",
    r"mkdirat\(.*\"made\"": "make folder",
    r"sendto\(.*HTTP/1\.1 200": "Ack",
}

Recorder = Callable[..., list[str]]


def events_of(trace: str) -> list[str]:
    """The calls in the order in which they ended, in our words; unfinished ones are joined."""
    begun: dict[str, str] = {}
    events = []
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        if "<unfinished ...>" in call:
            begun[pid] = call.partition("<unfinished")[0]
            continue
        if "resumed>" in call:
            call = begun.pop(pid, "") + call.partition("resumed>")[2]
        if " = -1 " in call:
            continue
        events += [event for pattern, event in EVENTS.items() if re.match(pattern, call.strip())]
    return events


@pytest.fixture
def record(folder: Path, tmp_path: Path) -> Recorder:
    strace = require_tool("strace")

    def run(target: str = "/upload/f", **keys: str) -> list[str]:
        """The events of an upload in two fragments, on a server with these settings."""
        settings, trace = tmp_path / "settings.toml", tmp_path / "trace"
        lines = [f"{key} = {value}" for key, value in keys.items()]
        table = ["[[virtual_directory]]", 'url = "/upload"', f'path = "{folder}"', *lines]
        settings.write_text("\n".join(table))
        serve = [sys.executable, "-m", "bits_server", "serve", "--bind", "fd://{fd}"]
        # -D: the server is our child and not strace, which would keep SIGTERM from it.
        command = [strace, "-D", "-f", "-y", "-s", "200", "-e", f"trace={CALLS}", "-o", str(trace)]
        with (
            LiveServer(
                command=[*command, *serve, "--workers", "1", "--settings", str(settings)],
                log_file=tmp_path / "server.log",
            ) as server,
            server.sender() as sender,
        ):
            client = BitsClient(sender, target)
            assert_success(client.create())
            assert_success(client.fragment(b"abc", 0, 6))
            assert_success(client.fragment(b"def", 3, 6))
            assert_success(client.close())
            pid = server.pid
        wait_until(
            lambda: re.search(rf"^{pid} +\+\+\+ exited", trace.read_text(), re.M) is not None
        )
        return events_of(trace.read_text())

    return run


def packets(events: list[str]) -> list[list[str]]:
    """The events before each Ack: of Create-Session, two Fragments, and Close-Session."""
    groups: list[list[str]] = [[]]
    for event in events:
        if event == "Ack":
            groups.append([])
        else:
            groups[-1].append(event)
    assert len(groups) == 5, events
    assert groups[4] == [], "something was done after the last Ack"
    return groups[:4]


def assert_in_order(events: list[str], *expected: str) -> None:
    """These events happened in this order, perhaps with others between them."""
    rest = iter(events)
    for event in expected:
        assert event in rest, (event, events)


def test_close_is_acknowledged_when_the_file_and_its_name_are_on_the_disk(
    record: Recorder,
) -> None:
    create, first, last, close = packets(record(durability='"close"'))
    assert not [event for event in create + first if event.startswith("sync")]
    # The record says complete whatever becomes of the file: it must not outlive the bytes.
    assert_in_order(last, "write request", "sync request", "name record")
    assert_in_order(
        close,
        "sync request",
        "name destination",
        "sync destination folder",
        "sync closed record",
        "name closed record",
        "sync closed folder",
        "remove session",
    )


def test_overwriting_replaces_the_old_file_only_by_a_synced_one(
    record: Recorder, folder: Path
) -> None:
    (folder / "f").write_bytes(b"old")
    close = packets(record(durability='"close"', allow_overwrites="true"))[3]
    assert_in_order(
        close,
        "sync request",
        "name record",
        "name hidden file",
        "name destination",
        "sync destination folder",
        "name closed record",
        "remove session",
    )
    assert (folder / "f").read_bytes() == b"abcdef"


def test_each_fragment_is_acknowledged_when_its_bytes_are_on_the_disk(record: Recorder) -> None:
    create, first, last, close = packets(record(durability='"fragment"'))
    assert_in_order(create, "sync record", "sync session folder", "sync BITS-Sessions")
    assert_in_order(
        first,
        "sync record",  # the total, before the first byte
        "name record",
        "sync session folder",
        "write request",
        "sync request",
        "sync session folder",
    )
    assert_in_order(last, "write request", "sync request", "sync record", "name record")
    assert_in_order(close, "sync request", "name destination", "sync destination folder")


def test_without_durability_nothing_is_synced(record: Recorder) -> None:
    events = record("/upload/made/f", durability='"none"', create_folders="true")
    assert "make folder" in events
    assert len(packets(events)) == 4
    assert not [event for event in events if event.startswith("sync")]


def test_a_folder_that_was_made_is_synced_with_its_parent(record: Recorder) -> None:
    close = packets(record("/upload/made/f", create_folders="true"))[3]
    assert_in_order(
        close,
        "make folder",
        "sync destination folder",
        "name destination",
        "sync destination folder",
        "remove session",
    )
