"""``bits-server doctor``: is this URL fit for uploads from Windows machines, and if not, why."""

from __future__ import annotations

import base64
import os
import ssl
import textwrap

import click

from bits_server.operations.doctor import (
    ANSWER_SECONDS,
    Conversation,
    Examination,
    Finding,
    Level,
    Plan,
    Target,
)

WIDTH = 96
PASSWORD_VARIABLE = "BITS_SERVER_DOCTOR_PASSWORD"  # on a command line others would see it
_INDENT = " " * 9


@click.command(
    epilog="Ends with status 0 where nothing is wrong, 1 where something is, 2 for a wrong command."
)
@click.argument("url")
@click.option(
    "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each request."
)
@click.option(
    "--user",
    metavar="NAME",
    help=f"Log in with Basic. The password is asked for, or taken from {PASSWORD_VARIABLE}.",
)
@click.option("--ca-file", metavar="FILE", help="Whom to trust for https, in PEM form.")
@click.option("--insecure", is_flag=True, help="Trust any certificate.")
@click.option(
    "--complete",
    is_flag=True,
    help="Send the last byte too, and fetch a reply: a server application is told of the files.",
)
@click.option("--close", is_flag=True, help="Also publish the files; they stay on the server.")
@click.option("--name", help="Upload to this name, to see why it is refused; not with --close.")
@click.option(
    "--pause",
    type=click.FloatRange(0, 300),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to fall silent in the middle of a Fragment; 0: not at all.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(1, 3600),
    default=ANSWER_SECONDS,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for an answer.",
)
def doctor(
    url: str,
    headers: tuple[str, ...],
    user: str | None,
    ca_file: str | None,
    insecure: bool,
    complete: bool,
    close: bool,
    name: str | None,
    pause: float,
    timeout: float,
) -> None:
    """Upload to URL for real, and say what is wrong and what to change.

    URL is a virtual directory, or a folder in it, as clients know it. A file of 5 KB, one of 13 MB
    and one with a pause are sent. Nothing stays on the server: the last byte is held back and the
    sessions are cancelled, unless --complete or --close is given.
    """
    if name is not None and close:
        raise click.UsageError("--close could replace the file that --name names.")
    try:
        fields = [*map(_field, headers), *_login(user)]
        target = Target.of_url(url, _trust(ca_file, insecure), tuple(fields))
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="URL") from error
    problems = 0

    def tell(finding: Finding) -> None:
        nonlocal problems
        problems += finding.level is Level.PROBLEM
        click.echo(_text(finding))

    plan = Plan(completes=complete, closes=close, name=name, pause_seconds=pause)
    examination = Examination(Conversation(target, answer_seconds=timeout), plan, tell)
    examination.run()
    for line in _closing(plan, examination):
        click.echo(line)
    click.echo(f"{problems or 'no'} problem{'' if problems == 1 else 's'} found")
    if problems:
        raise SystemExit(1)


def _trust(ca_file: str | None, insecure: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise click.BadParameter(f"{ca_file}: {error}", param_hint="--ca-file") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _login(user: str | None) -> list[tuple[str, str]]:
    if user is None:
        return []
    password = os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        password = click.prompt(f"Password of {user}", hide_input=True, err=True)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return [("Authorization", f"Basic {token}")]


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip() or not text.isprintable():
        raise click.BadParameter(f"{text!r} must be like 'Name: value'", param_hint="--header")
    return name.strip(), value.strip()


def _text(finding: Finding) -> str:
    lines = _wrapped(f"{finding.level.value:9}{finding.text}", "", _INDENT)
    if finding.remedy:
        lines += _wrapped(f"-> {finding.remedy}", _INDENT, _INDENT + "   ")
    return "\n".join(lines)


def _wrapped(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=others,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _closing(plan: Plan, examination: Examination) -> list[str]:
    """What was not tried, and what stays."""
    lines = []
    if not examination.has_finished:
        lines.append("what comes after that was not tried")
    elif not plan.closes:
        tried = "Close-Session" if plan.completes else "the last byte and Close-Session"
        more = "--close" if plan.completes else "--complete, --close"
        lines.append(f"not tried: {tried} ({more})")
    if not examination.published:
        return [*lines, "nothing was published"]
    return [*lines, "published, and left there:", *(f"  {name}" for name in examination.published)]
