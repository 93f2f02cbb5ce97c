"""Where log lines go, and what they look like: for people, or as JSON for machines.

The rule of this file: a line is one line. Lines go to standard error, where a terminal, systemd and
gunicorn expect them, or to a file that is opened anew when logrotate has moved it away.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from io import TextIOWrapper
from logging.handlers import WatchedFileHandler
from typing import Any

from bits_server.operations.event_log import fields_of
from bits_server.sessions.observer import AnsweredPacket
from bits_server.settings import LogFormat, Settings, SettingsError


class LogFile(WatchedFileHandler):
    """A file that is made for its owner and group: it tells session ids, names and addresses."""

    def _open(self) -> TextIOWrapper:
        os.close(os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
        return super()._open()


class HumanFormatter(logging.Formatter):
    """Local time, level, message; a traceback on lines of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._second = (-1, "")  # the last one that was printed, and how

    def format(self, record: logging.LogRecord) -> str:
        second, text = self._second
        if second != int(record.created):
            second = int(record.created)
            text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
            self._second = (second, text)
        line = f"{text},{int(record.msecs):03d} {record.levelname} {record.getMessage()}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, event, message, and the fields of the event."""

    def format(self, record: logging.LogRecord) -> str:
        fields: Any = getattr(record, "fields", {})
        if isinstance(fields, AnsweredPacket):
            fields = fields_of(fields)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "event": getattr(record, "event", "message"),
            "message": record.getMessage(),
            **{name: value for name, value in fields.items() if value not in (None, "")},
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def refuse_unwritable_log(settings: Settings) -> None:
    """Raise SettingsError where ``log_as_set`` would, as far as can be told without a change."""
    file = os.path.abspath(settings.log_file)
    if os.path.exists(file):
        may = os.access(file, os.W_OK) and not os.path.isdir(file)
    else:
        may = os.access(os.path.dirname(file), os.W_OK | os.X_OK)
    if settings.log_file and not may:
        raise SettingsError(
            "log_file", f"{settings.log_file} cannot be written by this user", table="[server]"
        )


def log_as_set(settings: Settings) -> None:
    """Set the log up as the settings want it. Raises SettingsError."""
    try:
        set_up_logging(settings.log_level.value.upper(), settings.log_format, settings.log_file)
    except OSError as error:
        raise SettingsError(
            "log_file", f"{settings.log_file} cannot be written: {error.strerror}", table="[server]"
        ) from error


def set_up_logging(
    level: int | str = logging.INFO, log_format: LogFormat = LogFormat.HUMAN, file: str = ""
) -> None:
    """Give the logger ``bits_server`` its handler; other loggers are not touched.

    ``file``: its path; empty for standard error. Done again it changes what was set before. Raises
    OSError where the file cannot be written.
    """
    log = logging.getLogger("bits_server")
    handler = LogFile(file) if file else logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format is LogFormat.JSON else HumanFormatter())
    for old in list(log.handlers):
        log.removeHandler(old)
        old.close()
    log.setLevel(level)
    log.addHandler(handler)
    log.propagate = False
