"""Who may import whom, read from the source with ``ast``; the tables are the drawing of the house.

Imports point down::

    protocol <- storage, notification <- sessions <- web <- operations <- app <- cli

``settings`` and ``version`` stand beside ``protocol``; the public API and ``wsgi`` are on top.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bits_server"
LONGEST_FILE_LINES = 300

_INSIDE = {"protocol", "storage", "notification", "settings", "version", "sessions"}

MAY_IMPORT: dict[str, set[str]] = {
    "version": set(),
    "client": {"protocol", "version"},
    "settings": set(),
    "protocol": set(),
    "storage": {"protocol"},
    "notification": {"protocol", "version"},
    "sessions": _INSIDE - {"sessions"},
    "web": _INSIDE,
    "operations": _INSIDE | {"web"},
    "app": _INSIDE | {"web", "operations"},
    "cli": _INSIDE | {"web", "operations", "app"},
    "__main__": {"cli"},
    "__init__": _INSIDE | {"web", "operations", "app"},
    "wsgi": _INSIDE | {"web", "operations", "app"},
}

# What the rooms above see of a room that touches the world; only ``app`` knows concrete classes.
DOORS = {"storage": {"interface", "record"}, "notification": {"interface"}}

OUTSIDE_PACKAGES = {
    "click": {"cli", "client"},
    "gssapi": {"client", "web"},
    "gunicorn": {"cli"},
    "passlib": {"web"},
    "prometheus_client": {"operations"},
    "requests": {"client"},
    "requests_gssapi": {"client"},
    "tqdm": {"client"},
    "urllib3": {"client"},
    "werkzeug": {"web", "operations"},
}
ONLY_IN = {"tomllib": {"operations.settings_file"}}
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
READS_ENVIRONMENT = {
    *("operations.settings_file", "operations.setting_kinds", "cli", "client.command"),
    "client.job_store",  # where the jobs of this user are: the same for the library and the command
}

# Everything else of the standard library might touch the disk, the network, the clock or a log.
PURE = {
    *("__future__", "collections", "dataclasses", "enum", "functools", "itertools", "math"),
    *("re", "string", "typing", "uuid"),
}

BACK_DOORS = {"TYPE_CHECKING", "__import__", "importlib", "import_module", "runpy", "eval", "exec"}


def faults_of(module: str, source: str) -> list[str]:
    """What is wrong with a module, by its dotted name below the package, as sentences."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            faults.append("a relative import hides where the arrow points")
        for target in _targets(node):
            faults += _faults_of_import(module, target)
        faults += _other_faults(module, node)
    if len(source.splitlines()) > LONGEST_FILE_LINES:
        faults.append(f"has more than {LONGEST_FILE_LINES} lines")
    return faults


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _faults_of_import(module: str, target: str) -> Iterator[str]:
    room = module.partition(".")[0]
    top, *below = target.split(".")
    if top == "bits_server":
        yield from _faults_of_arrow(room, below)
    elif top in OUTSIDE_PACKAGES or top not in sys.stdlib_module_names:
        if room not in OUTSIDE_PACKAGES.get(top, set()):
            yield f"{room} must not know {top}"
    elif room == "protocol" and top not in PURE:
        yield f"protocol is pure and imports {top}"
    elif module not in ONLY_IN.get(top, {module}):
        yield f"{top} is imported outside {ONLY_IN[top]}"


def _faults_of_arrow(room: str, below: list[str]) -> Iterator[str]:
    other = below[0] if below and below[0] in MAY_IMPORT else "__init__"
    if room not in MAY_IMPORT:
        yield f"{room} is not on the drawing"
    elif other != room and other not in MAY_IMPORT[room]:
        yield f"{room} must not import {other}"
    elif room not in (other, "app") and not _is_a_door(other, below[1:]):
        yield f"{room} sees more of {other} than {DOORS[other]}"


def _is_a_door(room: str, below: list[str]) -> bool:
    return room not in DOORS or (bool(below) and below[0] in DOORS[room])


def _other_faults(module: str, node: ast.AST) -> Iterator[str]:
    names: list[str] = []
    if isinstance(node, ast.Name):
        names = [node.id]
    elif isinstance(node, ast.Attribute):
        names = [node.attr]
        is_of_os = isinstance(node.value, ast.Name) and node.value.id == "os"
        if is_of_os and node.attr in ENVIRONMENT:
            yield from _environment_fault(module)
    elif isinstance(node, ast.Import | ast.ImportFrom):
        names = [part for alias in node.names for part in alias.name.split(".")]
        names += (getattr(node, "module", None) or "").split(".")
        if getattr(node, "module", None) == "os" and ENVIRONMENT & set(names):
            yield from _environment_fault(module)
    yield from (f"{name} is a back door" for name in names if name in BACK_DOORS)


def _environment_fault(module: str) -> Iterator[str]:
    rooms = {module.rsplit(".", depth)[0] for depth in range(module.count(".") + 1)}
    if not {module, *rooms} & READS_ENVIRONMENT:
        yield f"the environment is read outside {READS_ENVIRONMENT}"


MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_what_the_drawing_allows(module: str) -> None:
    assert faults_of(module, MODULES[module].read_text()) == []


def test_every_room_was_looked_at() -> None:
    rooms = {module.partition(".")[0] for module in MODULES}
    assert rooms - {"notification"} == MAY_IMPORT.keys() - {"notification"}
    assert len(MODULES) > len(rooms)


