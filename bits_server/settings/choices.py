"""Settings whose value is one of a few words."""

from __future__ import annotations

from enum import Enum


class Durability(Enum):
    """What is on the disk, and not in memory only, before an Ack leaves."""

    NONE = "none"  # the operating system decides
    CLOSE = "close"  # Close-Session: the file and its name
    FRAGMENT = "fragment"  # and each Fragment: its bytes


class Checksum(Enum):
    """What is computed over a complete file, for the log and the server application."""

    NONE = "none"
    SHA256 = "sha256"


class LogFormat(Enum):
    """What log lines look like."""

    HUMAN = "human"
    JSON = "json"  # one object a line


class LogLevel(Enum):
    """From which level on there are log lines."""

    DEBUG = "debug"
    INFO = "info"  # packets and events
    WARNING = "warning"  # refusals
    ERROR = "error"
