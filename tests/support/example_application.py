"""The example applications of ``examples/`` as processes, and notifications made by hand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

from tests.support.live_server import LiveServer

EXAMPLES = Path(__file__).parents[2] / "examples"
KEY = "correct horse"
GUID = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"
LIMIT = 400_000  # bytes of one file


def file_of(kind: str) -> Path:
    return EXAMPLES / f"receipt_{kind.replace('-', '_')}.py"


@contextmanager
def application(
    kind: str, folder: Path, archive: Path, *, run: Sequence[str] = (sys.executable,)
) -> Iterator[int]:
    """The example for the virtual directory ``folder``; its port. ``run``: what runs Python."""
    options = ["--port", "0", "--archive", str(archive), "--limit", str(LIMIT)]
    options += ["--uploads", str(folder)] if kind == "by-reference" else []
    with started([*run, str(file_of(kind)), *options]) as (port, _):
        yield port


@contextmanager
def started(command: Sequence[str]) -> Iterator[tuple[int, int]]:
    """An example that was started by ``command``: its port, and its process id."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "RECEIPT_KEY": KEY},
    )
    try:
        assert process.stdout is not None
        found = re.search(r":(\d+)/$", process.stdout.readline())
        assert found is not None
        yield int(found[1]), process.pid
    finally:
        process.kill()
        process.communicate()


@contextmanager
def server(
    kind: str, port: int, folder: Path, tmp_path: Path, key: str = KEY
) -> Iterator[LiveServer]:
    """A server that calls the example at ``port``, with ``key``."""
    with server_of(settings_for(kind, port, folder), tmp_path, key) as running:
        yield running


def settings_for(kind: str, port: int, folder: Path) -> str:
    return (
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'notification_type = "{kind}"\nnotification_url = "http://127.0.0.1:{port}/"\n'
        'notification_headers = { X-Key = { env = "RECEIPT_KEY" } }\n'
    )


@contextmanager
def server_of(
    settings: str, tmp_path: Path, key: str = KEY, *, run: Sequence[str] = ()
) -> Iterator[LiveServer]:
    """A server with a settings file of that text. ``run``: what runs its Python."""
    file = tmp_path / "settings.toml"
    file.write_text(settings)
    serve = [sys.executable, "-m", "bits_server", "serve", "--bind", "fd://{fd}"]
    with LiveServer(
        command=[*run, *serve, "--settings", str(file)],
        environment={"RECEIPT_KEY": key},
        log_file=tmp_path / "server.log",
    ) as running:
        yield running


def notify(
    port: int,
    kind: str,
    session_id: str,
    folder: Path,
    body: bytes = b"again",
    /,
    **changes: str,
) -> tuple[int, bytes]:
    """A notification as the server sends it, made by hand."""
    session = folder / "BITS-Sessions" / session_id
    fields = {
        "X-Key": KEY,
        "BITS-Session-Id": session_id,
        "BITS-Original-Request-URL": "http://h/upload/f.bin",
        "BITS-Request-DataFile-Name": str(session / "request"),
        "BITS-Response-DataFile-Name": str(session / "response"),
    }
    fields |= {name.replace("_", "-"): value for name, value in changes.items()}
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", "/", body if kind == "by-value" else b"", fields)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()
