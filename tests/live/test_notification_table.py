"""What a client gets for whatever its server application answers: the whole table, over real HTTP.

The expected column follows the specification's digest: ``TOLD`` and the few lines of ``Expected``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from bits_server import Durability, NotificationType, NotifyAt
from bits_server.notification.http_client import HttpBackEndClient
from tests.conftest import ClientMaker
from tests.support.bits_client import BitsClient, assert_success
from tests.support.server_application import Answer, ServerApplication, refused_url
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


@dataclass
class Case:
    """One row: an application, and a client that sends its last Fragment to it."""

    kind: NotificationType
    fields: str
    has_reply: bool
    behaviour: str

    @property
    def is_success(self) -> bool:
        return TOLD[self.behaviour] is None

    @property
    def copies(self) -> bool:
        return "copy" in self.fields or self.fields == "both"

    def reply_url(self, client: BitsClient, status: int) -> str | None:
        """The BITS-Reply-URL after an answer with this status, which was a success."""
        if self.fields in ("static URL", "both"):
            return STATIC
        has_body = status != 204 or self.kind is NotificationType.BY_REFERENCE
        if not (self.has_reply and has_body):
            return None
        return f"/upload/BITS-Sessions/%7B{client.session_id[1:-1]}%7D/response"

    def answer(self, release: threading.Event) -> Answer:
        good = Answer(fields=FIELDS[self.fields], reply=REPLY if self.has_reply else None)
        if self.behaviour.isdecimal():
            location = {"Location": "/elsewhere"} if self.behaviour == "302" else {}
            return replace(
                good, status=int(self.behaviour), fields={**FIELDS[self.fields], **location}
            )
        if self.behaviour == "time-out":
            return replace(good, before=lambda _notification: release.wait(30))
        return replace(good, is_cut=self.behaviour == "cut in mid-answer")


CASES = [Case(*each) for each in product(TYPES, FIELDS, (False, True), TOLD)]


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Set at the end, for applications that keep their client waiting."""
    event = threading.Event()
    yield event
    event.set()


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
@pytest.mark.parametrize(
    "case",
    CASES,
    ids=lambda case: (
        f"{case.kind.value}, {case.fields}, {'reply' if case.has_reply else 'no reply'}, "
        f"{case.behaviour}"
    ),
)
def test_what_the_client_gets(
    case: Case, make_client: ClientMaker, folder: Path, release: threading.Event
) -> None:
    is_unreachable = case.behaviour == "refused connection"
    with ServerApplication(case.answer(release)) as application:
        client = make_client(
            notification_type=case.kind,
            notification_url=refused_url() if is_unreachable else application.url,
            notification_timeout=1 if case.behaviour == "time-out" else 100,
            durability=Durability.NONE,
        )
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
            assert_reply(client, None if reply_url == STATIC else reply_url, status=404)
            assert application.calls == 1
            return
        assert_told(answer, told)
        assert answer["BITS-Received-Content-Range"] == str(len(CONTENT))
        calls = application.calls
        assert calls == (0 if is_unreachable else 1), "and a redirect is not followed"
        application.answer = replace(
            Answer(), fields=FIELDS[case.fields], reply=REPLY if case.has_reply else None
        )
        if case.behaviour == "403":
            assert_told(last(), 403)
            assert_told(client.close(), 403)
            assert application.calls == calls, "403 is final"
            assert_success(client.cancel())
            assert not (folder / "f.bin").exists()
        elif is_unreachable:
            assert_told(last(), 503)
            assert_told(client.close(), 503)
        else:
            assert_fragment_taken(last(), case.reply_url(client, 200))
            assert application.calls == calls + 1, "after a failure the next try calls again"
            assert_reply(client, case.reply_url(client, 200))
            assert_closed(client, folder / "f.bin", copies=case.copies)
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
@pytest.mark.parametrize("behaviour", TOLD)
@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("fields", ["no header", "copy", "both"])
def test_what_the_client_gets_where_the_application_is_told_at_close(
    behaviour: str,
    kind: NotificationType,
    fields: str,
    make_client: ClientMaker,
    folder: Path,
    release: threading.Event,
) -> None:
    case = Case(kind, fields, has_reply=True, behaviour=behaviour)
    is_unreachable = behaviour == "refused connection"
    with ServerApplication(case.answer(release)) as application:
        client = make_client(
            notification_type=kind,
            notify_at=NotifyAt.CLOSE,
            notification_url=refused_url() if is_unreachable else application.url,
            notification_timeout=1 if behaviour == "time-out" else 100,
        )
        client.create()
        last = last_fragment(client)
        assert_fragment_taken(last(), None)
        assert application.calls == 0
        told = TOLD[behaviour]
        if told is None:
            assert_closed(client, folder / "f.bin", copies=case.copies)
            assert application.calls == 1
            return
        assert_told(client.close(), told)
        assert_fragment_taken(last(), None)
        application.answer = Answer(fields=FIELDS[fields], reply=REPLY)
        calls = application.calls
        if behaviour == "403" or is_unreachable:
            assert_told(client.close(), told)
            assert application.calls == calls
        else:
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
