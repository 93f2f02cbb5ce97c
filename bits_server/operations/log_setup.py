"""Where log lines go: standard error, where a terminal, systemd and gunicorn all expect them."""

from __future__ import annotations

import logging
import sys


def set_up_logging(level: int = logging.INFO) -> None:
    """Give the logger ``bits_server`` its handler, once; other loggers are not touched."""
    log = logging.getLogger("bits_server")
    log.setLevel(level)
    if log.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.propagate = False
