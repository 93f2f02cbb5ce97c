"""What the page of the sessions writes into the log, whoever somebody says he is."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from werkzeug.test import Client

from bits_server import Settings, VirtualDirectory
from bits_server.app import make_administrations
from bits_server.operations.sessions_page.sessions_app import MARK, PAGE, SessionsApp
from bits_server.protocol.errors import AccessDenied
from tests.conftest import ClientMaker


def test_a_line_of_the_log_is_one_line_whatever_the_name(
    make_client: ClientMaker, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    uploader = make_client()
    uploader.create()
    settings = Settings((VirtualDirectory("/upload", str(folder)),))
    evil = "alice\n2026-01-01 INFO all is well\x1b[31m"
    app = SessionsApp(make_administrations(settings), lambda _: (evil, ()))
    wish = {
        "virtual_directory": "/upload",
        "session_id": uploader.session_id,
        "action": "extend",
    }
    address = {"REMOTE_ADDR": "192.0.2.7\nx"}
    answer = Client(app).post(f"{PAGE}/act", json=wish, headers={MARK: "1"}, environ_base=address)
    assert answer.json == {"done": "extend", "notification": None}
    (line,) = [each.getMessage() for each in caplog.records if " extend by " in each.getMessage()]
    assert line.isprintable()
    assert r"by alice\n2026-01-01" in line
    assert r"at 192.0.2.7\nx" in line


def test_a_refusal_is_one_line_too(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    def refuse(_: object) -> tuple[str, tuple[()]]:
        raise AccessDenied("he is no administrator")

    settings = Settings((VirtualDirectory("/upload", str(folder)),))
    app = SessionsApp(make_administrations(settings), refuse)
    answer = Client(app).get(PAGE, environ_base={"REMOTE_ADDR": "192.0.2.7\nx"})
    assert answer.status_code == 403
    (line,) = [each for each in caplog.records if each.levelno == logging.WARNING]
    assert line.getMessage() == (
        r"/-/sessions refused to 192.0.2.7\nx with 403: he is no administrator"
    )
