"""Asking whoever sits at the terminal for a user and a password."""

from __future__ import annotations

import sys

import click

from bits_server.client.command.bar import Bar
from bits_server.client.command.stopping import Interruption
from bits_server.client.command.words import printable
from bits_server.client.errors import Stopped


class Asking:
    """A ``Prompt``, which needs to know whom it gets in the way of."""

    def __init__(self) -> None:
        self.bar: Bar | None = None
        self.stop: Interruption | None = None

    @staticmethod
    def is_possible() -> bool:
        """Whether somebody sits there."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def __call__(self, question: str, is_hidden: bool) -> str:
        """Raises Stopped where somebody would rather end it than answer."""
        assert self.bar is not None
        assert self.stop is not None
        with self.bar.out_of_the_way():
            try:
                with self.stop.asking():
                    answer: str = click.prompt(printable(question), hide_input=is_hidden, err=True)
            except (click.Abort, KeyboardInterrupt):
                click.echo(err=True)
                self.stop.set()
                raise Stopped from None
        return answer
