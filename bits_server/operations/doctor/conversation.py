"""Packets to a server that may be none, over HTTP as it comes; what is answered, if anything.

The rule of this file: nothing is repaired or followed on the way. A redirection, a cut connection
and an answer that is no Ack are results like others.
"""

from __future__ import annotations

import http.client
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from bits_server.protocol import headers as names
from bits_server.protocol.errors import ErrorContext

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 330.0  # a client gives up after 300
PING_SECONDS = 30.0
BLOCK = 1 << 16

Fields = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Target:
    """Where the packets go. ``path``: that of the virtual directory, without a slash at its end.

    ``trust``: for https. ``fields``: header fields to send with each request.
    """

    scheme: str
    host: str
    port: int
    path: str
    trust: ssl.SSLContext
    fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of_url(
        cls, url: str, trust: ssl.SSLContext, fields: tuple[tuple[str, str], ...] = ()
    ) -> Target:
        """Raises ValueError, which says what is wrong with the URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} must begin with http:// or https:// and a host")
        if parts.query or parts.fragment:
            raise ValueError(f"{url!r} must have neither '?' nor '#'")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        path = quote(parts.path.rstrip("/"), safe="/%!$&'()*+,;=:@~")
        return cls(parts.scheme, parts.hostname, port, path, trust, fields)

    def elsewhere(self, url: str) -> Target:
        """Another place, not told our header fields, trusted as this one. Raises ValueError."""
        return Target.of_url(url, self.trust)

    @property
    def place(self) -> str:
        """Host and port, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, name: str) -> str:
        """The destination URL of a file."""
        return f"{self.scheme}://{self.place}{self.path}/{quote(name)}"


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer. ``fields`` by lower-case name; ``version``: 10 or 11; ``length``: bytes."""

    status: int
    version: int
    fields: Mapping[str, str]
    length: int = 0
    seconds: float = 0.0

    @property
    def is_ack(self) -> bool:
        """Whether a BITS server said it; what stands in front does not."""
        return self.fields.get(names.BITS_PACKET_TYPE.lower(), "").strip().lower() == "ack"

    @property
    def is_success(self) -> bool:
        return self.is_ack and 200 <= self.status <= 299

    @property
    def hresult(self) -> int | None:
        text = self.get(names.BITS_ERROR_CODE) or self.get(names.BITS_ERROR) or ""
        try:
            return int(text, 16)
        except ValueError:
            return None

    @property
    def is_of_application(self) -> bool:
        try:
            context = int(self.get(names.BITS_ERROR_CONTEXT) or "", 16)
        except ValueError:
            return False
        return context == ErrorContext.BG_ERROR_CONTEXT_REMOTE_APPLICATION

    def get(self, name: str) -> str | None:
        return self.fields.get(name.lower())


class NoAnswer(Exception):
    """No answer came. ``is_connected``: there was a connection, and it was cut or fell silent."""

    def __init__(self, cause: Exception, *, is_connected: bool) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.cause = cause
        self.is_connected = is_connected


class Conversation:
    """One connection at a time, kept where it can be.

    ``is_overridden``: packets go as POST with X-HTTP-Method-Override.
    """

    def __init__(self, target: Target, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        """``answer_seconds``: how long an answer is waited for; to a Ping 30 s at most."""
        self.target = target
        self._answer_seconds = answer_seconds
        self.is_overridden = False
        self._connection: http.client.HTTPConnection | None = None

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def packet(
        self,
        kind: str,
        name: str,
        fields: Fields = (),
        body: bytes = b"",
        before_second_half: Callable[[], object] | None = None,
    ) -> Answer:
        """Send a packet for the file ``name``. Raises NoAnswer.

        ``before_second_half``: called when half of the body is sent.
        """
        own = [(names.BITS_PACKET_TYPE, kind), (names.CONTENT_LENGTH, str(len(body)))]
        if self.is_overridden:
            own.append(("X-HTTP-Method-Override", "BITS_POST"))
        method = "POST" if self.is_overridden else "BITS_POST"
        path = f"{self.target.path}/{quote(name)}"
        limit = PING_SECONDS if kind == "Ping" else self._answer_seconds
        return self.request(
            method,
            path,
            [*own, *fields],
            body,
            before_second_half,
            seconds=min(limit, self._answer_seconds),
        )

    def request(
        self,
        method: str,
        path: str,
        fields: Fields = (),
        body: bytes = b"",
        before_second_half: Callable[[], object] | None = None,
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """Any request. ``seconds``: to wait for the answer. Raises NoAnswer."""
        is_kept = self._connection is not None
        all_fields = [*self.target.fields, *fields]
        try:
            return self._request(method, path, all_fields, body, before_second_half, seconds)
        except NoAnswer as error:
            is_gone = is_kept and isinstance(error.cause, ConnectionError)
            if not is_gone or before_second_half is not None:
                raise
        # A kept connection may have been closed in between, rightly; then a new one tells.
        return self._request(method, path, all_fields, body, before_second_half, seconds)

    def _request(
        self,
        method: str,
        path: str,
        fields: Fields,
        body: bytes,
        before_second_half: Callable[[], object] | None,
        seconds: float,
    ) -> Answer:
        connection = self._connected()
        connection.sock.settimeout(seconds)
        began = time.monotonic()
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in fields:
                connection.putheader(name, value)
            connection.endheaders()
            self._send(connection, body, before_second_half)
            with connection.getresponse() as response:
                length = sum(len(block) for block in iter(lambda: response.read(BLOCK), b""))
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
                answer = Answer(
                    response.status,
                    response.version,
                    {name.lower(): value for name, value in response.getheaders()},
                    length,
                    time.monotonic() - began,
                )
                will_close = response.will_close
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswer(error, is_connected=True) from error
        if will_close:
            self.close()
        return answer

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        target = self.target
        connection = (
            http.client.HTTPConnection(target.host, target.port, timeout=CONNECT_SECONDS)
            if target.scheme == "http"
            else http.client.HTTPSConnection(
                target.host, target.port, timeout=CONNECT_SECONDS, context=target.trust
            )
        )
        try:
            connection.connect()
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that no DNS knows
            connection.close()
            raise NoAnswer(error, is_connected=False) from error
        self._connection = connection
        return connection

    def _send(
        self,
        connection: http.client.HTTPConnection,
        body: bytes,
        before_second_half: Callable[[], object] | None,
    ) -> None:
        """Who refuses a body may answer before it has come, and cut the rest off."""
        half = len(body) // 2 if before_second_half is not None else 0
        try:
            for start in range(0, half, BLOCK):
                connection.send(memoryview(body)[start : min(start + BLOCK, half)])
            if before_second_half is not None:
                before_second_half()
            for start in range(half, len(body), BLOCK):
                connection.send(memoryview(body)[start : start + BLOCK])
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            pass  # the answer, if there is one, can still be read
