"""A keytab is listed as the tools of MIT list it, and no bytes are more than refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.web.authentication.keytab import KeytabEntry, read_keytab
from tests.support.kdc import REALM, SERVICE, Kdc
from tests.support.tools import require_tool


def klist(path: Path) -> set[tuple[str, int]]:
    command = [require_tool("klist"), "-k", str(path)]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [line.split(None, 1) for line in shown.splitlines()[3:]]
    return {(principal, int(version)) for version, principal in lines}


def test_the_keys_are_those_that_klist_shows(kdc: Kdc, tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    for principal in ("HTTP/one.example", "HTTP/two.example@" + REALM, "robot"):
        kdc.add_service(principal, path)
    kdc.change_key("HTTP/one.example", path)
    found = read_keytab(str(path))
    assert {(each.principal, each.version) for each in found} == klist(path)
    assert len(found) == len(set(found)) == 4
    assert KeytabEntry(f"robot@{REALM}", 2) in found
    assert str(KeytabEntry(SERVICE, 3)) == f"{SERVICE} (kvno 3)"


def test_a_version_over_255_and_a_removed_key(kdc: Kdc, tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    kdc.add_service("HTTP/three.example", path)
    kdc.add_service("HTTP/four.example", path, "-kvno", "300")
    kdc.remove_key("HTTP/three.example", path)
    assert {(each.principal, each.version) for each in read_keytab(str(path))} == klist(path)
    assert read_keytab(str(path)) == [KeytabEntry(f"HTTP/four.example@{REALM}", 301)]


def test_what_is_no_keytab_is_refused(kdc: Kdc, tmp_path: Path) -> None:
    path = tmp_path / "keytab"
    for content in (b"", b"\x05", b"\x05\x01", b"-----BEGIN"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no keytab"):
            read_keytab(str(path))
    content = kdc.keytab.read_bytes()
    for end in (3, 7, 10, 40, len(content) - 6):
        path.write_bytes(content[:end])
        with pytest.raises(ValueError, match="damaged"):
            read_keytab(str(path))
    with pytest.raises(FileNotFoundError):
        read_keytab(str(tmp_path / "nowhere"))


@given(st.binary())
def test_any_bytes_are_keys_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-keytab"
    path.write_bytes(b"\x05\x02" + content)
    try:
        assert all("@" in each.principal for each in read_keytab(str(path)))
    except ValueError:
        pass