CHAIN = ("protocol", "storage", "sessions", "web", "operations", "app", "cli", "__main__")


@pytest.mark.parametrize(("lower", "upper"), list(combinations(CHAIN, 2)))
def test_an_arrow_that_points_up_is_found(lower: str, upper: str) -> None:
    for source in (
        f"import bits_server.{upper}",
        f"import bits_server.{upper}.interface as x",
        f"from bits_server import {upper}",
        f"from bits_server.{upper}.interface import x",
    ):
        assert faults_of(f"{lower}.made_up", source), source


@pytest.mark.parametrize(("lower", "upper"), list(combinations(CHAIN[:-1], 2)))
def test_an_arrow_that_points_down_is_allowed(lower: str, upper: str) -> None:
    assert faults_of(f"{upper}.made_up", f"from bits_server.{lower}.interface import x") == []


FORBIDDEN = {
    "the version imports something of ours": ("version", "import bits_server.settings"),
    "settings know the protocol": ("settings", "from bits_server.protocol.errors import BitsError"),
    "the protocol knows settings": ("protocol.x", "from bits_server.settings import Settings"),
    "storage knows settings": ("storage.x", "from bits_server.settings import Durability"),
    "storage knows notification": ("storage.x", "from bits_server.notification import interface"),
    "notification knows storage": ("notification.x", "from bits_server.storage import record"),
    "sessions know a disk": ("sessions.x", "from bits_server.storage import disk"),
    "sessions know a concrete store": (
        "sessions.x",
        "from bits_server.storage.filesystem import FilesystemStore",
    ),
    "sessions know the whole of storage": ("sessions.x", "import bits_server.storage"),
    "the command line knows a concrete store": ("cli.x", "import bits_server.storage.filesystem"),
    "a room knows the public API": ("web.x", "from bits_server import create_app"),
    "a room knows the whole package": ("cli.x", "import bits_server"),
    "a room knows wsgi": ("cli.x", "from bits_server.wsgi import application"),
    "a room that nobody drew": ("misc.x", "from bits_server.protocol import errors"),
    "a relative import": ("storage.x", "from ..web import application"),
    "an import inside a function": ("protocol.x", "def f():\n    import os"),
    "an import inside a try": ("protocol.x", "try:\n    import os.path\nexcept ImportError: ..."),
    "a submodule of what is forbidden": ("protocol.x", "from os.path import join"),
    "the protocol has a file": ("protocol.x", "import io"),
    "the protocol has a path": ("protocol.x", "from pathlib import Path"),
    "the protocol has a clock": ("protocol.x", "import time"),
    "the protocol has another clock": ("protocol.x", "from datetime import datetime"),
    "the protocol has a network": ("protocol.x", "import socket"),
    "the protocol has a log": ("protocol.x", "import logging"),
    "the protocol has a framework": ("protocol.x", "from werkzeug.http import parse_range_header"),
    "storage has a framework": ("storage.x", "import werkzeug"),
    "sessions have a framework": ("sessions.x", "from werkzeug.wrappers import Request"),
    "the edge has a command line": ("web.x", "import click"),
    "the application has Kerberos": ("app", "import gssapi"),
    "the application has a server": ("app", "from gunicorn.app.base import BaseApplication"),
    "a package that nobody drew": ("web.x", "import flask"),
    "TOML elsewhere": ("operations.x", "import tomllib"),
    "TOML in the command line": ("cli.x", "from tomllib import loads"),
    "the environment elsewhere": ("app", "import os\nos.environ['X']"),
    "the environment by name": ("web.x", "from os import environ"),
    "the environment by function": ("storage.x", "import os\nos.getenv('X')"),
    "a back door for types": ("storage.x", "import typing\nif typing.TYPE_CHECKING: ..."),
    "a back door for types by name": ("storage.x", "from typing import TYPE_CHECKING"),
    "a back door by function": ("storage.x", "__import__('bits_server.web')"),
    "a back door by library": ("storage.x", "from importlib import import_module"),
    "a file of 301 lines": ("web.x", "x = 1\n" * 301),
}


@pytest.mark.parametrize(("module", "source"), FORBIDDEN.values(), ids=FORBIDDEN.keys())
def test_what_is_forbidden_is_found_in_made_up_source(module: str, source: str) -> None:
    assert faults_of(module, source)


ALLOWED = {
    "the protocol is made of values": (
        "protocol.x",
        "import re, enum, uuid, typing, dataclasses\nfrom collections.abc import Iterable",
    ),
    "a room knows itself": ("storage.x", "from bits_server.storage.disk import write_all"),
    "storage has the disk and the clock": ("storage.x", "import os\nimport time"),
    "the application joins concrete classes": ("app", "import bits_server.storage.filesystem"),
    "the settings file is TOML": ("operations.settings_file", "import os, tomllib\nos.environ"),
    "the command line reads the environment": ("cli.x", "import os\nos.environ"),
    "the edge has a framework": ("web.x", "from werkzeug.wrappers import Response"),
    "a WSGI environ is not the environment": ("web.x", "def f(environ): return request.environ"),
    "a file of 300 lines": ("web.x", "x = 1\n" * 300),
}


@pytest.mark.parametrize(("module", "source"), ALLOWED.values(), ids=ALLOWED.keys())
def test_what_is_allowed_is_not_complained_of(module: str, source: str) -> None:
    assert faults_of(module, source) == []
