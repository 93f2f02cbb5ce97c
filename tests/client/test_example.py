"""The example of the library, as it is, and the lines of README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.fake_iis import FakeIis
from tests.support.faults import Fault

ROOT = Path(__file__).parents[2]


def environment(tmp_path: Path) -> dict[str, str]:
    inherited = {name: each for name, each in os.environ.items() if "proxy" not in name.lower()}
    return {**inherited, "BITS_CLIENT_STATE": str(tmp_path / "state"), "HOME": str(tmp_path)}


def test_a_folder_is_uploaded_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    contents = {f"file {number}.bin": os.urandom(50_000) for number in range(5)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    with FakeIis() as iis:
        iis.script("Create-Session", Fault(status=503))
        command = [sys.executable, str(ROOT / "examples" / "upload_many.py")]
        command += [str(folder), f"{iis.url}/upload"]
        results = [
            subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
            for _ in range(2)
        ]
        assert results[0].returncode == 1
        assert "TRANSIENT_ERROR" in results[0].stdout
        assert results[1].returncode == 0, results[1].stdout + results[1].stderr
        assert {path.rpartition("/")[2]: each for path, each in iis.files.items()} == contents


def test_the_lines_of_readme(tmp_path: Path) -> None:
    chapter = (ROOT / "README.md").read_text().partition("## The upload client")[2]
    (snippet,) = re.findall(r"```python\n(.*?)```", chapter.partition("\n## ")[0], re.S)
    (tmp_path / "report.pdf").write_bytes(b"a report")
    with FakeIis() as iis:
        program = snippet.replace("https://files.example.com", iis.url)
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**environment(tmp_path), "XDG_STATE_HOME": str(tmp_path / "xdg")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "JobState.TRANSFERRED None" in done.stdout
        assert iis.files == {"/upload/report.pdf": b"a report"}
