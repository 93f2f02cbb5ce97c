"""The location blocks for nginx: valid, literal, and the ones in the file that we ship."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from bits_server.operations.nginx_config import location_blocks
from bits_server.operations.settings_file import load_settings
from bits_server.settings import Settings, SettingsError, VirtualDirectory
from tests.support.nginx import SHIPPED, virtual_directories_of
from tests.support.tools import require_tool

CONFIG = SHIPPED.parent


def blocks(*directories: VirtualDirectory) -> str:
    return location_blocks(Settings(directories))


def test_the_file_that_we_ship_has_the_blocks_of_the_settings_that_we_ship() -> None:
    shipped = load_settings(str(CONFIG / "bits_server.toml"))
    assert virtual_directories_of(SHIPPED.read_text()) == location_blocks(shipped)


def test_each_virtual_directory_has_its_location_and_its_folder() -> None:
    printed = blocks(VirtualDirectory("/a", "/srv/one"), VirtualDirectory("/a/b", "/srv/two/"))
    assert printed.count("    location ^~ /a {\n") == 1
    assert printed.count("    location ^~ /a/b {\n") == 1
    assert 'alias "/srv/one/BITS-Sessions/$1";' in printed
    assert 'alias "/srv/two/BITS-Sessions/$1";' in printed
    assert printed.count("location @bits_server_alone") == 1


@pytest.mark.parametrize(
    ("maximum", "limit"), [(5120, "64m"), (64 << 20, "64m"), ((64 << 20) + 1, "65m")]
)
def test_nginx_takes_every_fragment_that_the_server_takes(maximum: int, limit: str) -> None:
    directory = VirtualDirectory("/a", "/srv/one", maximum_fragment_size=maximum)
    assert re.findall(r"client_max_body_size (\w+);", blocks(directory)) == [limit]


def test_a_folder_that_nginx_cannot_name_is_left_to_the_server() -> None:
    printed = blocks(VirtualDirectory("/a", "/srv/$a"))
    assert "location ^~ /a {" in printed
    assert "alias" not in printed
    assert "set $bits_replies /" not in printed


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(url="/\"; ${x} '", path="/srv/a b")
@example(url="/größe/{1}", path="/\"\\;{}'\n#")
@example(url="/", path="/")
@given(
    url=st.text(min_size=1, max_size=20).map(lambda text: "/" + text),
    path=st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20).map(
        lambda text: "/" + text
    ),
)
def test_nginx_reads_whatever_a_url_or_a_folder_is_called(
    tmp_path: Path, url: str, path: str
) -> None:
    nginx = require_tool("nginx")
    try:
        directory = VirtualDirectory(url, path)
    except SettingsError:
        assume(False)
    file = tmp_path / "nginx.conf"
    file.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; upstream bits_server {{ server 127.0.0.1:1; }}\n"
        f'server {{ listen 127.0.0.1:1; set $bits_replies "";\n{blocks(directory)}}} }}\n',
        newline="",
    )
    ran = subprocess.run([nginx, "-t", "-q", "-p", tmp_path, "-c", file], capture_output=True)
    assert ran.returncode == 0, ran.stderr
