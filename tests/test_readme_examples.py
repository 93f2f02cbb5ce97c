"""What README says of the example applications is run: its settings, commands and output."""

from __future__ import annotations

import grp
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.example_application import EXAMPLES, KEY, server_of, started
from tests.support.tools import require_tool
from tests.test_readme import README, snippets

CHAPTER = README[README.index("## Notification") : README.index("## Moving from IIS")]


def lines(start: str) -> list[str]:
    """The commands of the chapter that begin so."""
    return re.findall(rf"^    ({start}.*)$", CHAPTER, re.M)


@pytest.mark.parametrize("kind", ["by-reference", "by-value"])
def test_who_follows_the_page_of_an_example_gets_the_receipt_that_it_shows(
    kind: str, folder: Path, tmp_path: Path
) -> None:
    require_tool("curl")
    file = f"examples/receipt_{kind.replace('-', '_')}.py"
    (line,) = lines(f"RECEIPT_KEY=secret python3 {file}")
    _, _, _, *options = shlex.split(line.replace("/srv/uploads", str(folder)))
    options[options.index("archive")] = str(tmp_path / "archive")
    (settings,) = (each for each in snippets("toml") if f'notification_type = "{kind}"' in each)
    command = [sys.executable, str(EXAMPLES.parent / file), *options, "--port", "0"]
    with started(command) as (port, _):
        for shown, ours in {
            "/srv/uploads": str(folder),
            "127.0.0.1:9000": f"127.0.0.1:{port}",
            '"receipts"': f'"{grp.getgrgid(os.getegid()).gr_name}"',
        }.items():
            settings = settings.replace(shown, ours)
        with server_of(settings, tmp_path) as running:
            script = "\n".join([*lines("URL="), *lines("ID="), *lines("curl ")])
            done = subprocess.run(
                ["bash", "-euc", script.replace("http://127.0.0.1:8080", running.url)],
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            )
    assert done.stderr == ""
    assert done.stdout.count("HTTP/1.1 200 OK") == 2
    (receipt,) = re.findall(r"^\{.*?^\}$", done.stdout, re.M | re.S)
    (example,) = snippets("json")
    expected, got = json.loads(example), json.loads(receipt)
    assert list(got) == list(expected)
    for field in ("name", "bytes", "sha256"):
        assert got[field] == expected[field]
    assert (tmp_path / "archive" / got["session"] / "hello.txt").read_bytes() == b"hello, BITS"
    assert KEY not in running.log


def test_the_server_is_started_with_the_key_of_the_application() -> None:
    assert len(lines("RECEIPT_KEY=secret bits-server serve --settings FILE")) == 2
