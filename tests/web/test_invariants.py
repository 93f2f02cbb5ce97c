"""What must hold whatever a client sends: found by a machine that tries.

Any cut of a file into fragments, with repeats, overlaps, gaps and bodies that break, rebuilds
exactly that file; any bytes in the header fields give an Ack or a plain HTTP answer, and never a
failure that nobody foresaw.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bits_server import Settings, VirtualDirectory, create_app
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import FragmentOutOfOrder, MalformedPacket, SessionNotFound
from bits_server.sessions.manager import SessionManager, Uploader
from bits_server.storage.interface import DestinationPath
from tests.sessions.recording import RecordingObserver
from tests.storage.stages import STAGES, StoreStage
from tests.support.bits_client import PROTOCOL, BitsClient
from tests.support.wire import Answer, InProcessSender

SOAK_FACTOR = 20


def _settings(examples: int, *, is_soak: bool = False, steps: int = 30) -> settings:
    """``print_blob``: what a failure prints is enough to have it again."""
    return settings(
        max_examples=examples * (SOAK_FACTOR if is_soak else 1),
        stateful_step_count=steps,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


# any cut of a file


@dataclass(frozen=True)
class Outcome:
    """Of a Fragment: taken, a gap, refused, or without its session; and what the Ack says next."""

    kind: str
    received: int | None


class Line(Protocol):
    """A way to a server, for one upload to ``f.bin``; it may be connected anew."""

    def create(self) -> None: ...

    def send(self, first: int, body: bytes, total: int, cut: int | None) -> Outcome:
        """``cut``: the connection breaks after so many bytes of the body."""
        ...

    def close(self) -> bool: ...

    def cancel(self) -> bool: ...

    def restart(self) -> None: ...

    def files(self) -> dict[str, bytes]: ...


class ManagerLine:
    """Straight into the manager, over a store; a restart is a manager that knows nothing."""

    def __init__(self, stage: StoreStage) -> None:
        self._stage = stage
        self._destination = DestinationPath(("f.bin",))
        self._uploader = Uploader(client_address="192.0.2.1")
        self.restart()

    def create(self) -> None:
        self._id = self._manager.create_session(self._destination, self._uploader)

    def send(self, first: int, body: bytes, total: int, cut: int | None) -> Outcome:
        try:
            received = self._manager.receive_fragment(
                self._id,
                ContentRange(first, first + len(body) - 1, total),
                self._destination,
                self._uploader,
                _blocks(body, cut),
            ).received_length
        except SessionNotFound:
            return Outcome("no session", None)
        except (FragmentOutOfOrder, MalformedPacket) as error:
            kind = "gap" if isinstance(error, FragmentOutOfOrder) else "refused"
            return Outcome(
                kind, self._manager.received_length(self._id, self._destination, self._uploader)
            )
        return Outcome("taken", received)

    def close(self) -> bool:
        return _is_found(lambda: self._manager.close_session(*self._session()))

    def cancel(self) -> bool:
        return _is_found(lambda: self._manager.cancel_session(*self._session()))

    def restart(self) -> None:
        directory = VirtualDirectory(url="/upload", path="/nowhere")
        self._manager = SessionManager(directory, self._stage.another_store(), RecordingObserver())

    def files(self) -> dict[str, bytes]:
        return self._stage.files()

    def _session(self) -> tuple[Any, DestinationPath, Uploader]:
        return self._id, self._destination, self._uploader


class WsgiLine:
    """Through the WSGI application, with the header fields of real packets."""

    def __init__(self, path: Path) -> None:
        self._root = path / "uploads"
        self._root.mkdir()
        self.client = BitsClient(_Breaking(None))
        self.restart()

    def create(self) -> None:
        assert self.client.create().status == 200

    def send(self, first: int, body: bytes, total: int, cut: int | None) -> Outcome:
        sender = self.client.sender
        assert isinstance(sender, _Breaking)
        sender.cut = cut
        answer = self.client.fragment(body, first, total)
        sender.cut = None
        kinds = {200: "taken", 416: "gap", 400: "refused", 500: "no session"}
        if answer.status == 500:
            assert answer["BITS-Error-Code"] == "0x8020001F"
        if answer.status == 416:
            assert answer.get("BITS-Error-Code") is None
        received = answer.get("BITS-Received-Content-Range")
        return Outcome(kinds[answer.status], None if received is None else int(received))

    def close(self) -> bool:
        return self._is_acknowledged(self.client.close())

    def cancel(self) -> bool:
        return self._is_acknowledged(self.client.cancel())

    def restart(self) -> None:
        directory = VirtualDirectory(url="/upload", path=str(self._root))
        self.client.sender = _Breaking(create_app(Settings((directory,)), clean_up=False))

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self._root.iterdir() if path.is_file()}

    def _is_acknowledged(self, answer: Answer) -> bool:
        assert answer.status == 200 or answer["BITS-Error-Code"] == "0x8020001F"
        return answer.status == 200


class _Breaking(InProcessSender):
    """A connection that breaks after ``cut`` bytes of a body, where that is set."""

    cut: int | None = None

    def send(self, method: str, target: str, headers: Any = (), body: bytes = b"") -> Answer:
        return super().send(method, target, headers, body[: self.cut])


def _blocks(body: bytes, cut: int | None) -> Iterator[memoryview]:
    """The body in blocks of 7 bytes, as a server would yield them."""
    for at in range(0, len(body[:cut]), 7):
        yield memoryview(body[:cut])[at : at + 7]
    if len(body[:cut]) < len(body):
        raise MalformedPacket("the body ended early")


def _is_found(packet: Callable[[], object]) -> bool:
    try:
        packet()
    except SessionNotFound:
        return False
    return True


class UploadMachine(RuleBasedStateMachine):
    """One client that does what clients do, in any order; the model is a number: N.

    ``received``: the next expected byte, None where there is no session.
    """

    def __init__(self) -> None:
        super().__init__()
        self._path = Path(tempfile.mkdtemp(prefix="invariants-"))
        self._line = self.make_line(self._path)
        self.content = b""
        self.received: int | None = None
        self.published: bytes | None = None

    def make_line(self, path: Path) -> Line:
        raise NotImplementedError

    def teardown(self) -> None:
        shutil.rmtree(self._path)

    @initialize(content=st.binary(max_size=120))
    def begin(self, content: bytes) -> None:
        self.content = content
        self._line.create()
        self.received = 0

    @precondition(lambda self: self.received is not None and self.content)
    @rule(data=st.data())
    def send_anything(self, data: st.DataObject) -> None:
        """Repeats, overlaps and what comes next; the body may break on the way."""
        assert self.received is not None
        first = data.draw(st.integers(0, min(self.received, len(self.content) - 1)), "first")
        last = data.draw(st.integers(first, len(self.content) - 1), "last")
        body = self.content[first : last + 1]
        cut = data.draw(st.none() | st.integers(0, len(body)), "cut")
        outcome = self._line.send(first, body, len(self.content), cut)
        arrived = len(body[:cut])
        is_whole = arrived == len(body)
        self.received = max(self.received, first + arrived)
        assert outcome == Outcome("taken" if is_whole else "refused", self.received)

    @precondition(lambda self: self.received is not None and self.content)
    @rule(size=st.integers(1, 50))
    def send_what_comes_next(self, size: int) -> None:
        assert self.received is not None
        first = min(self.received, len(self.content) - 1)
        body = self.content[first : first + size]
        outcome = self._line.send(first, body, len(self.content), None)
        self.received = max(self.received, first + len(body))
        assert outcome == Outcome("taken", self.received)

    @precondition(lambda self: self.received is not None and self.received < len(self.content) - 1)
    @rule(data=st.data())
    def leave_a_gap(self, data: st.DataObject) -> None:
        """416, and the Ack says where to go on."""
        assert self.received is not None
        first = data.draw(st.integers(self.received + 1, len(self.content) - 1), "first")
        outcome = self._line.send(first, self.content[first:], len(self.content), None)
        assert outcome == Outcome("gap", self.received)
        body = self.content[self.received :]
        outcome = self._line.send(self.received, body[:1], len(self.content), None)
        self.received += 1
        assert outcome == Outcome("taken", self.received)

    @precondition(lambda self: self.received and self.received < len(self.content))
    @rule(more=st.integers(1, 10))
    def change_the_total(self, more: int) -> None:
        assert self.received is not None
        body = self.content[self.received :]
        outcome = self._line.send(self.received, body, len(self.content) + more, None)
        assert outcome == Outcome("refused", self.received)

    @precondition(lambda self: self.received is not None and not self.content)
    @rule()
    def send_the_empty_file(self) -> None:
        assert self._line.send(0, b"", 0, None) == Outcome("taken", 0)

    @rule()
    def restart_the_server(self) -> None:
        self._line.restart()

    @precondition(lambda self: self.received == len(self.content) and self.published is None)
    @rule(times=st.integers(1, 3))
    def close_what_is_complete(self, times: int) -> None:
        for _ in range(times):
            assert self._line.close()
        self.published, self.received = self.content, None

    @precondition(lambda self: self.received is not None and 0 < self.received < len(self.content))
    @rule()
    def close_what_is_incomplete(self) -> None:
        assert self._line.close()
        assert self._line.close()
        self._begin_again()

    @precondition(lambda self: self.received is not None)
    @rule()
    def cancel(self) -> None:
        assert self._line.cancel()
        assert not self._line.cancel()
        self._begin_again()

    @precondition(lambda self: self.published is not None and self.content)
    @rule()
    def send_after_the_end(self) -> None:
        outcome = self._line.send(0, self.content, len(self.content), None)
        assert outcome == Outcome("no session", None)

    @invariant()
    def nobody_sees_half_a_file(self) -> None:
        expected = {} if self.published is None else {"f.bin": self.published}
        assert self._line.files() == expected

    def _begin_again(self) -> None:
        self._line.create()
        self.received = 0


class MemoryMachine(UploadMachine):
    def make_line(self, path: Path) -> Line:
        return ManagerLine(STAGES["memory"](path))


class FilesMachine(UploadMachine):
    def make_line(self, path: Path) -> Line:
        return ManagerLine(STAGES["files"](path))


class WsgiMachine(UploadMachine):
    def make_line(self, path: Path) -> Line:
        return WsgiLine(path)


MACHINES: list[tuple[type[UploadMachine], int]] = [
    (MemoryMachine, 150),
    (FilesMachine, 60),
    (WsgiMachine, 60),
]


@pytest.mark.parametrize(("machine", "examples"), MACHINES)
def test_whatever_a_client_does_the_file_is_whole(
    machine: type[UploadMachine], examples: int
) -> None:
    run_state_machine_as_test(machine, settings=_settings(examples))


@pytest.mark.soak
@pytest.mark.parametrize(("machine", "examples"), MACHINES)
def test_whatever_a_client_does_the_file_is_whole_for_long(
    machine: type[UploadMachine], examples: int
) -> None:
    run_state_machine_as_test(machine, settings=_settings(examples, is_soak=True, steps=60))


LINES: dict[str, Callable[[Path], Line]] = {
    **{name: lambda path, make=make: ManagerLine(make(path)) for name, make in STAGES.items()},  # type: ignore[misc]
    "wsgi": WsgiLine,
}


@pytest.mark.parametrize("name", LINES)
def test_any_cut_of_a_file_rebuilds_it(name: str, is_soak: bool) -> None:
    """The client sends the pieces as they come, and goes where the Ack of a gap says."""

    @_settings(60, is_soak=is_soak)
    @given(
        content=st.binary(min_size=1, max_size=3_000),
        pieces=st.lists(
            st.tuples(st.floats(0, 1), st.floats(0, 1), st.none() | st.floats(0, 1)), max_size=20
        ),
    )
    def rebuild(content: bytes, pieces: list[tuple[float, float, float | None]]) -> None:
        with tempfile.TemporaryDirectory(prefix="invariants-") as path:
            line = LINES[name](Path(path))
            line.create()
            received = 0
            for start, share, broken in pieces:
                first = int(start * (len(content) - 1))
                body = content[first : first + 1 + int(share * len(content))]
                cut = None if broken is None else int(broken * len(body))
                outcome = line.send(first, body, len(content), cut)
                assert outcome.received is not None
                assert outcome.received >= received
                assert outcome.kind == "gap" if first > received else outcome.kind != "gap"
                received = outcome.received
            while received < len(content):
                body = content[received : received + 700]
                outcome = line.send(received, body, len(content), None)
                assert outcome == Outcome("taken", received + len(body))
                received += len(body)
            assert line.files() == {}
            assert line.close()
            assert line.files() == {"f.bin": content}

    rebuild()


# any header bytes

KNOWN_FAILURES = {
    "0x8020001F": {500},
    "0x80070005": {403, 501},
    "0x80070057": {400, 411},
    "0x80200020": {500},
    "0x80070070": {500},
    "0x80070003": {404},
    "0x80070002": {404},
    "0x801901F7": {503},
}

# What a server hands on: one character a byte, no line ends, no NUL.
_any_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)


def _field(*usual: str) -> st.SearchStrategy[str]:
    """A usual value, one with a slip, or anything."""
    sane = st.sampled_from(usual)
    slipped = st.builds(
        lambda text, at, slip: text[: at % (len(text) + 1)] + slip + text[at % (len(text) + 1) :],
        sane,
        st.integers(0, 60),
        _any_text,
    )
    return sane | sane | sane | slipped | _any_text


SESSION = "{the session}"  # stands for the id of a session that is there
_numbers = st.sampled_from([0, 1, 4, 5, 9, 10, 2**31, 2**63 - 1, 2**63, 2**64 - 1, 2**64])
_ranges = st.builds(lambda a, b, c: f"bytes {a}-{b}/{c}", _numbers, _numbers, _numbers)

HEADERS: dict[str, st.SearchStrategy[str]] = {
    "BITS-Packet-Type": _field(
        "Create-Session", "Fragment", "CLOSE-SESSION", "cancel-session", "Ping"
    ),
    "BITS-Session-Id": _field(SESSION, SESSION, "{5E53C221-F2D6-4BF2-B994-1DC43CEACA8D}"),
    "BITS-Supported-Protocols": _field(PROTOCOL, f"{PROTOCOL.upper()} {PROTOCOL}"),
    "Content-Range": _field("bytes 0-4/10", "bytes 5-9/10", "bytes */0", "bytes 0--1/0") | _ranges,
    "Content-Length": _field("0", "5", "10"),
    "Content-Encoding": _field("identity", "gzip"),
    "Content-Name": _field("f.bin"),
    "Transfer-Encoding": _field("chunked"),
    "Expect": _field("100-continue"),
    "X-HTTP-Method-Override": _field("BITS_POST"),
}
_methods = st.sampled_from(["BITS_POST"] * 5 + ["POST", "GET", "OPTIONS", "\xff"])
_paths = st.sampled_from([b"/upload/f.bin"] * 5 + [b"/upload/a/b/f.bin", b"/upload", b"/"]) | (
    st.binary(max_size=40).map(lambda tail: b"/upload/" + tail)
)


@pytest.mark.parametrize("create_folders", [False, True])
def test_any_header_bytes_are_answered(tmp_path: Path, is_soak: bool, create_folders: bool) -> None:
    """An Ack of the table, or a plain HTTP answer; an exception would fail here too."""
    root = tmp_path / "uploads"
    root.mkdir()
    directory = VirtualDirectory(
        url="/upload", path=str(root), create_folders=create_folders, allow_overwrites=True
    )
    app = create_app(Settings((directory,)), clean_up=False)
    client = BitsClient(InProcessSender(app))

    @_settings(400, is_soak=is_soak)
    @given(
        method=_methods,
        path=_paths,
        fields=st.fixed_dictionaries({}, optional=HEADERS),
        others=st.dictionaries(st.from_regex(r"\A[A-Z-]{1,20}\Z"), _any_text, max_size=3),
        body=st.binary(max_size=12),
        is_input_terminated=st.booleans(),
    )
    @example("BITS_POST", b"/upload/\x00", {"BITS-Packet-Type": "Create-Session"}, {}, b"", False)
    @example("BITS_POST", b"/upload/" + b"a" * 300, {}, {}, b"", False)
    @example("BITS_POST", b"/upload/" + b"\xf0\x9f\x98\x80" * 64, _CREATE, {}, b"", False)
    @example("BITS_POST", b"/upload/" + b"a/" * 300 + b"f.bin", _CREATE, {}, b"", False)
    def send(
        method: str,
        path: bytes,
        fields: dict[str, str],
        others: dict[str, str],
        body: bytes,
        is_input_terminated: bool,
    ) -> None:
        client.create()
        headers = {**others, **fields}
        if "BITS-Session-Id" in headers:
            headers["BITS-Session-Id"] = headers["BITS-Session-Id"].replace(
                SESSION, client.session_id
            )
        sender = InProcessSender(app, **{"wsgi.input_terminated": is_input_terminated})
        answer = sender.send(method, quote(path, safe="/"), headers.items(), body)
        _assert_foreseen(answer)
        client.cancel()

    send()


def test_a_content_length_of_any_number_of_digits_is_answered(client: BitsClient) -> None:
    client.create()
    _assert_foreseen(client.fragment(b"abc", 0, 3, Content_Length="9" * 4_301))


_CREATE = {"BITS-Packet-Type": "Create-Session", "BITS-Supported-Protocols": PROTOCOL}


def _assert_foreseen(answer: Answer) -> None:
    code = answer.get("BITS-Error-Code")
    if answer.get("BITS-Packet-Type") != "Ack":
        assert answer.status in (200, 404, 405), answer
        return
    assert answer.body == b""
    assert answer["Content-Length"] == "0"
    if code is None:
        assert answer.status in (200, 201, 413, 416), answer
        assert answer.get("BITS-Error-Context") is None
        return
    assert answer.status in KNOWN_FAILURES[code], answer
    assert answer["BITS-Error"] == code
    assert answer["BITS-Error-Context"] == "0x5"
