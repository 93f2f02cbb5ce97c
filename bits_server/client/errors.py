"""What can go wrong with a transfer, and which of it passes by itself.

The rule of this file: each error knows its HRESULT, its context and a sentence that says what to
do. Transient and fatal are told apart as Windows does [SDK "Handling server application errors"].
"""

from __future__ import annotations

from bits_server.client.jobs import ErrorContext, JobError
from bits_server.protocol.errors import hresult_name

BG_E_INVALID_STATE = 0x80200002
BG_E_INSUFFICIENT_RANGE_SUPPORT = 0x80200013
BG_E_INVALID_SERVER_RESPONSE = 0x8020001B
BG_E_LOCAL_FILE_CHANGED = 0x8020001D
BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH = 0x80200022
BG_E_NO_PROGRESS = 0x80200024
BG_E_INVALID_AUTH_SCHEME = 0x80200028
ERROR_FILE_NOT_FOUND = 0x80070002
ERROR_ACCESS_DENIED = 0x80070005
ERROR_READ_FAULT = 0x8007001E
ERROR_WRITE_FAULT = 0x8007001D
WINHTTP_TIMEOUT = 0x80072EE2
WINHTTP_UNRECOGNIZED_SCHEME = 0x80072EE6
WINHTTP_NAME_NOT_RESOLVED = 0x80072EE7
WINHTTP_CANNOT_CONNECT = 0x80072EFD
WINHTTP_CONNECTION_ERROR = 0x80072EFE
WINHTTP_SECURE_FAILURE = 0x80072F8F

_NAMES = {
    BG_E_INVALID_STATE: "BG_E_INVALID_STATE",
    BG_E_INSUFFICIENT_RANGE_SUPPORT: "BG_E_INSUFFICIENT_RANGE_SUPPORT",
    BG_E_INVALID_SERVER_RESPONSE: "BG_E_INVALID_SERVER_RESPONSE",
    BG_E_LOCAL_FILE_CHANGED: "BG_E_LOCAL_FILE_CHANGED",
    BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH: "BG_E_CLIENT_SERVER_PROTOCOL_MISMATCH",
    BG_E_NO_PROGRESS: "BG_E_NO_PROGRESS",
    BG_E_INVALID_AUTH_SCHEME: "BG_E_INVALID_AUTH_SCHEME",
    ERROR_READ_FAULT: "ERROR_READ_FAULT",
    ERROR_WRITE_FAULT: "ERROR_WRITE_FAULT",
    WINHTTP_TIMEOUT: "ERROR_WINHTTP_TIMEOUT",
    WINHTTP_UNRECOGNIZED_SCHEME: "ERROR_WINHTTP_UNRECOGNIZED_SCHEME",
    WINHTTP_NAME_NOT_RESOLVED: "ERROR_WINHTTP_NAME_NOT_RESOLVED",
    WINHTTP_CANNOT_CONNECT: "ERROR_WINHTTP_CANNOT_CONNECT",
    WINHTTP_CONNECTION_ERROR: "ERROR_WINHTTP_CONNECTION_ERROR",
    WINHTTP_SECURE_FAILURE: "ERROR_WINHTTP_SECURE_FAILURE",
}


def name_of(hresult: int) -> str:
    """Microsoft's name of an HRESULT, or what stands for one."""
    return _NAMES.get(hresult) or hresult_name(hresult)


class TransferFailed(Exception):
    """The attempt is over. ``error`` says why."""

    is_transient = False

    def __init__(
        self,
        hresult: int,
        text: str,
        *,
        context: ErrorContext = ErrorContext.GENERAL_TRANSPORT,
        http_status: int | None = None,
    ) -> None:
        super().__init__(text)
        self.error = JobError(hresult, context, text, http_status)


class Fatal(TransferFailed):
    """Somebody has to do something: the job waits in ERROR."""


class Transient(TransferFailed):
    """It passes by itself: tried again after the retry delay."""

    is_transient = True


class ConnectionBroken(Transient):
    """No whole answer came: nobody knows what the server did."""


class SessionLost(Exception):
    """The server does not know the session: begin anew with Create-Session."""


class FragmentTooLarge(Exception):
    """413: smaller Fragments may pass."""


class Stopped(Exception):
    """Somebody wants the transfer to stop for now."""


def is_transient_status(status: int) -> bool:
    """How a Windows client takes an HTTP status that is no success."""
    if 300 <= status < 400:
        return status > 305 and status != 307
    if 400 <= status < 500:
        return status in (408, 409)
    return status not in (501, 505)
