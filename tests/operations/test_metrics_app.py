"""The closed address without a server: its three paths, what they answer, what else gets."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bits_server import Settings, VirtualDirectory, create_apps
from bits_server.web.trusted_proxies import WsgiApplication
from tests.operations.exposition import Exposition
from tests.support.bits_client import BitsClient, assert_success
from tests.support.wire import InProcessSender

Apps = tuple[WsgiApplication, WsgiApplication]


@pytest.fixture
def apps(folder: Path) -> Apps:
    directory = VirtualDirectory("/upload", str(folder))
    return create_apps(Settings((directory,)), clean_up=False)


@pytest.fixture
def sender(apps: Apps) -> InProcessSender:
    return InProcessSender(apps[1])


def test_what_happened_in_the_one_is_told_by_the_other(apps: Apps, sender: InProcessSender) -> None:
    client = BitsClient(InProcessSender(apps[0]))
    client.upload(b"content")
    assert_success(BitsClient(InProcessSender(apps[0]), "/upload/g").create())
    answer = sender.send("GET", "/metrics")
    assert answer.status == 200
    assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = Exposition(answer.body)
    assert found.value("packets_total", packet="Fragment", outcome="taken") == 1
    assert found.value("received_bytes_total") == 7
    assert found.value("sessions", virtual_directory="/upload", state="opened") == 1
    assert found.value("sessions") == 1
    assert found.value("sessions_counted_timestamp_seconds") > 1_700_000_000
    assert found.value("ready", virtual_directory="/upload") == 1
    assert found.value("free_bytes", virtual_directory="/upload") > 0


def test_the_process_answers(sender: InProcessSender) -> None:
    answer = sender.send("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok\n")
    assert answer["Cache-Control"] == "no-store"


def test_readiness_is_lost_and_comes_back(folder: Path, sender: InProcessSender) -> None:
    assert sender.send("GET", "/readyz").status == 200
    shutil.rmtree(folder)
    answer = sender.send("GET", "/readyz")
    reason = f"/upload: not ready: {folder} is not a folder; create it: mkdir -p {folder}\n"
    assert (answer.status, answer.body.decode()) == (503, reason)
    found = Exposition(sender.send("GET", "/metrics").body)
    assert found.value("ready", virtual_directory="/upload") == 0
    assert "bitsserver_free_bytes" not in found.names
    assert sender.send("GET", "/healthz").status == 200
    folder.mkdir()
    assert sender.send("GET", "/readyz").body.startswith(b"/upload: ready, ")


def test_a_full_disk_is_not_ready(small_disk: Path) -> None:
    directory = VirtualDirectory("/upload", str(small_disk))
    _, closed = create_apps(Settings((directory,)), clean_up=False)
    sender = InProcessSender(closed)
    assert sender.send("GET", "/readyz").status == 200
    status = os.statvfs(small_disk)
    with (small_disk / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize)
    answer = sender.send("GET", "/readyz")
    assert answer.status == 503
    assert answer.body.startswith(b"/upload: not ready: no session can be made in ")
    assert b"No space left on device" in answer.body
    found = Exposition(sender.send("GET", "/metrics").body)
    assert (found.value("ready"), found.value("free_bytes")) == (0, 0)


@pytest.mark.parametrize(
    "target", ["/", "/Metrics", "/metrics/", "//metrics", "/./metrics", "/upload/f.bin", ""]
)
def test_whatever_else_is_asked_for_is_not_there(sender: InProcessSender, target: str) -> None:
    answer = sender.send("GET", target)
    assert answer.status == 404
    assert answer.body == b"here are /metrics, /healthz, /readyz\n"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "BITS_POST", "OPTIONS"])
@pytest.mark.parametrize("target", ["/metrics", "/healthz", "/readyz"])
def test_it_is_there_to_be_read(sender: InProcessSender, method: str, target: str) -> None:
    answer = sender.send(method, target, body=b"x")
    assert (answer.status, answer["Allow"]) == (405, "GET, HEAD")


def test_it_takes_no_upload(sender: InProcessSender, folder: Path) -> None:
    for target in ("/upload/f.bin", "/metrics"):
        assert BitsClient(sender, target).create().status in (404, 405)
    assert not list((folder / "BITS-Sessions").glob("{*"))


def test_a_head_has_no_body(sender: InProcessSender) -> None:
    answer = sender.send("HEAD", "/healthz")
    assert (answer.status, answer.body) == (200, b"")
