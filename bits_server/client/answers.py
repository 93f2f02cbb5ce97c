"""From an HTTP answer to what it means for the transfer [MC-BUP] 3.1.5.2.1.

The rule of this file: a packet's answer is a success, a value to go on with, or an exception.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from bits_server.client.errors import (
    BG_E_INVALID_SERVER_RESPONSE,
    Fatal,
    FragmentTooLarge,
    SessionLost,
    TransferFailed,
    Transient,
    is_transient_status,
    name_of,
)
from bits_server.client.jobs import ErrorContext
from bits_server.protocol.errors import HResult

RECEIVED = "BITS-Received-Content-Range"
_HTTP_ERROR = 0x80190000
_REMEDIES = {
    HResult.E_ACCESSDENIED: "the file exists there already, or this user may not upload here",
    HResult.E_INVALIDARG: "the server takes this URL or file name for none",
    HResult.BG_E_TOO_LARGE: "the file is larger than the server allows",
    HResult.ERROR_DISK_FULL: "the disk of the server is full",
    HResult.ERROR_PATH_NOT_FOUND: "the server has no such virtual directory, or no such folder",
    HResult.ERROR_FILE_NOT_FOUND: "what was uploaded has vanished from the server",
}
_REMEDIES_BY_STATUS = {
    401: "the server wants a user and password, or a ticket, that it was not given",
    404: "the server knows no such URL",
    405: "this is no BITS server: it does not know BITS_POST",
    407: "the proxy wants a user and password that it was not given",
    501: "uploads are not enabled at this URL",
    503: "the server is busy, or shutting down",
}


@dataclass(frozen=True)
class Answer:
    """``headers`` regardless of case, as requests has them."""

    status: int
    headers: Mapping[str, str]

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def hresult(self) -> int | None:
        """The error that the server named, if it did, by either name of the field."""
        for name in ("BITS-Error-Code", "BITS-Error"):
            text = self.headers.get(name, "").strip()
            if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text):
                return int(text, 16)
        return None

    @property
    def received(self) -> int | None:
        """The next byte that the server expects, if it said so."""
        text = self.headers.get(RECEIVED, "").strip()
        return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def refuse_failure(answer: Answer) -> None:
    """Raise what an answer means that is no success."""
    if answer.is_success:
        return
    if answer.status == 413:
        raise FragmentTooLarge
    if answer.hresult == HResult.BG_E_SESSION_NOT_FOUND:
        raise SessionLost
    raise failure_of(answer)


def failure_of(answer: Answer) -> TransferFailed:
    """The error of an answer that is no success."""
    hresult = answer.hresult or _HTTP_ERROR + answer.status
    is_fatal = not is_transient_status(answer.status) or hresult == HResult.BG_E_TOO_LARGE
    kind = Fatal if is_fatal else Transient
    remedy = _REMEDIES_BY_STATUS.get(answer.status) if answer.hresult is None else None
    for known, text in _REMEDIES.items():
        if answer.status != 501 and hresult == known:
            remedy = text
    said = f"the server answered with status {answer.status}, {name_of(hresult)}"
    return kind(
        hresult,
        f"{said}: {remedy or _REMEDIES_BY_STATUS.get(answer.status, 'see its log')}",
        context=_context_of(answer),
        http_status=answer.status,
    )


def received_of(answer: Answer, total: int) -> int:
    """The next expected byte in the Ack of a Fragment. Raises Transient where there is none."""
    received = answer.received
    if received is None or received > total:
        raise Transient(
            BG_E_INVALID_SERVER_RESPONSE,
            f"the Ack of a Fragment has no {RECEIVED} of {total} at most: "
            "this is no BITS server, or a proxy takes the field away",
            context=ErrorContext.REMOTE_FILE,
            http_status=answer.status,
        )
    return received


def _context_of(answer: Answer) -> ErrorContext:
    text = answer.headers.get("BITS-Error-Context", "").strip()
    if re.fullmatch(r"0[xX]0*7", text):
        return ErrorContext.REMOTE_APPLICATION
    return ErrorContext.REMOTE_FILE
