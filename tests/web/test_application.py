"""The WSGI application without a server: what does not need one."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest

from bits_server import Settings, VirtualDirectory, create_app
from bits_server.operations.event_log import EventLog
from bits_server.protocol.errors import FragmentOutOfOrder
from bits_server.sessions.manager import SessionManager
from bits_server.sessions.observer import AnsweredPacket
from bits_server.web.trusted_proxies import WsgiApplication
from tests.conftest import ClientMaker
from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.wire import InProcessSender


@pytest.fixture
def app(folder: Path) -> WsgiApplication:
    directory = VirtualDirectory(url="/upload", path=str(folder))
    return create_app(Settings((directory,)), clean_up=False)


def test_a_server_that_does_not_tell_the_end_of_a_chunked_body_gets_411(
    make_client: ClientMaker,
) -> None:
    client = make_client()
    assert_success(client.create())
    answer = client.fragment(
        b"", 0, 3, Content_Length=None, Transfer_Encoding="chunked", Content_Range="bytes 0-2/3"
    )
    assert_refused(answer, 411, "0x80070057", client.session_id)
    assert answer["BITS-Received-Content-Range"] == "0"


def test_the_connection_ends_where_a_body_was_not_read_to_its_end(app: WsgiApplication) -> None:
    closed: list[bool] = []

    class Response:
        """As gunicorn's: ``start_response`` is its method."""

        def force_close(self) -> None:
            closed.append(True)

        def start_response(self, _: str, headers: list[tuple[str, str]]) -> None:
            closed.append(False)
            # WSGI forbids an application to send this one by itself.
            assert "connection" not in {name.lower() for name, _ in headers}

    for length, expected in ((1 << 20, [False]), (2 << 20, [True, False])):
        environ = {
            "REQUEST_METHOD": "PUT",
            "PATH_INFO": "/upload/f",
            "CONTENT_LENGTH": str(length),
            "wsgi.input": io.BytesIO(bytes(length)),
        }
        closed.clear()
        app(environ, Response().start_response)
        assert closed == expected


def test_a_session_id_that_cannot_be_sent_is_not_echoed(make_client: ClientMaker) -> None:
    client = make_client()
    for wrong in ("a\r\nb: c", "x" * 1025):
        answer = client.close(BITS_Session_Id=wrong)
        assert_refused(answer, 500, "0x8020001F")
    long = "x" * 1024
    assert_refused(client.close(BITS_Session_Id=long), 500, "0x8020001F", long)


def test_of_a_session_id_that_is_none_the_log_gets_the_beginning(folder: Path) -> None:
    seen: list[AnsweredPacket] = []

    class Observer(EventLog):
        def answered(self, packet: AnsweredPacket) -> None:
            seen.append(packet)

    directory = VirtualDirectory(url="/upload", path=str(folder))
    app = create_app(Settings((directory,)), Observer(), clean_up=False)
    client = BitsClient(InProcessSender(app))
    client.ping(BITS_Session_Id="x" * 60_000)
    client.create()
    client.ping(BITS_Session_Id=client.session_id)
    assert [each.session_id for each in seen] == ["x" * 100, client.session_id, client.session_id]


def test_an_embedding_program_may_watch_the_sessions(folder: Path) -> None:
    seen: list[str] = []

    class Observer:
        def __getattr__(self, name: str) -> object:
            return lambda *_: seen.append(name)

    directory = VirtualDirectory(url="/upload", path=str(folder))
    app = create_app(Settings((directory,)), Observer(), clean_up=False)  # type: ignore[arg-type]
    client = BitsClient(InProcessSender(app))
    client.upload(b"content")
    client.cancel()
    assert client.create().status == 403
    told = ["session_created", "fragment_received", "closed"]
    assert [name for name in seen if name != "answered"] == told
    assert seen.count("answered") == 5


def test_a_gap_of_a_session_that_was_removed_meanwhile_is_an_unknown_session(
    client: BitsClient, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 416 without the next expected byte would leave a client at a loss."""
    assert_success(client.create())

    def remove_and_refuse(*_: object, **__: object) -> None:
        shutil.rmtree(folder / "BITS-Sessions" / client.session_id)
        raise FragmentOutOfOrder("a Cancel came between two looks")

    monkeypatch.setattr(SessionManager, "receive_fragment", remove_and_refuse)
    answer = client.fragment(b"abc", 3, 9)
    assert_refused(answer, 500, "0x8020001F", client.session_id)
