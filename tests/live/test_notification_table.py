"""What a client gets for whatever its server application answers: the whole table, over real HTTP.

The expected column follows the specification's digest: ``TOLD`` and the few lines of ``Expected``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bits_server import Durability, NotificationType, NotifyAt
from bits_server.notification.http_client import HttpBackEndClient
from tests.conftest import ClientMaker, ServerMaker
from tests.notification.raw_application import RawApplication
from tests.notification.test_http_client import answering
from tests.support.bits_client import BitsClient, assert_success
from tests.support.server_application import Answer, ServerApplication
from tests.support.wire import Answer as Ack

CONTENT = b"request entity" * 50
STATIC = "https://files.example.com/reply?x=1"
REPLY = b"receipt" * 20

COPY_FIELD = {"BITS-Copy-File-To-Destination": "1"}
FIELDS: dict[str, dict[str, str]] = {
    "no header": {},
    "copy": COPY_FIELD,
    "static URL": {"BITS-Static-Response-URL": STATIC},
    "both": {**COPY_FIELD, "BITS-Static-Response-URL": STATIC},
    "empty static URL": {"BITS-Static-Response-URL": ""},
}
TYPES = (NotificationType.BY_REFERENCE, NotificationType.BY_VALUE)

# What the client is told, by what the application does; None: that all is well.
TOLD: dict[str, int | None] = {
    "200": None,
    "204": None,
    "302": 302,
    "401": 500,
    "403": 403,
    "404": 404,
    "408": 408,
    "409": 409,
    "413": 500,
    "416": 500,
    "500": 500,
    "503": 503,
    "time-out": 504,
    "refused connection": 503,
    "cut in mid-answer": 502,
}


@dataclass(frozen=True)
class Case:
    """One row: an application, and a client that sends its last Fragment to it."""

    kind: NotificationType
    fields: str
    has_reply: bool
    behaviour: str

    def __str__(self) -> str:
        reply = "reply" if self.has_reply else "no reply"
        return f"{self.kind.value}, {self.fields}, {reply}, {self.behaviour}"

    @property
    def copies(self) -> bool:
        return self.fields in ("copy", "both")

    @property
    def is_unreachable(self) -> bool:
        return self.behaviour == "refused connection"

    @property
    def success(self) -> Answer:
        """What the application answers when nothing is wrong with it any more."""
        return Answer(fields=FIELDS[self.fields], reply=REPLY if self.has_reply else None)

    def settings(self, application: ServerApplication) -> dict[str, Any]:
        return {
            "notification_type": self.kind,
            "notification_url": application.url,
            "notification_timeout": 1 if self.behaviour == "time-out" else 100,
            "durability": Durability.NONE,
        }

    def reply_url(self, client: BitsClient, status: int) -> str | None:
        """The BITS-Reply-URL after an answer with this status, which was a success."""
        if self.fields in ("static URL", "both"):
            return STATIC
        has_body = status != 204 or self.kind is NotificationType.BY_REFERENCE
        if not (self.has_reply and has_body):
            return None
        return f"/upload/BITS-Sessions/%7B{client.session_id[1:-1]}%7D/response"

    @contextmanager
    def application(self) -> Iterator[ServerApplication]:
        """It behaves as the row says; whom it keeps waiting is let go at the end."""
        release, answer = threading.Event(), self.success
        if self.behaviour.isdecimal():
            answer = replace(answer, status=int(self.behaviour))
        if self.behaviour == "302":
            answer = replace(answer, fields={**answer.fields, "Location": "/elsewhere"})
        if self.behaviour == "time-out":
            answer = replace(answer, before=lambda _notification: release.wait(30))
        answer = replace(answer, is_cut=self.behaviour == "cut in mid-answer")
        try:
            with ServerApplication(answer, is_listening=not self.is_unreachable) as application:
                yield application
        finally:
            release.set()


CASES = [Case(*each) for each in product(TYPES, FIELDS, (False, True), TOLD)]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second of notification_timeout is a fifth of one: forty of these cases wait for it."""

    def make(url: str, *, timeout: float, **options: Any) -> HttpBackEndClient:
        return HttpBackEndClient(url, timeout=timeout / 5, **options)

    monkeypatch.setattr("bits_server.app.HttpBackEndClient", make)


