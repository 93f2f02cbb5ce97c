"""What the server and the server application say to each other, as values [SDK], [MC-BUP] 3.3."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from bits_server.protocol import headers as names
from bits_server.protocol.errors import ApplicationAnswerMalformed, ApplicationRefused

LONGEST_URL = 2200  # characters, of a notification URL and of a static response URL

_ABSOLUTE_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]+")


@dataclass(frozen=True, slots=True)
class NotificationRequest:
    """What the server application is told of one complete request entity.

    ``original_url``: the destination URL as the client knows it, query string included. ``sha256``:
    of the entity, where it was computed. ``request_path``, ``response_path``: by reference, where
    the request entity is and where the application may leave its reply. ``entity_length``: by
    value, bytes of the body.
    """

    session_id: str
    original_url: str
    request_path: str | None = None
    response_path: str | None = None
    entity_length: int = 0
    sha256: str | None = None

    @property
    def query(self) -> str:
        """The query string of the destination URL, empty where it has none."""
        return self.original_url.partition("?")[2]

    def header_fields(self) -> list[tuple[str, str]]:
        """Names and values; a path is one character a byte of its UTF-8."""
        fields = [
            (names.BITS_ORIGINAL_REQUEST_URL, self.original_url),
            (names.BITS_SESSION_ID, self.session_id),
        ]
        if self.request_path is not None:
            fields.append((names.BITS_REQUEST_DATAFILE_NAME, _as_bytes(self.request_path)))
        if self.response_path is not None:
            fields.append((names.BITS_RESPONSE_DATAFILE_NAME, _as_bytes(self.response_path)))
        if self.sha256 is not None:
            fields.append((names.BITS_ENTITY_SHA256, self.sha256))
        return fields


@dataclass(frozen=True, slots=True)
class NotificationResponse:
    """A success of the server application, and what it wants.

    ``static_response_url``: where the client finds the reply, None where the application names no
    such place; ``copies_to_destination``: Close-Session puts the entity at the destination.
    ``body_length``: bytes of the body that were kept as the reply.
    """

    status: int
    static_response_url: str | None = None
    copies_to_destination: bool = False
    body_length: int = 0

    @classmethod
    def read(cls, status: int, get: Callable[[str], str | None]) -> Self:
        """From the head of an answer; ``get`` looks a header field up by its name.

        Raises ApplicationRefused, ApplicationAnswerMalformed.
        """
        if not 200 <= status <= 299:
            raise ApplicationRefused(f"the server application answered {status}", status)
        static = (get(names.BITS_STATIC_RESPONSE_URL) or "").strip()
        if static and not is_absolute_url(static):
            raise ApplicationAnswerMalformed(
                f"BITS-Static-Response-URL must be an absolute URL of at most {LONGEST_URL} "
                f"characters, not {static[:200]!r}"
            )
        wants_copy = get(names.BITS_COPY_FILE_TO_DESTINATION) is not None
        return cls(status, static or None, wants_copy)


def is_absolute_url(text: str) -> bool:
    """Whether it can be sent to a client as it is."""
    return len(text) <= LONGEST_URL and bool(_ABSOLUTE_URL.fullmatch(text))


def with_query(url: str, query: str) -> str:
    """``url`` with the query string of the destination URL appended [SDK]."""
    if not query:
        return url
    return url + ("&" if "?" in url else "?") + query


def _as_bytes(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("latin-1")
