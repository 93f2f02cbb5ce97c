"""The client's own wheel: built, and run where nothing of the server's is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.fake_iis import FakeIis

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "packaging" / "bits-client"
# What the three dependencies are made of.
LIBRARIES = [
    *("click", "requests", "tqdm", "urllib3", "certifi", "idna", "charset_normalizer"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command = [*build, "--disable-pip-version-check", "--no-index", "-w", str(folder), str(SOURCE)]
    subprocess.run(command, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def test_it_holds_the_client_and_what_it_shares(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        needed = archive.read(metadata).decode()
    rooms = {name.split("/")[1] for name in names if name.startswith("bits_server/")}
    expected = {"__init__.py", "__init__.pyi", "py.typed", "version.py", "client", "protocol"}
    assert rooms == expected
    for name in ("werkzeug", "gunicorn", "prometheus", "bcrypt", "libpass"):
        assert name not in needed


def test_it_has_the_dependencies_of_the_extra_client() -> None:
    own = tomllib.loads((SOURCE / "pyproject.toml").read_text())["project"]
    whole = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert own["dependencies"] == whole["optional-dependencies"]["client"]
    assert own["scripts"]["bits-client"] == whole["scripts"]["bits-client"]


def test_every_file_of_the_source_is_a_link_to_ours() -> None:
    for path in (SOURCE / "bits_server").iterdir():
        if path.name != "__pycache__":
            assert path.is_symlink(), path
            assert path.resolve() == ROOT / "bits_server" / path.name


def test_it_uploads_without_the_server_installed(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home, with_pip=False)
    (site,) = (home / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for name in LIBRARIES:
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        (site / name).symlink_to(Path(found.origin).parent)
    file = tmp_path / "f.bin"
    file.write_bytes(os.urandom(100_000))
    environment = {"PATH": os.environ["PATH"], "BITS_CLIENT_STATE": str(tmp_path / "state")}
    python = [str(home / "bin" / "python"), "-m", "bits_server.client"]
    with FakeIis() as iis:
        command = [*python, "transfer", str(file), f"{iis.url}/upload/f", "--proxy", "none"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert iis.files == {"/upload/f": file.read_bytes()}
    server = [python[0], "-c", "import bits_server; bits_server.create_app"]
    missing = subprocess.run(server, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "ModuleNotFoundError" in missing.stderr
