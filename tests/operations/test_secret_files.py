"""Who could read or change what decides about uploads is told at start, with what to type."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from bits_server.operations.secret_files import complaints
from bits_server.operations.settings_file import load_settings
from bits_server.settings import Settings

KINDS = ["htpasswd", "keytab", "groups", "header", "secret", "key", "settings", "certificate", "ca"]
OPEN_KINDS = ("groups", "settings", "certificate", "ca")  # that everybody may read


def site(tmp_path: Path, literal: str = "") -> tuple[Settings, Path]:
    """Settings that name one file of each kind, all of them closed to others."""
    for name in KINDS:
        (tmp_path / name).write_text("0123456789abcdef")
    (tmp_path / "settings").write_text(
        f'[server]\ntls_certificate = "{tmp_path}/certificate"\ntls_key = "{tmp_path}/key"\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{tmp_path}"\n'
        f'authentication = ["basic"]\nhtpasswd_file = "{tmp_path}/htpasswd"\n'
        f'keytab = "{tmp_path}/keytab"\n'
        f'groups_file = "{tmp_path}/groups"\n'
        f'notification_ca_file = "{tmp_path}/ca"\n'
        f'proxy_secret = {{ file = "{tmp_path}/secret" }}\n'
        f'notification_headers = {{ X-Key = {{ file = "{tmp_path}/header" }}{literal} }}\n'
    )
    for name in KINDS:
        (tmp_path / name).chmod(0o640)
    return load_settings(str(tmp_path / "settings")), tmp_path / "settings"


def test_files_that_the_group_may_read_are_fine(tmp_path: Path) -> None:
    assert complaints(*map_file(site(tmp_path))) == []


def map_file(made: tuple[Settings, Path]) -> tuple[Settings, str]:
    return made[0], str(made[1])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("mode", [0o660, 0o642, 0o666])
def test_what_others_can_change_is_named(tmp_path: Path, name: str, mode: int) -> None:
    made = map_file(site(tmp_path))
    (tmp_path / name).chmod(mode)
    path = f"{tmp_path}/{name}"
    expected = f"{path} can be changed by others than its owner: chmod go-w {path}"
    assert complaints(*made) == [expected]


@pytest.mark.parametrize("name", KINDS)
def test_what_everybody_can_read_is_named_where_it_is_a_secret(tmp_path: Path, name: str) -> None:
    made = map_file(site(tmp_path))
    (tmp_path / name).chmod(0o644)
    path = f"{tmp_path}/{name}"
    expected = f"{path} holds secrets, and everybody can read it: chmod o-r {path}"
    assert complaints(*made) == ([] if name in OPEN_KINDS else [expected])


def test_settings_with_a_secret_in_them_are_one(tmp_path: Path) -> None:
    made = map_file(site(tmp_path, literal=', X-Other = "literal"'))
    (tmp_path / "settings").chmod(0o644)
    (complaint,) = complaints(*made)
    assert "settings holds secrets" in complaint


def test_the_certificate_holds_the_key_where_there_is_no_other_file(tmp_path: Path) -> None:
    both = tmp_path / "both"
    both.touch(0o644)
    both.chmod(0o644)
    (tmp_path / "s").write_text(
        f'[server]\ntls_certificate = "{both}"\n'
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{tmp_path}"\n'
    )
    assert [text.split()[0] for text in complaints(load_settings(str(tmp_path / "s")))] == [
        str(both)
    ]


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_in_which_others_can_put_another_file_is_named_once(
    tmp_path: Path, mode: int
) -> None:
    made = map_file(site(tmp_path))
    tmp_path.chmod(mode)
    what = f"in the folder {tmp_path} a file that decides who may upload, or holds secrets,"
    assert complaints(*made) == [f"{what} can be replaced by others: chmod go-w {tmp_path}"]
    tmp_path.chmod(0o1777)  # as /tmp
    assert complaints(*made) == []


def test_the_folders_of_a_link_count_and_those_above(tmp_path: Path) -> None:
    real, named = tmp_path / "above" / "real", tmp_path / "named"
    real.mkdir(parents=True)
    named.mkdir()
    made = map_file(site(tmp_path))
    (tmp_path / "groups").rename(real / "groups")
    (named / "groups").symlink_to(real / "groups")
    (tmp_path / "groups").symlink_to(named / "groups")
    for folder in (real, tmp_path / "above"):
        folder.chmod(0o777)
        assert [each.split()[3] for each in complaints(*made)] == [str(folder)]
        folder.chmod(0o755)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_folder_of_somebody_else_is_named(tmp_path: Path) -> None:
    made = map_file(site(tmp_path))
    os.chown(tmp_path, 65534, -1)
    (complaint,) = complaints(*made)
    assert complaint.endswith(f"can be replaced by nobody: chown root {tmp_path}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_of_somebody_else_is_named(tmp_path: Path) -> None:
    made = map_file(site(tmp_path))
    os.chown(tmp_path / "groups", 65534, -1)
    (complaint,) = complaints(*made)
    assert (
        complaint
        == f"{tmp_path}/groups belongs to nobody, who can change it: chown root {tmp_path}/groups"
    )


def test_a_file_that_is_missing_is_left_to_whoever_reads_it(tmp_path: Path) -> None:
    made: Any = map_file(site(tmp_path))
    for name in KINDS:
        (tmp_path / name).unlink()
    assert complaints(*made) == []
