"""``bits-client``: upload files as a BITS client does, now or from a queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bits_server.client.command.queue_commands import QUEUE_COMMANDS
from bits_server.client.command.transfer_command import transfer
from bits_server.client.command.words import Unfinished
from bits_server.client.job_store import StoreUnusable, default_folder
from bits_server.version import VERSION

EXIT_CODES = """\b
Exit codes:
  0  done
  1  failed for good: somebody has to do something
  2  wrong usage
  3  not finished: the same command goes on later
  130  stopped by Ctrl-C: the same command goes on later
"""


class _Commands(click.Group):
    """What goes wrong with the folder of the jobs on the way is told in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StoreUnusable as error:
            raise Unfinished(str(error)) from None


@click.group(
    cls=_Commands, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(VERSION, prog_name="bits-client")
@click.option(
    "--state-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the jobs are kept.  [default: BITS_CLIENT_STATE, or bits-client in XDG_STATE_HOME]",
)
@click.pass_context
def main(context: click.Context, state_folder: Path | None) -> None:
    """Upload files to a server of the BITS Upload Protocol: this one, or IIS.

    An upload goes on where it stopped, after a lost connection, a crash or a restart of the
    machine. Passwords come from BITS_CLIENT_USER and BITS_CLIENT_PASSWORD (for a proxy
    BITS_CLIENT_PROXY_USER and BITS_CLIENT_PROXY_PASSWORD), from a netrc file, or are asked for.
    """
    context.obj = state_folder or default_folder()


main.add_command(transfer)
for _command in QUEUE_COMMANDS:
    main.add_command(_command)
