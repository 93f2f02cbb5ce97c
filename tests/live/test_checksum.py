"""``checksum = "sha256"``: in the log, and in what the server application is told."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import BinaryIO

import pytest

from bits_server import Checksum, NotificationType, NotifyAt
from bits_server.storage.session_folder import FolderSession
from tests.conftest import ClientMaker
from tests.support.bits_client import assert_refused, assert_success
from tests.support.server_application import Answer, ServerApplication

CONTENT = os.urandom(3_000_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def test_it_is_in_the_log_when_close_is_acknowledged(
    make_client: ClientMaker, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("bits_server"), "propagate", True)
    with caplog.at_level("INFO", "bits_server"):
        make_client(checksum=Checksum.SHA256).upload(CONTENT)
    (closed,) = [text for text in caplog.messages if "session closed" in text]
    assert f"total {len(CONTENT)} bytes, SHA-256 {DIGEST}: " in closed


@pytest.mark.parametrize("notify_at", NotifyAt)
@pytest.mark.parametrize("kind", [NotificationType.BY_REFERENCE, NotificationType.BY_VALUE])
def test_the_application_is_told_of_it(
    make_client: ClientMaker, kind: NotificationType, notify_at: NotifyAt
) -> None:
    with ServerApplication() as application:
        client = make_client(
            checksum=Checksum.SHA256,
            notification_type=kind,
            notification_url=application.url,
            notify_at=notify_at,
        )
        client.upload(CONTENT)
        assert application.notifications[0].headers["bits-entity-sha256"] == DIGEST


def test_it_is_computed_once_however_often_the_application_is_called(
    make_client: ClientMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    real = FolderSession.open_request_entity

    def counted(session: FolderSession) -> BinaryIO:
        read.append(session)
        return real(session)

    with ServerApplication(Answer(500)) as application:
        client = make_client(
            checksum=Checksum.SHA256,
            notification_type=NotificationType.BY_REFERENCE,
            notification_url=application.url,
        )
        client.create()
        monkeypatch.setattr(FolderSession, "open_request_entity", counted)
        for _ in range(3):
            assert client.fragment(CONTENT, 0, len(CONTENT)).status == 500
        assert len(read) == 1
        assert application.calls == 3


def test_an_entity_that_is_gone_is_told_as_without(make_client: ClientMaker, folder: Path) -> None:
    client = make_client(checksum=Checksum.SHA256)
    client.create()
    client.send_all(CONTENT, 1 << 20)
    (folder / "BITS-Sessions" / client.session_id / "request").unlink()
    assert_refused(client.close(), 404, "0x80070002", client.session_id)


def test_an_upload_that_is_not_complete_or_has_no_fragment_is_closed_as_without(
    make_client: ClientMaker,
) -> None:
    client = make_client(checksum=Checksum.SHA256)
    client.create()
    client.fragment(b"abc", 0, 9)
    assert_success(client.close())
    client.create()
    assert_success(client.close())
