"""SECURITY.md names tests, settings and files that are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from bits_server.operations.settings_file import DIRECTORY_KEYS, SERVER_KEYS

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", TEXT)))
THREATS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)


@cache
def names_in(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_what_is_said_to_be_shown_by_a_test_is(file: str, name: str) -> None:
    assert (TESTS / file).is_file()
    assert name in names_in(file)


@pytest.mark.parametrize(
    "threat",
    [
        "A stolen session id",
        "A hostile uploader",
        "A hostile neighbour on the machine",
        "A hostile server application",
        "A proxy that lies, and a client that pretends to be one",
        "A full disk, a crash, a power failure",
    ],
)
def test_each_row_of_a_threat_names_a_test(threat: str) -> None:
    rows = re.findall(r"^\| (?!---|what )(.+) \|$", dict(THREATS)[threat], re.MULTILINE)
    assert len(rows) >= 3
    for row in rows:
        assert re.search(r"`[\w/]+\.py::\w+`$", row), row


def test_its_settings_exist() -> None:
    keys = set(re.findall(r"`([a-z]+_[a-z_]+)(?: = [^`]+)?`", TEXT))
    nginx = {"limit_conn", "limit_req"}
    assert {"allow_overwrites", "trusted_proxies"} <= keys
    assert keys - nginx <= {*SERVER_KEYS, *DIRECTORY_KEYS}
