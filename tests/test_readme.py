"""What README says is so: keys, defaults, files, targets, snippets and commands."""

from __future__ import annotations

import logging
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from bits_server.cli import main
from bits_server.cli.embedded_server import HEADER_FIELD_BYTES
from bits_server.cli.greeting import greeting
from bits_server.operations.settings_file import DIRECTORY_KEYS, SERVER_KEYS, settings_from
from bits_server.protocol.errors import ERROR_TABLE
from bits_server.settings import Settings, VirtualDirectory
from tests.support.bits_client import BitsClient
from tests.support.wire import InProcessSender

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DIRECTORY = VirtualDirectory(url="/upload", path="/srv/uploads")
DEFAULTS = Settings((DIRECTORY,))


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


def indented_lines() -> list[str]:
    return [line.strip() for line in README.splitlines() if line.startswith("    ")]


def rows() -> dict[str, list[str]]:
    """The cells of the tables' rows whose first one is a key in backquotes."""
    found = re.findall(r"^\| `([a-z_]+)` \| (.*) \|$", README, re.M)
    return {key: rest.split(" | ") for key, rest in reversed(found)}  # the first one counts


@pytest.mark.parametrize("key", [*SERVER_KEYS, *DIRECTORY_KEYS])
def test_every_key_is_described_with_its_default(key: str) -> None:
    subject: Any = DEFAULTS if key in SERVER_KEYS else DIRECTORY
    show = (SERVER_KEYS | DIRECTORY_KEYS)[key].show
    default = getattr(subject, key)
    if key in ("url", "path"):
        expected = "must be given"
    elif default is None and key != "maximum_upload_size":
        expected = "none"
    else:
        expected = f"`{show(default)}`"
    assert rows()[key][0] == expected


def test_no_key_is_described_that_there_is_not() -> None:
    keys = set(rows()) - set(SERVER_KEYS) - set(DIRECTORY_KEYS)
    assert keys == set()


def test_every_make_target_that_is_named_exists() -> None:
    named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", README, re.M))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"run", "install", "test", "soak", "lint", "types"} <= named <= targets


NAMED_FILES = set(re.findall(r"(?<![\w/.-])((?:[a-z_]+/)*[\w.]+\.(?:py|toml|md))\b", README))
NAMED_MODULES = set(re.findall(r"(?<![\w.])((?:bits_server|tests)(?:\.(?!toml)[a-z_]+)+)", README))
LINKS = set(re.findall(r"\]\(((?!http)[^)]+)\)", README))


@pytest.mark.parametrize(
    "name", sorted(NAMED_FILES | LINKS | {f"{each.replace('.', '/')}.py" for each in NAMED_MODULES})
)
def test_a_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).is_file() or (ROOT / "bits_server" / name).is_file()


def test_the_search_for_named_files_finds_them() -> None:
    assert {"config/gunicorn.conf.py", "web/bits_post.py"} <= NAMED_FILES
    assert {"bits_server.wsgi", "tests.benchmarks.sweep"} <= NAMED_MODULES
    assert {"LICENSE", "config/bits_server.toml"} <= LINKS


@pytest.mark.parametrize("snippet", snippets("toml"))
def test_a_settings_snippet_can_be_used(snippet: str) -> None:
    assert settings_from(tomllib.loads(snippet)).virtual_directories


@pytest.mark.parametrize("snippet", snippets("python"))
def test_the_program_that_embeds_the_server_receives_files(snippet: str, folder: Path) -> None:
    names: dict[str, Any] = {}
    exec(snippet.replace("/srv/uploads", str(folder)), names)
    BitsClient(InProcessSender(names["application"])).upload(b"content")
    assert (folder / "f.bin").read_bytes() == b"content"


def test_the_quick_start_is_what_the_server_prints() -> None:
    printed = greeting(DEFAULTS, [("0.0.0.0", 8080)])
    host = re.search(r"-Destination http://([^/:]+):8080", printed)
    assert host is not None
    commands = [line.strip() for line in printed.replace(host[1], "HOST").splitlines()]
    wanted = [line for line in commands if re.match(r"[\w-]+[ =(]|-H|\|", line)]
    wanted = [line for line in wanted if not line.endswith(":") and "->" not in line]
    assert len(wanted) >= 11
    missing = [line for line in wanted if line not in indented_lines()]
    assert missing == []


def test_every_command_and_option_that_is_named_exists() -> None:
    called = re.findall(r"(?:^    |`)bits-server\n?((?: [^`\n]+)+)", README, re.M)
    assert len(called) >= 6
    for call in called:
        name, *arguments = shlex.split(call)
        names = [name]
        if isinstance(main.commands.get(name), click.Group) and arguments:
            names.append(arguments[0])
        helped = CliRunner().invoke(main, [*names, "--help"])
        assert helped.exit_code == 0, call
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in helped.output, call


def test_the_nginx_example_lets_pass_what_the_server_takes() -> None:
    (example,) = snippets("nginx")
    assert f"client_max_body_size {DIRECTORY.maximum_fragment_size >> 20}m;" in example
    assert f"large_client_header_buffers 4 {HEADER_FIELD_BYTES >> 10}k;" in example
    assert f"location {DIRECTORY.url} " in example
    assert f"proxy_pass http://{DEFAULTS.bind[0]};" in example


def test_every_error_code_has_its_line_and_is_no_other() -> None:
    lines = re.findall(r"^\| (0x8.*) \|$", README, re.M)
    codes = re.findall(r"(0x[0-9A-F]{8}), HTTP (\d{3})", "\n".join(lines))
    refusals = {(each.hresult, each.status) for each in ERROR_TABLE if each.hresult is not None}
    described = {(int(code, 16), int(status)) for code, status in codes}
    assert refusals <= described
    for hresult, status in described - refusals:
        assert hresult == 0x80190000 + status


def test_the_lines_of_the_log_are_what_an_upload_writes(
    client: BitsClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bits_server"), "propagate", True)
    client.target = "/upload/hello.txt"
    with caplog.at_level(logging.INFO, "bits_server"):
        client.upload(b"hello, BITS")
        client.create()
    (example,) = snippets("text")
    shown = re.sub(r"^[\d-]+ [\d:,]+ ", "", example, flags=re.M)
    logged = "".join(f"{each.levelname} {each.getMessage()}\n" for each in caplog.records)
    assert without_chance(shown) == without_chance(logged)


def without_chance(lines: str) -> str:
    """What differs from one run to the next, replaced: session ids and client addresses."""
    return re.sub(r" for [\d.]+$", " for ADDRESS", re.sub(r"\{.*?\}", "{GUID}", lines), flags=re.M)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    tables = README[README.index("## What it depends on") : README.index("## For developers")]
    for requirement in wanted:
        (name,) = re.findall(r"^[\w-]+", requirement)
        assert re.search(rf"\b{name}\b", tables, re.I), name
