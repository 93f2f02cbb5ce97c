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
from tests.support.nginx import SHIPPED
from tests.support.wire import InProcessSender

ROOT = Path(__file__).parent.parent
SIZES_OR_NONE = {"maximum_upload_size", "quota", "quota_per_user"}
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
    elif default is None and key not in SIZES_OR_NONE:
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
    package = (ROOT / name).with_suffix("") / "__init__.py"
    assert (ROOT / name).is_file() or (ROOT / "bits_server" / name).is_file() or package.is_file()


def test_the_search_for_named_files_finds_them() -> None:
    assert {"config/gunicorn.conf.py", "web/bits_post.py"} <= NAMED_FILES
    assert {"bits_server.wsgi", "tests.benchmarks.sweep"} <= NAMED_MODULES
    assert {"LICENSE", "config/bits_server.toml"} <= LINKS


@pytest.mark.parametrize("snippet", snippets("toml"))
def test_a_settings_snippet_can_be_used(snippet: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECEIPT_KEY", "secret")
    assert settings_from(tomllib.loads(snippet)).virtual_directories


@pytest.mark.parametrize("snippet", [each for each in snippets("python") if "client" not in each])
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


def test_nginx_as_we_ship_it_lets_pass_what_the_server_takes() -> None:
    shipped = SHIPPED.read_text()
    assert f"client_max_body_size {DIRECTORY.maximum_fragment_size >> 20}m;" in shipped
    assert f"large_client_header_buffers 4 {HEADER_FIELD_BYTES >> 10}k;" in shipped
    assert f"location ^~ {DIRECTORY.url} {{" in shipped


def test_the_commands_for_a_new_machine_put_the_files_where_the_others_look_for_them() -> None:
    commands, *_ = snippets("sh")
    config = ROOT / "config"
    service = (config / "bits-server.service").read_text()
    for name in re.findall(r"config/([\w.-]+)", commands):
        assert (config / name).is_file()
    program, settings = re.findall(r"^ExecStart=(\S+) serve --settings (\S+)$", service, re.M)[0]
    assert f"{Path(program).parent}/pip install ." in commands
    assert f"config/bits_server.toml {settings}\n" in commands
    for key in ("ssl_certificate", "ssl_certificate_key"):
        (path,) = re.findall(rf"^ +{key} (\S+);", SHIPPED.read_text(), re.M)
        assert path in commands
    for key in ("User", "Group"):
        assert f"{key}=bits-server\n" in service
    assert "install -m 644 config/nginx.conf /etc/nginx/conf.d/bits-server.conf\n" in commands


IIS_PROPERTIES = (
    *("BITSUploadEnabled", "BITSSessionTimeout", "BITSMaximumUploadSize"),
    *("BITSServerNotificationType", "BITSServerNotificationURL", "BITSHostId"),
    *("BITSHostIdFallbackTimeout", "BITSAllowOverwrites", "BITSCleanupUseDefault"),
    *("BITSCleanupCount", "BITSCleanupUnits", "BITSNumberOfSessionsLimit"),
    "BITSSessionLimitEnable",
)


def test_each_property_of_iis_has_its_key() -> None:
    found = re.findall(r"^\| (BITS\w+(?:, BITS\w+)*) \| (.*) \|$", README, re.M)
    assert sorted(name for names, _ in found for name in names.split(", ")) == sorted(
        IIS_PROPERTIES
    )
    for names, meaning in found:
        key = re.match(r"`([a-z_]+)`", meaning)
        assert key is not None, names
        assert key[1] in DIRECTORY_KEYS, names


@pytest.mark.parametrize(
    "code",
    [
        *("0x8019019D, HTTP 413", "0x801901F6, HTTP 502", "0x801901F8, HTTP 504"),
        *("0x801901F5, HTTP 501", "0x80070005, HTTP 403", "0x80200013", "0x8020001F, HTTP 500"),
    ],
)
def test_what_administrators_ask_for_most_is_explained(code: str) -> None:
    assert re.search(rf"^\| (?:0x8.*; )?{code} \|", README, re.M)


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
    """What differs from one run to the next, replaced: session ids and times."""
    return re.sub(r"[\d.]+ ms$", "TIME ms", re.sub(r"\{.*?\}", "{GUID}", lines), flags=re.M)


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    wanted = [*project["dependencies"], *(each for extra in extras for each in extra)]
    tables = README[README.index("## What it depends on") : README.index("## For developers")]
    for requirement in wanted:
        (name,) = re.findall(r"^[\w-]+", requirement)
        assert re.search(rf"\b{name}\b", tables, re.I), name
