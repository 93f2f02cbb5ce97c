"""Log lines go to standard error, once each."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from bits_server.operations.log_setup import set_up_logging


@pytest.fixture
def log() -> Iterator[logging.Logger]:
    """Our logger as it is before anybody set it up."""
    log = logging.getLogger("bits_server")
    level, handlers, propagate = log.level, log.handlers, log.propagate
    log.handlers, log.propagate = [], True
    yield log
    log.handlers, log.propagate = handlers, propagate
    log.setLevel(level)


def test_a_line_has_its_time_and_level_and_comes_once_however_often_it_is_set_up(
    log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        set_up_logging()
    log.info("a session was created")
    log.debug("a fragment came")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert printed.err.startswith("20")
    assert printed.err.endswith(" INFO a session was created\n")


def test_the_level_can_be_changed(log: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging(logging.DEBUG)
    log.debug("a fragment came")
    assert "DEBUG a fragment came" in capsys.readouterr().err


def test_other_loggers_are_left_alone(log: logging.Logger) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    set_up_logging()
    assert (root.level, list(root.handlers)) == before
    assert not log.propagate, "a program that embeds us does not get our lines twice"
