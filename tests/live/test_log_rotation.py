"""README's snippet for logrotate, beside a running server: no line is lost, none comes twice."""

from __future__ import annotations

import grp
import gzip
import os
import pwd
import re
import subprocess
from pathlib import Path

from tests.support.bits_client import BitsClient
from tests.support.live_server import LiveServer
from tests.support.tools import require_tool
from tests.test_readme import snippets

NAMED = "/var/log/bits-server/"
UPLOADS = 12


def test_lines_go_on_in_a_new_file(folder: Path, tmp_path: Path) -> None:
    logrotate = require_tool("logrotate")
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o750)
    user = f"{pwd.getpwuid(os.geteuid()).pw_name} {grp.getgrgid(os.getegid()).gr_name}"
    (snippet,) = snippets("logrotate")
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(
        snippet.replace(NAMED, f"{logs}/").replace("su bits-server bits-server", f"su {user}")
    )
    configuration.chmod(0o644)  # it reads no file that others may write to
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[server]\nlog_file = "{logs}/bits-server.log"\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
    )
    command = [logrotate, "--force", "--state", str(tmp_path / "state"), str(configuration)]
    options = ["--settings", str(settings)]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        for number in range(UPLOADS):
            with server.sender(is_kept=False) as sender:  # so each of the processes has its turn
                BitsClient(sender, f"/upload/{number}").upload(b"hello, BITS", 4)
            if number % 4 == 3:
                subprocess.run(command, check=True, capture_output=True, text=True)
        with server.sender() as sender:
            BitsClient(sender, "/upload/last").upload(b"hello, BITS")
    files = sorted(path.name for path in logs.iterdir())
    assert files == [
        "bits-server.log",
        *(f"bits-server.log.{end}" for end in ("1", "2.gz", "3.gz")),
    ]
    text = "".join(read(logs / name) for name in files)
    closed = re.findall(r" Close-Session '/upload/(\w+)'", text)
    assert sorted(closed) == sorted([*map(str, range(UPLOADS)), "last"])
    assert "'/upload/last'" in read(logs / "bits-server.log")
    assert len(re.findall(r" Fragment '/upload/\d+'", text)) == 3 * UPLOADS


def read(path: Path) -> str:
    return gzip.decompress(path.read_bytes()).decode() if path.suffix == ".gz" else path.read_text()