def assert_told(answer: Ack, status: int) -> None:
    """A refusal in the name of the server application, with the next expected byte."""
    code = f"0x8019{status:04X}"
    assert answer.status == status
    assert answer["BITS-Error-Code"] == answer["BITS-Error"] == code
    assert answer["BITS-Error-Context"] == "0x7"
    assert answer.get("BITS-Reply-URL") is None


def assert_fragment_taken(answer: Ack, reply_url: str | None) -> None:
    assert_success(answer)
    assert answer["BITS-Received-Content-Range"] == str(len(CONTENT))
    assert answer.get("BITS-Reply-URL") == reply_url


def assert_closed(client: BitsClient, destination: Path, *, copies: bool) -> None:
    """Twice, as a client does that did not hear the first Ack."""
    for _ in range(2):
        assert_success(client.close())
    assert destination.exists() == copies
    assert not copies or destination.read_bytes() == CONTENT


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_client_gets(case: Case, make_client: ClientMaker, folder: Path) -> None:
    with case.application() as application:
        client = make_client(**case.settings(application))
        client.create()
        last = last_fragment(client)
        answer = last()
        told = TOLD[case.behaviour]
        if told is None:
            reply_url = case.reply_url(client, int(case.behaviour))
            assert_fragment_taken(answer, reply_url)
            assert_fragment_taken(last(), reply_url)
            assert application.calls == 1, "a success is repeated without another call"
            assert_reply(client, reply_url)
            assert_closed(client, folder / "f.bin", copies=case.copies)
            assert_reply(client, reply_url, status=404)
            assert application.calls == 1
            return
        assert_told(answer, told)
        assert answer["BITS-Received-Content-Range"] == str(len(CONTENT))
        calls = application.calls
        assert calls == (0 if case.is_unreachable else 1), "and a redirect is not followed"
        if case.is_unreachable:
            assert_told(last(), 503)
            assert_told(client.close(), 503)
            application.listen()
        application.answer = case.success
        if case.behaviour == "403":
            assert_told(last(), 403)
            assert_told(client.close(), 403)
            assert application.calls == calls, "403 is final"
            assert_success(client.cancel())
            assert not (folder / "f.bin").exists()
            return
        reply_url = case.reply_url(client, 200)
        assert_fragment_taken(last(), reply_url)
        assert application.calls == calls + 1, "after a failure the next try calls again"
        assert_reply(client, reply_url)
        assert_closed(client, folder / "f.bin", copies=case.copies)
        assert application.calls == calls + 1
        assert len({each.headers["bits-session-id"] for each in application.notifications}) == 1


def last_fragment(client: BitsClient) -> Callable[[], Ack]:
    """All but the last bytes are sent; what is returned sends those, as often as it is called."""
    assert_success(client.fragment(CONTENT[:100], 0, len(CONTENT)))
    return lambda: client.fragment(CONTENT[100:], 100, len(CONTENT))


