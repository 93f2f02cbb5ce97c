"""A fake IIS 6 on loopback: its Acks are those of the captured conversations, field by field.

The rule of this file: what it answers by itself is what IIS sent [MC-BUP 4], down to the order and
the case of the fields, and what IIS left out (the session id of most Acks) is left out. All that
goes wrong is a ``Fault`` that the test asked for.
"""

from __future__ import annotations

import contextlib
import re
import socket
import socketserver
import threading
import zlib
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from http import HTTPStatus
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

from tests.support.challenges import Challenge
from tests.support.faults import NO_FAULT, Fault, Fields, Request, Response

SESSION_NOT_FOUND = "0x8020001F"
INVALID_ARGUMENT = "0x80070057"
RECEIVED = "BITS-Received-Content-Range"
BLOCK = 1 << 16

_PROTOCOL = "{7df0354d-249b-430f-820d-3d2a9bef4931}"
_RANGE = re.compile(r"bytes (\d+)-(-?\d+)/(\d+)")
_ASKED = re.compile(r"bytes=(\d+)-(\d*)")


@dataclass
class _Session:
    path: str
    received: bytearray = field(default_factory=bytearray)
    total: int | None = None


class FakeIis:
    """Listens while the context lasts. ``files``: what was closed, by path; ``requests``: all.

    ``reply``: what an upload is answered with. ``largest_fragment``: 413 above it.
    ``host_id``: where Create-Session sends the client, with ``fallback_timeout`` in seconds.
    ``challenge``: whose credentials each request must have. ``knows_ranges`` off: a GET is
    answered with 200 and the whole reply, as a server without ranges does.
    """

    def __init__(
        self,
        *,
        reply: bytes | None = None,
        largest_fragment: int | None = None,
        host_id: str = "",
        fallback_timeout: int = 110,
        challenge: Challenge | None = None,
        knows_ranges: bool = True,
    ) -> None:
        self.reply = reply
        self.largest_fragment = largest_fragment
        self.host_id = host_id
        self.fallback_timeout = fallback_timeout
        self.challenge = challenge
        self.knows_ranges = knows_ranges
        self.files: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self.sessions: dict[str, _Session] = {}
        self.replies: dict[str, bytes] = {}
        self.connections = 0
        self._faults: dict[str, list[Fault | None]] = {}
        self._open: set[socket.socket] = set()
        self._lock = threading.RLock()
        iis = self

        class Handler(_Handler):
            owner = iis

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.address: tuple[str, int] = ("127.0.0.1", self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def __enter__(self) -> FakeIis:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def script(self, kind: str, *faults: Fault | None) -> None:
        """The next requests of that kind (packet type, GET, HEAD) meet these; None is no fault."""
        with self._lock:
            self._faults.setdefault(kind, []).extend(faults)

    @property
    def is_script_done(self) -> bool:
        return not any(self._faults.values())

    def kinds(self) -> list[str]:
        """Of all requests so far, in order."""
        return [request.kind for request in self.requests]

    def count(self, kind: str) -> int:
        return self.kinds().count(kind)

    def take_fault(self, kind: str) -> Fault:
        with self._lock:
            waiting = self._faults.get(kind)
            return (waiting.pop(0) if waiting else None) or NO_FAULT

    def opened(self, connection: socket.socket) -> int:
        with self._lock:
            self.connections += 1
            self._open.add(connection)
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def forget(self, request: Request) -> None:
        self.sessions.pop(request.headers.get("bits-session-id", ""), None)

    def keep(self, request: Request, body: bytes) -> Response | None:
        """Add some bytes of a Fragment. Returns a refusal, or None."""
        with self._lock:
            session = self.sessions.get(request.headers.get("bits-session-id", ""))
            if session is None:
                return _refusal(500, SESSION_NOT_FOUND)
            found = _RANGE.fullmatch(request.headers.get("content-range", ""))
            if found is None:
                return _refusal(400, INVALID_ARGUMENT)
            first, total, expected = int(found[1]), int(found[3]), len(session.received)
            length = int(request.headers.get("content-length", "0"))
            is_whole = int(found[2]) - first + 1 == length and first + length <= total
            if not is_whole or session.total not in (None, total):
                return _refusal(400, INVALID_ARGUMENT)
            if first > expected:
                return Response(416, _ack(after=[(RECEIVED, str(expected))]))
            session.total = total
            session.received += body[expected - first :]
            return None

    def answer(self, request: Request) -> Response:
        """What IIS answers to a request whose body was read."""
        with self._lock:
            if request.method in ("GET", "HEAD"):
                return self._download(request)
            if request.kind == "Ping":
                return Response(200, _ack())
            if request.kind == "Create-Session":
                return self._create(request)
            session_id = request.headers.get("bits-session-id", "")
            session = self.sessions.get(session_id)
            if session is None:
                return _refusal(500, SESSION_NOT_FOUND)
            if request.kind == "Fragment":
                return self._acknowledge(session_id, session)
            if request.kind == "Close-Session" and len(session.received) == session.total:
                self.files[session.path] = bytes(session.received)
            del self.sessions[session_id]
            return Response(200, _ack())

    def _create(self, request: Request) -> Response:
        session_id = f"{{{str(uuid4()).upper()}}}"
        self.sessions[session_id] = _Session(unquote(urlsplit(request.target).path))
        fields = [("BITS-Protocol", _PROTOCOL), ("BITS-Session-Id", session_id)]
        if self.host_id:
            fields.append(("BITS-Host-Id", self.host_id))
            fields.append(("BITS-Host-Id-Fallback-Timeout", str(self.fallback_timeout)))
        return Response(200, _ack(fields, [("Accept-encoding", "identity")]))

    def _acknowledge(self, session_id: str, session: _Session) -> Response:
        fields = [(RECEIVED, str(len(session.received)))]
        if len(session.received) == session.total and self.reply is not None:
            url = rf"BITS-Sessions\Replies\{session_id}\responsefile.bin"
            folder = session.path.rpartition("/")[0]
            self.replies[f"{folder}/{url}".replace("\\", "/")] = self.reply
            fields.append(("BITS-Reply-URL", url))
        return Response(200, _ack(after=fields))

    def _download(self, request: Request) -> Response:
        path = unquote(urlsplit(request.target).path)
        content = self.replies.get(path)
        if content is None:
            return Response(404, [("Content-Length", "0"), *_signature()])
        tag = f'"{zlib.crc32(content):015x}:2488"'
        asked = _ASKED.fullmatch(request.headers.get("range", ""))
        is_partial = asked and self.knows_ranges and request.headers.get("if-range", tag) == tag
        first, last, span = 0, len(content) - 1, []
        if asked and is_partial:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            span = [("Content-Range", f"bytes {first}-{last}/{len(content)}")]
            if first > last:
                nothing = ("Content-Range", f"bytes */{len(content)}")
                return Response(416, [("Content-Length", "0"), nothing, *_signature()])
        fields = [
            ("Content-Length", str(last - first + 1)),
            ("Content-Type", "application/octet-stream"),
            ("Content-Location", f"http://{request.headers['host']}{quote(path)}"),
            *span,
            ("Last-Modified", "Mon, 18 Jun 2007 21:12:01 GMT"),
            ("Accept-Ranges", "bytes" if self.knows_ranges else "none"),
            ("ETag", tag),
            *_signature(),
        ]
        body = b"" if request.method == "HEAD" else content[first : last + 1]
        return Response(206 if is_partial else 200, fields, body)


def _signature() -> Fields:
    """Which server it is and when."""
    return [("Server", "Microsoft-IIS/6.0"), ("Date", formatdate(usegmt=True))]


def _ack(before: Fields | None = None, after: Fields | None = None) -> Fields:
    """All fields of an Ack; some come before the length and some after it."""
    start = [*reversed(_signature()), ("Pragma", "no-cache"), ("BITS-Packet-Type", "Ack")]
    return [*start, *(before or []), ("Content-Length", "0"), *(after or [])]


def _refusal(status: int, hresult: str, context: str = "0x5") -> Response:
    """The error fields by the names that [SDK] has for them."""
    error = [("BITS-Error-Code", hresult), ("BITS-Error-Context", context)] if hresult else []
    return Response(status, _ack(after=error))


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that breaks is what many tests want."""


class _Handler(socketserver.StreamRequestHandler):
    owner: FakeIis
    disable_nagle_algorithm = True

    def handle(self) -> None:
        number = self.owner.opened(self.connection)
        try:
            while (request := self._read_head(number)) and self._serve(request):
                pass
        finally:
            self.owner.closed(self.connection)

    def _read_head(self, connection: int) -> Request | None:
        start = self.rfile.readline().decode("latin-1").split()
        if len(start) != 3:
            return None
        headers = {}
        while line := self.rfile.readline().rstrip(b"\r\n").decode("latin-1"):
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Request(start[0], start[1], headers, connection)

    def _serve(self, request: Request) -> bool:
        """Answer one request; whether the connection stays."""
        if not self._is_welcome(request):
            self._read_body(request)
            return self._finish(request, self._challenge())
        fault = self.owner.take_fault(request.kind)
        if fault.loses_session:
            self.owner.forget(request)
        if not fault.is_drained:
            self._finish(request, self._refused(request, fault) or _refusal(500, ""))
            return False
        body = self._read_body(request, fault.reads)
        request = replace(request, length=len(body))
        refused = self._refused(request, fault)
        if refused is None and request.kind == "Fragment":
            refused = self.owner.keep(request, body)
        if len(body) < request.declared_length:
            self.owner.requests.append(request)
            return False
        response = refused or self.owner.answer(request)
        fields = [*response.fields, *fault.fields.items()]
        fault.before()
        return self._finish(request, replace(response, fields=fields), fault)

    def _is_welcome(self, request: Request) -> bool:
        challenge = self.owner.challenge
        given = request.headers.get("authorization", "")
        return challenge is None or challenge.accepts(given, request.method, request.target)

    def _challenge(self) -> Response:
        assert self.owner.challenge is not None
        asked = [("WWW-Authenticate", value) for value in self.owner.challenge.ask()]
        return Response(401, [("Content-Length", "0"), *asked, *_signature()])

    def _refused(self, request: Request, fault: Fault) -> Response | None:
        largest = self.owner.largest_fragment
        if largest is not None and request.declared_length > largest:
            return Response(413, [("Content-Length", "0"), *_signature()])
        if not fault.status:
            return None
        response = _refusal(fault.status, fault.hresult, fault.context)
        told = [] if fault.received is None else [(RECEIVED, str(fault.received))]
        return replace(response, fields=[*response.fields, *told])

    def _read_body(self, request: Request, limit: int | None = None) -> bytes:
        """The body, or what came of it; no more than ``limit``."""
        if request.headers.get("expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = bytearray()
        wanted = min(request.declared_length, request.declared_length if limit is None else limit)
        while len(body) < wanted:
            try:
                block = self.rfile.read1(min(BLOCK, wanted - len(body)))
            except OSError:
                break
            if not block:
                break
            body += block
        return bytes(body)

    def _finish(self, request: Request, response: Response, fault: Fault = NO_FAULT) -> bool:
        self.owner.requests.append(replace(request, status=response.status))
        if not fault.is_answered:
            return False
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in response.fields]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head + response.body[: fault.sends])
        return fault.sends is None
