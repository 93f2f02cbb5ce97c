"""The command ``bits-server``."""

from bits_server.cli.commands import main

__all__ = ["main"]
