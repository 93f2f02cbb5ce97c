"""The example by reference as another user: what session_group and session_mode open, and to whom.

The rule of this file: neither process has a privilege. The server is root without capabilities,
whom the kernel treats as any other user, and the application is nobody.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.example_application import EXAMPLES, application, server_of, settings_for
from tests.support.live_server import LiveServer
from tests.support.tools import require_tool

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may start a process as another user"
)
CONTENT = b"what the client uploaded"
OTHER = pwd.getpwnam("nobody")


@pytest.fixture
def house() -> Iterator[Path]:
    """A folder that others may pass through, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o711)
        yield Path(name)


def as_other() -> list[str]:
    """What runs Python as another user. Skips where there is no Python for him."""
    ids = [f"--reuid={OTHER.pw_uid}", f"--regid={OTHER.pw_gid}", "--clear-groups"]
    program = f"import hashlib; hashlib.file_digest; open({str(EXAMPLES / 'filing.py')!r})"
    for python in (sys.executable, "/usr/bin/python3"):
        run = [require_tool("setpriv"), *ids, python]
        if subprocess.run([*run, "-c", program], capture_output=True).returncode == 0:
            return run
    pytest.skip("no Python that another user may run")


def unprivileged() -> list[str]:
    """What runs a program as a member of the other user's group, and without capabilities."""
    group = f"--groups={OTHER.pw_gid}"
    return [require_tool("setpriv"), group, "--inh-caps=-all", "--bounding-set=-all"]


def capabilities(running: LiveServer) -> int:
    status = Path(f"/proc/{running.pid}/status").read_text()
    return int(status.partition("CapEff:")[2].split()[0], 16)


@pytest.mark.parametrize(
    ("session_mode", "status"), [("0660", 200), ("0640", 503), ("0600", 503), (None, 503)]
)
def test_the_application_needs_to_write_in_the_folder_of_a_session(
    house: Path, tmp_path: Path, session_mode: str | None, status: int
) -> None:
    """Reading the file is not enough: the reply is made beside it."""
    uploads, archive = house / "uploads", house / "archive"
    for folder in (uploads, archive):
        folder.mkdir()
        folder.chmod(0o755)
    os.chown(archive, OTHER.pw_uid, OTHER.pw_gid)
    more = ""
    if session_mode is not None:
        group = grp.getgrgid(OTHER.pw_gid).gr_name
        more = f'session_group = "{group}"\nsession_mode = "{session_mode}"\n'
    kind = "by-reference"
    with (
        application(kind, uploads, archive, run=as_other()) as port,
        server_of(
            settings_for(kind, port, uploads) + more, tmp_path, run=unprivileged()
        ) as running,
        running.sender() as sender,
    ):
        client = BitsClient(sender)
        assert client.create().status == 200
        assert capabilities(running) == 0
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert answer.status == status
        if status == 200:
            reply = sender.send("GET", answer["BITS-Reply-URL"])
            assert json.loads(reply.body)["bytes"] == len(CONTENT)
            assert_success(client.close())
            assert list((uploads / "BITS-Sessions").glob("{*")) == []
            assert (archive / client.session_id / "f.bin").read_bytes() == CONTENT
