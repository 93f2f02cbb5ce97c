"""A disk that fails once, at each step of an upload in turn: the client goes on, all is there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bits_server.settings import Durability
from tests.conftest import ClientMaker
from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.wire import Answer

CONTENT = os.urandom(5000)
STEPS = (
    "fchmod",
    "fdatasync",
    "fsync",
    "link",
    "mkdir",
    "open",
    "pwrite",
    "rename",
    "replace",
    "rmdir",
    "unlink",
)


class FailingDisk:
    """The functions of ``os`` that change the disk, of which one call fails, with errno ``number``.

    ``calls``: what was called, in order. A write that fails has written a half.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self._number = number
        self.at = 0
        self.calls: list[str] = []
        self.has_failed = False
        for name in STEPS:
            monkeypatch.setattr(os, name, self._failing(name, getattr(os, name)))

    def arm(self, at: int) -> None:
        """Fail at the call of this number, counted from 1 from now on; 0 for never."""
        self.at, self.calls, self.has_failed = at, [], False

    def _failing(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & (os.O_WRONLY | os.O_CREAT):
                return real(*arguments, **options)
            self.calls.append(name)
            if len(self.calls) == self.at:
                self.has_failed = True
                if name == "pwrite":
                    fd, block, at = arguments
                    real(fd, block[: len(block) // 2], at)
                raise OSError(self._number, os.strerror(self._number))
            return real(*arguments, **options)

        return call


@pytest.fixture
def no_descriptor_is_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def patiently(send: Callable[[], Answer], hresult: str) -> Answer:
    """As a client: after 500 the same packet again."""
    answer = send()
    if answer.status == 500:
        assert answer["BITS-Error-Code"] == hresult
        assert answer["BITS-Error-Context"] == "0x5"
        answer = send()
    assert_success(answer)
    return answer


def upload(client: BitsClient, hresult: str) -> None:
    patiently(client.create, hresult)
    start = 0
    while start < len(CONTENT):
        body = CONTENT[start : start + 2000]
        answer = client.fragment(body, start, len(CONTENT))
        if answer.status == 500:
            assert_refused(answer, 500, hresult, client.session_id)
        received = int(answer["BITS-Received-Content-Range"])
        assert received >= start, "acknowledged bytes are gone"
        start = received
    if answer.status == 500:  # every byte is there, but the packet was refused: it comes again
        assert_success(client.fragment(CONTENT[-1:], len(CONTENT) - 1, len(CONTENT)))
    patiently(client.close, hresult)


@pytest.mark.usefixtures("no_descriptor_is_left")
@pytest.mark.parametrize(
    ("number", "hresult"),
    [
        (errno.ENOSPC, "0x80070070"),
        (errno.EDQUOT, "0x80070070"),
        (errno.EIO, "0x801901F4"),
    ],
    ids=["no space", "quota", "broken disk"],
)
@pytest.mark.parametrize("durability", ["none", "close", "fragment"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_disk_that_fails_once_at_any_step_costs_nothing(
    make_client: ClientMaker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    hresult: str,
    durability: str,
    overwrite: bool,
) -> None:
    client = make_client(
        durability=Durability(durability), allow_overwrites=overwrite, create_folders=True
    )
    disk = FailingDisk(monkeypatch, number)
    disk.arm(0)
    client.target = "/upload/made/0"
    upload(client, hresult)
    steps = len(disk.calls)
    assert steps > 10
    for step in range(1, steps + 1):
        if overwrite:
            (folder / "made" / str(step)).write_bytes(b"old")
        client.target = f"/upload/made/{step}"
        disk.arm(step)
        upload(client, hresult)
        assert disk.has_failed or step > len(disk.calls)
        disk.arm(0)
        assert (folder / "made" / str(step)).read_bytes() == CONTENT
    assert list(folder.glob("made/.*")) == []
    left = list((folder / "BITS-Sessions").glob("{*"))
    assert left == [], "a session is left behind"
    assert list((folder / "BITS-Sessions" / ".closed").glob("*.new")) == []
