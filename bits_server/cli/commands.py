"""The commands, their options and their error messages."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import click

from bits_server.app import create_app, make_cleanups
from bits_server.cli.chosen_settings import errors_of, explained, settings_of, usable
from bits_server.cli.cleanup_report import describe
from bits_server.cli.doctor_command import doctor
from bits_server.cli.embedded_server import EmbeddedServer
from bits_server.cli.explain_command import explain
from bits_server.cli.session_commands import sessions
from bits_server.operations.log_setup import log_as_set, refuse_unwritable_log
from bits_server.operations.nginx_config import location_blocks
from bits_server.operations.secret_files import complaints
from bits_server.operations.settings_file import load_settings, show_settings
from bits_server.operations.values import read_duration
from bits_server.settings import Settings
from bits_server.version import VERSION

_log = logging.getLogger("bits_server")


@click.group()
@click.version_option(VERSION, prog_name="bits-server")
def main() -> None:
    """Receive files from Windows machines by the BITS Upload Protocol, in place of IIS."""


@main.command()
@click.argument("folder", required=False)
@click.option("--settings", "file", metavar="FILE", help="A settings file (TOML).")
@click.option("--url", metavar="PREFIX", help="Where FOLDER is served.  [default: /upload]")
@click.option(
    "--bind",
    multiple=True,
    metavar="ADDRESS",
    help="HOST:PORT, unix:PATH or fd://NUMBER; may be repeated.  [default: 127.0.0.1:8080]",
)
@click.option("--workers", type=int, help="Processes.  [default: 2]")
@click.option("--threads", type=int, help="Threads of each process.  [default: 16]")
@explained
def serve(
    folder: str | None,
    file: str | None,
    url: str | None,
    bind: tuple[str, ...],
    workers: int | None,
    threads: int | None,
) -> None:
    """Receive uploads into FOLDER, or as a settings file says."""
    given: dict[str, Any] = {"bind": bind or None, "workers": workers, "threads": threads}
    changes = {name: value for name, value in given.items() if value is not None}

    def read_settings() -> Settings:
        """Looked at where a message can be read, and not in each worker."""
        settings = dataclasses.replace(settings_of(folder, file, url), **changes)
        return usable(settings, file)

    settings = read_settings()
    with errors_of(file):
        log_as_set(settings)
    for complaint in complaints(settings, file):
        _log.warning(complaint)
    EmbeddedServer(settings, create_app, read_settings).run()


@main.command()
@click.argument("folder", required=False)
@click.option("--settings", "file", metavar="FILE", help="A settings file (TOML).")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@click.option(
    "--older-than",
    "age",
    metavar="DURATION",
    help="Remove sessions without progress for so long, like 3d or 12h.  "
    "[default: their session_timeout]",
)
@explained
def cleanup(folder: str | None, file: str | None, dry_run: bool, age: str | None) -> None:
    """Remove abandoned sessions now; the server does so by itself now and then.

    It may run beside the server. Ends with status 1 where something could not be removed.
    """
    settings = usable(settings_of(folder, file, None), file)
    try:
        timeout = None if age is None else read_duration(age)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--older-than") from error
    is_clean = True
    for directory, (each, _) in zip(
        settings.virtual_directories, make_cleanups(settings, session_timeout=timeout), strict=True
    ):
        report = each.run(dry_run=dry_run)
        click.echo(describe(directory.path, report, dry_run=dry_run))
        is_clean = is_clean and report is not None and not report.failures
    if not is_clean:
        raise SystemExit(1)


@main.command("check-settings")
@click.argument("file")
@explained
def check_settings(file: str) -> None:
    """Say whether FILE can be used on this machine; changes nothing."""
    settings = usable(load_settings(file), file)
    with errors_of(file):
        refuse_unwritable_log(settings)
    click.echo(f"{file} can be used:")
    for directory in settings.virtual_directories:
        click.echo(f"  {directory.url} -> {directory.path}")
    for complaint in complaints(settings, file):
        click.echo(f"Warning: {complaint}")


@main.command("show-settings")
@click.argument("file")
@explained
def show(file: str) -> None:
    """Print the settings in FILE with every default, as TOML."""
    click.echo(show_settings(load_settings(file)), nl=False)


@main.command("nginx-config")
@click.argument("file")
@explained
def nginx_config(file: str) -> None:
    """Print the location blocks of nginx for the virtual directories in FILE.

    They belong between the two marks of config/nginx.conf. Looks at no folder, changes nothing.
    """
    click.echo(location_blocks(load_settings(file)), nl=False)


main.add_command(sessions)
main.add_command(explain)
main.add_command(doctor)
