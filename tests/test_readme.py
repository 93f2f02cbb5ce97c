"""What README says is so: keys, defaults, files, targets, snippets and commands."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bits_server.cli import main
from bits_server.cli.greeting import greeting
from bits_server.operations.settings_file import DIRECTORY_KEYS, SERVER_KEYS, settings_from
from bits_server.settings import Settings, VirtualDirectory
from tests.support.bits_client import BitsClient
from tests.support.wire import InProcessSender

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEFAULTS = Settings((VirtualDirectory(url="/upload", path="/srv/uploads"),))


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
    subject: Any = DEFAULTS if key in SERVER_KEYS else DEFAULTS.virtual_directories[0]
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


def test_the_make_commands_exist() -> None:
    commands = [line.split()[1] for line in indented_lines() if line.startswith("make ")]
    assert {"run", "test", "soak", "lint", "types"} <= set(commands)
    makefile = (ROOT / "Makefile").read_text()
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in commands)


@pytest.mark.parametrize(
    "name",
    sorted(
        set(re.findall(r"`((?:config|protocol|storage|sessions|web)/[a-z_./]+)`", README))
        | set(re.findall(r"\]\(((?!http)[^)]+)\)", README))
    ),
)
def test_a_file_that_is_named_exists(name: str) -> None:
    assert (ROOT / name).exists() or (ROOT / "bits_server" / name).exists()


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
        helped = CliRunner().invoke(main, [name, "--help"])
        assert helped.exit_code == 0, call
        for option in (argument for argument in arguments if argument.startswith("--")):
            assert option in helped.output, call
