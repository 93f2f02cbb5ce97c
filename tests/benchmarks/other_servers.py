"""Servers of others that take files by PUT, measured beside ours where they are installed.

The rule of this file: each is started as its own manual says, to store what it is sent, with as
many processes as ours; what is not installed is left out of the report.
"""

from __future__ import annotations

import glob
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import is_listening, wait_until

TRIES = 5

_LIGHTTPD = """\
server.modules = ("mod_webdav")
server.document-root = "{scratch}"
server.bind = "127.0.0.1"
server.port = {port}
server.max-worker = {workers}
server.upload-dirs = ("{scratch}/bodies")
webdav.activate = "enable"
"""


def _lighttpd(program: str, scratch: Path, port: int, workers: int) -> Sequence[str]:
    (scratch / "bodies").mkdir(exist_ok=True)
    configuration = scratch / "lighttpd.conf"
    configuration.write_text(_LIGHTTPD.format(scratch=scratch, port=port, workers=workers))
    return [program, "-D", "-f", str(configuration)]


def _rclone(program: str, scratch: Path, port: int, _workers: int) -> Sequence[str]:
    """One process: it is written in Go, and has threads of its own."""
    address = f"127.0.0.1:{port}"
    return [program, "serve", "webdav", str(scratch), "--addr", address, "--config", "/dev/null"]


@dataclass(frozen=True)
class OtherServer:
    """How it is started; ``has_workers``: below the process that is started, as many as ours.

    ``needs``: a file, as a pattern, that may be missing where the program is installed.
    """

    program: str
    command: Callable[[str, Path, int, int], Sequence[str]]
    has_workers: bool
    needs: str = "/"


OTHER_SERVERS = {
    "lighttpd WebDAV PUT": OtherServer(
        "lighttpd",
        _lighttpd,
        has_workers=True,
        needs="/usr/lib*/lighttpd/mod_webdav.so",  # in Debian it is a package of its own
    ),
    "rclone WebDAV PUT": OtherServer("rclone", _rclone, has_workers=False),
}


def installed() -> list[str]:
    """The names of those that can be started here."""
    return [
        name
        for name, other in OTHER_SERVERS.items()
        if _find(other.program) and glob.glob(other.needs)
    ]


@contextmanager
def running(name: str, scratch: Path, workers: int) -> Iterator[tuple[tuple[str, int], int]]:
    """Start one that is ``installed``, on ``scratch``; its address, and the id of its process."""
    other = OTHER_SERVERS[name]
    found = _find(other.program)
    assert found is not None
    for _ in range(TRIES):  # a port that was free may be taken when the server comes to it
        with socket.create_server(("127.0.0.1", 0)) as free:
            address: tuple[str, int] = free.getsockname()
        with open(scratch / "server.log", "ab") as log:
            process = subprocess.Popen(
                other.command(found, scratch, address[1], workers),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # lighttpd tells its whole process group to end
            )
        try:
            wait_until(lambda: process.poll() is not None or is_listening(address))  # noqa: B023
            if process.poll() is None:
                yield address, process.pid
                return
        finally:
            process.terminate()
            process.wait(20)
    raise RuntimeError(f"{name} does not start: {(scratch / 'server.log').read_text()}")


def _find(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
