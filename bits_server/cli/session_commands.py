"""``bits-server sessions``: what an operator does with uploads under way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import itemgetter
from typing import Any, TypeVar

import click

from bits_server.app import make_administrations
from bits_server.cli.chosen_settings import explained, settings_of, usable
from bits_server.cli.session_report import HEADING, in_words, lines_of, row
from bits_server.operations.session_list import (
    SORT_KEYS,
    STATES,
    Selection,
    facts_of,
    timestamp,
)
from bits_server.operations.values import read_duration
from bits_server.protocol.errors import ApplicationFailed, BitsError, SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.administration import Administration, NotPossible, SessionFacts
from bits_server.storage.interface import SessionBroken

T = TypeVar("T")

_EXIT = "Ends with status 0 when it is done, 1 when it could not be done, 2 for a wrong command."


@click.group(epilog=_EXIT)
def sessions() -> None:
    """Look at uploads under way; cancel, notify or extend them.

    Works beside the running server, as its user. Each command takes the settings file of the
    server, or the FOLDER that it receives files into.
    """


def _places(command: Callable[..., None]) -> Callable[..., None]:
    """The arguments that say where the sessions are."""
    for decorate in (
        click.option(
            "--url",
            metavar="PREFIX",
            help="Only the virtual directory with this url.  [default: all]",
        ),
        click.option("--settings", "file", metavar="FILE", help="A settings file (TOML)."),
        click.argument("folder", required=False),
    ):
        command = decorate(command)
    return command


_as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@sessions.command("list", epilog=_EXIT)
@_places
@click.option(
    "--sort",
    type=click.Choice([*SORT_KEYS, "none"]),
    default="age",
    show_default=True,
    help="What comes first: the oldest, longest idle, smallest; none: as found, at once.",
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--user", metavar="NAME", help='Only those of this user; "": of the anonymous.')
@click.option(
    "--state", "states", type=click.Choice(STATES), multiple=True, help="May be repeated."
)
@click.option(
    "--idle-longer-than", "idle", metavar="DURATION", help="Without progress for so long, like 3d."
)
@click.option(
    "--destination",
    metavar="PATTERN",
    help="Only for these paths below the virtual directory, like '*.zip'; * stands for / too.",
)
@_as_json
@explained
def list_sessions(
    folder: str | None,
    file: str | None,
    url: str | None,
    sort: str,
    reverse: bool,
    user: str | None,
    states: tuple[str, ...],
    idle: str | None,
    destination: str | None,
    as_json: bool,
) -> None:
    """List the uploads under way: how far, how old, for how long without progress."""
    now = time.time()
    selection = Selection(user=user, states=states, destination=destination)
    found = (
        facts
        for administration in _administrations(folder, file, url)
        for facts in administration.look_at_all(idle_since=_moment(idle, now))
        if selection.has(facts)
    )

    def printed(facts: SessionFacts) -> str:
        return json.dumps(facts_of(facts, now)) if as_json else row(facts, now)

    lines = _in_order(found, sort, reverse, printed)
    if as_json:
        _print_document(lines)
        return
    first = next(lines, None)
    if first is None:
        click.echo("no sessions")
        return
    click.echo(HEADING)
    click.echo(first)
    for line in lines:
        click.echo(line)


@sessions.command(epilog=_EXIT)
@click.argument("session")
@_places
@_as_json
@explained
def show(
    session: str, folder: str | None, file: str | None, url: str | None, as_json: bool
) -> None:
    """Print all that is known of one upload. SESSION is its id, with or without braces."""

    def told(administration: Administration, session_id: SessionId) -> dict[str, Any]:
        facts = facts_of(administration.look_at(session_id), time.time())
        paths = administration.paths(session_id)
        return facts if paths is None else {**facts, "request_entity_path": paths.request}

    facts = _find(session, _administrations(folder, file, url), told)
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(lines_of(facts)))


@sessions.command(epilog=_EXIT)
@click.argument("session")
@_places
@explained
def cancel(session: str, folder: str | None, file: str | None, url: str | None) -> None:
    """Remove an upload with all its bytes, as its client can. SESSION is its id.

    A client that is still there is told that the session is not found, and begins again.
    """

    def act(administration: Administration, session_id: SessionId) -> str:
        record = administration.cancel(session_id)
        return f"{session_id} cancelled: {administration.directory.url} {record.destination!r}"

    click.echo(_find(session, _administrations(folder, file, url, may_change=True), act))


@sessions.command(epilog=_EXIT)
@click.argument("session")
@_places
@explained
def notify(session: str, folder: str | None, file: str | None, url: str | None) -> None:
    """Tell the server application of a complete upload again. SESSION is its id.

    Also after a success or a final 403. A call under way is waited for. What comes of it is what
    the client is told with its next packet.
    """

    def act(administration: Administration, session_id: SessionId) -> str:
        outcome = administration.notify(session_id)
        return f"{session_id} notified, attempt {outcome.attempts}: {in_words(outcome)}"

    click.echo(_find(session, _administrations(folder, file, url, may_change=True), act))


@sessions.command(epilog=_EXIT)
@click.argument("session")
@_places
@explained
def extend(session: str, folder: str | None, file: str | None, url: str | None) -> None:
    """Let the session_timeout of an upload begin anew. SESSION is its id."""

    def act(administration: Administration, session_id: SessionId) -> str:
        record = administration.extend(session_id)
        directory = administration.directory
        until = timestamp(time.time() + directory.session_timeout)
        return f"{session_id} extended: {directory.url} {record.destination!r} stays until {until}"

    click.echo(_find(session, _administrations(folder, file, url, may_change=True), act))


def _administrations(
    folder: str | None, file: str | None, url: str | None, *, may_change: bool = False
) -> list[Administration]:
    """Those of the virtual directories that are meant."""
    settings = usable(settings_of(folder, file, None if file else url), file)
    found = make_administrations(settings, may_change=may_change)
    if url is None:
        return found
    chosen = [each for each in found if each.directory.url == url]
    if not chosen:
        known = ", ".join(each.directory.url for each in found)
        raise click.BadParameter(f"{url!r} is none of {known}", param_hint="--url")
    return chosen


def _find(
    text: str, places: Iterable[Administration], act: Callable[[Administration, SessionId], T]
) -> T:
    """What ``act`` gives for the session in the virtual directory that has it."""
    try:
        session_id = SessionId.parse(text if text.startswith("{") else f"{{{text}}}")
    except SessionNotFound as error:
        raise click.ClickException(str(error)) from error
    looked = []
    for administration in places:
        url = administration.directory.url
        try:
            return act(administration, session_id)
        except SessionBroken as error:
            raise click.ClickException(
                f"{session_id} in {url} is broken, and the clean-up will remove it: {error}"
            ) from error
        except SessionNotFound as error:
            looked.append(f"{url}: {_why_not_found(administration, session_id, error)}")
        except ApplicationFailed as error:
            raise click.ClickException(
                f"{session_id}: the server application was called; the client is to be told "
                f"{error.status}: {error}"
            ) from error
        except (BitsError, NotPossible, OSError) as error:
            raise click.ClickException(f"{session_id}: {error}") from error
    raise click.ClickException(f"{session_id} was not found. {'; '.join(looked)}")


def _why_not_found(
    administration: Administration, session_id: SessionId, error: SessionNotFound
) -> str:
    closed = administration.closed_record(session_id)
    if closed is None:
        return str(error)
    return f"it was closed at {timestamp(closed.closed)}: {closed.destination!r}"


def _moment(idle: str | None, now: float) -> float | None:
    """So long ago, as seconds since 1970."""
    if idle is None:
        return None
    try:
        return now - read_duration(idle)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--idle-longer-than") from error


def _in_order(
    found: Iterable[SessionFacts],
    sort: str,
    reverse: bool,
    printed: Callable[[SessionFacts], str],
) -> Iterator[str]:
    """The sessions as they are printed; where the order does not know one, it comes last.

    To be sorted, only the lines are kept in memory.
    """
    if sort == "none":
        return map(printed, found)
    keyed = [(SORT_KEYS[sort](facts), printed(facts)) for facts in found]
    known = [item for item in keyed if item[0] is not None]
    known.sort(key=itemgetter(0), reverse=reverse)
    unknown = (item for item in keyed if item[0] is None)
    return (line for _, line in chain(known, unknown))


def _print_document(lines: Iterable[str]) -> None:
    click.echo('{"sessions": [', nl=False)
    separator = ""
    for line in lines:
        click.echo(f"{separator}\n  {line}", nl=False)
        separator = ","
    click.echo("\n]}")