def assert_reply(client: BitsClient, url: str | None, *, status: int = 200) -> None:
    if url is not None and url != STATIC:
        answer = client.sender.send("GET", url)
        assert answer.status == status
        assert answer.body == (REPLY if status == 200 else b"")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_the_client_gets_where_the_application_is_told_at_close(
    case: Case, make_client: ClientMaker, folder: Path
) -> None:
    with case.application() as application:
        client = make_client(**case.settings(application), notify_at=NotifyAt.CLOSE)
        client.create()
        last = last_fragment(client)
        assert_fragment_taken(last(), None)
        assert application.calls == 0
        told = TOLD[case.behaviour]
        if told is None:
            assert_closed(client, folder / "f.bin", copies=case.copies)
            assert application.calls == 1
            return
        assert_told(client.close(), told)
        assert not (folder / "f.bin").exists()
        assert_fragment_taken(last(), None)
        calls = application.calls
        assert calls == (0 if case.is_unreachable else 1), "a Fragment calls nobody here"
        if case.is_unreachable:
            application.listen()
        application.answer = case.success
        if case.behaviour == "403":
            assert_told(client.close(), 403)
            assert application.calls == calls, "403 is final"
            return
        assert_closed(client, folder / "f.bin", copies=case.copies)
        assert application.calls == calls + 1


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("static", ["/relative", "https://h/" + "x" * 2191])
def test_a_static_url_that_is_none_is_told_as_the_applications_mistake(
    make_client: ClientMaker, kind: NotificationType, static: str
) -> None:
    with ServerApplication(Answer(fields={"BITS-Static-Response-URL": static})) as application:
        client = make_client(notification_type=kind, notification_url=application.url)
        client.create()
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert answer.status == 400
        assert answer["BITS-Error-Code"] == "0x80070057"
        assert answer["BITS-Error-Context"] == "0x7"
        application.answer = Answer()
        assert_fragment_taken(client.fragment(CONTENT, 0, len(CONTENT)), None)


@pytest.mark.parametrize("status", [*range(300, 305), 306, 418, 420, 444, 451, 499, 509, 520, 599])
def test_a_status_that_nobody_has_named_is_told_too(make_client: ClientMaker, status: int) -> None:
    with ServerApplication(Answer(status=status)) as application:
        settings = {"notification_url": application.url, "durability": Durability.NONE}
        client = make_client(notification_type=NotificationType.BY_VALUE, **settings)
        client.create()
        answer = client.fragment(CONTENT, 0, len(CONTENT))
        assert_told(answer, status)


STATUSES = {
    **{status: status for status in (300, 304, 307, 400, 403, 404, 405, 408, 409, 410, 411, 429)},
    **{status: status for status in (444, 499, 500, 501, 502, 503, 504, 505, 507, 599)},
    **dict.fromkeys((401, 407, 413, 416), 500),
}


def test_what_is_told_passes_every_way_to_the_client(
    make_server: ServerMaker, folder: Path, tmp_path: Path
) -> None:
    """A proxy has a meaning of its own for some of them."""
    file = tmp_path / "settings.toml"
    with ServerApplication() as application:
        file.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\ndurability = "none"\n'
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
        )
        log_file = tmp_path / "server.log"
        with (
            make_server(options=["--settings", str(file)], log_file=log_file) as server,
            server.sender() as sender,
        ):
            for status, told in STATUSES.items():
                application.answer = Answer(status=status)
                client = BitsClient(sender)
                assert_success(client.create())
                assert_told(client.fragment(CONTENT, 0, len(CONTENT)), told)
                assert_success(client.cancel())
            longest = STATIC + "x" * (2200 - len(STATIC))
            application.answer = Answer(fields={"BITS-Static-Response-URL": longest})
            client = BitsClient(sender)
            assert_success(client.create())
            assert_fragment_taken(client.fragment(CONTENT, 0, len(CONTENT)), longest)
            assert sender.connections == 1


def test_an_answer_of_nonsense_costs_no_session(make_client: ClientMaker) -> None:
    """What is kept of it must not make the record too large to be read again."""
    with RawApplication(answering("\xff\x01" * 30_000 + "\r\n")) as application:
        client = make_client(
            notification_type=NotificationType.BY_VALUE,
            notification_url=f"http://127.0.0.1:{application.port}/",
        )
        client.create()
        for _ in range(3):
            assert_told(client.fragment(CONTENT, 0, len(CONTENT)), 502)
        assert_success(client.cancel())
