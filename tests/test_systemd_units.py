"""The units that we ship: systemd finds nothing wrong, and what they name fits everything else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from bits_server.cli.embedded_server import GUNICORN_SETTINGS
from bits_server.operations.settings_file import load_settings
from tests.support.nginx import SHIPPED
from tests.support.tools import require_tool

CONFIG = SHIPPED.parent
UNITS = ("bits-server.service", "bits-server.socket")
SERVICE = (CONFIG / "bits-server.service").read_text()
SOCKET = (CONFIG / "bits-server.socket").read_text()


def value(unit: str, key: str) -> str:
    (found,) = re.findall(rf"^{key}=(.*)$", unit, re.M)
    assert isinstance(found, str)
    return found


def test_systemd_finds_nothing_wrong_with_them(tmp_path: Path) -> None:
    """The program is replaced by one that is installed here; all else is as shipped."""
    analyze = require_tool("systemd-analyze")
    for name in UNITS:
        text = (CONFIG / name).read_text()
        (tmp_path / name).write_text(text.replace("/opt/bits-server/bin/bits-server", "/bin/true"))
    files = [tmp_path / name for name in UNITS]
    command = [analyze, "verify", "--man=no", "--recursive-errors=one", *map(str, files)]
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.stderr == ""
    assert ran.returncode == 0


def test_the_service_may_do_little() -> None:
    """The number is that of systemd's own assessment, times ten: 0 for nothing, 100 for all."""
    analyze = require_tool("systemd-analyze")
    command = [analyze, "security", "--offline=true", "--threshold=17"]
    ran = subprocess.run([*command, CONFIG / UNITS[0]], capture_output=True, text=True)
    if "unrecognized option" in ran.stderr:
        pytest.skip("this systemd cannot assess a file")
    assert ran.returncode == 0, ran.stdout


def test_systemd_waits_longer_than_gunicorn_and_gunicorn_longer_than_a_fragment() -> None:
    stop = int(value(SERVICE, "TimeoutStopSec").removesuffix("s"))
    assert stop > GUNICORN_SETTINGS["graceful_timeout"] > 60


def test_nginx_and_systemd_name_the_same_socket() -> None:
    assert f"server unix:{value(SOCKET, 'ListenStream')};" in SHIPPED.read_text()


def test_the_folders_that_the_service_gets_are_those_of_the_settings() -> None:
    folders = {f"/var/lib/{each}" for each in value(SERVICE, "StateDirectory").split()}
    shipped = load_settings(str(CONFIG / "bits_server.toml"))
    assert {directory.path for directory in shipped.virtual_directories} <= folders


def test_a_reload_looks_at_the_settings_before_it_sends_the_signal() -> None:
    """So "systemctl reload" fails where they have an error, and says which."""
    program, settings = re.findall(r"^ExecStart=(\S+) serve --settings (\S+)$", SERVICE, re.M)[0]
    first, second = re.findall(r"^ExecReload=(.*)$", SERVICE, re.M)
    assert first == f"{program} check-settings {settings}"
    assert "kill -HUP $MAINPID" in second


def test_the_service_may_write_its_log_where_readme_puts_it() -> None:
    readme = (CONFIG.parent / "README.md").read_text()
    folder = f"/var/log/{value(SERVICE, 'LogsDirectory')}"
    assert f'`log_file = "{folder}/bits-server.log"`' in readme
    assert f"\n{folder}/*.log {{\n" in readme
