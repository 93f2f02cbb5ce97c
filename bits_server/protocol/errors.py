"""The family of errors that a client can be answered with: one class for each row of the table.

Every error knows its answer: HTTP status, HRESULT, context. The message of an instance is for the
administrator's log (what was wrong and, where it helps, what to change); clients never see it.
``ERROR_TABLE`` below lists the family in the order of the specification's digest.
"""

from __future__ import annotations

from enum import IntEnum


class HResult(IntEnum):
    """HRESULTs in Microsoft's spelling."""

    E_INVALIDARG = 0x80070057
    E_ACCESSDENIED = 0x80070005
    ERROR_FILE_NOT_FOUND = 0x80070002
    ERROR_PATH_NOT_FOUND = 0x80070003
    ERROR_DISK_FULL = 0x80070070  # 112; the 0x80070112 in one table of [MC-BUP] is a misprint
    BG_E_SESSION_NOT_FOUND = 0x8020001F
    BG_E_TOO_LARGE = 0x80200020
    BG_E_HTTP_ERROR_500 = 0x801901F4
    BG_E_HTTP_ERROR_503 = 0x801901F7


class ErrorContext(IntEnum):
    """Who failed: the value of BITS-Error-Context [MC-BUP] 2.2.3."""

    BG_ERROR_CONTEXT_REMOTE_FILE = 0x5  # this server
    BG_ERROR_CONTEXT_REMOTE_APPLICATION = 0x7  # the server application


class BitsError(Exception):
    """A packet cannot be carried out. Subclasses say why; all are answered with an Ack.

    Attributes: ``status``, the HTTP status; ``hresult``, None where the answer must carry none of
    the three error headers; ``context``; ``retry_after_seconds``, where the answer says it.
    """

    status: int = 500
    hresult: HResult | None = HResult.BG_E_HTTP_ERROR_500
    context = ErrorContext.BG_ERROR_CONTEXT_REMOTE_FILE
    retry_after_seconds: int | None = None


class SessionNotFound(BitsError):
    """Unknown, removed, of another user, or of another destination; the client starts again."""

    status = 500
    hresult = HResult.BG_E_SESSION_NOT_FOUND


class AccessDenied(BitsError):
    """The destination exists and may not be overwritten, or the user may not upload here."""

    status = 403
    hresult = HResult.E_ACCESSDENIED


class UploadsNotEnabled(BitsError):
    """The virtual directory is there, uploads to it are off."""

    status = 501
    hresult = HResult.E_ACCESSDENIED


class FragmentOutOfOrder(BitsError):
    """A Fragment that starts after the next expected byte [MC-BUP] 3.2.5.2.6."""

    status = 416
    hresult = None  # the mere presence of an error header is a failure to some clients


class MalformedPacket(BitsError):
    """Something that the client sent is not as the protocol has it."""

    status = 400
    hresult = HResult.E_INVALIDARG


class LengthRequired(BitsError):
    """A Fragment with neither a Content-Length nor a chunked body [MC-BUP] 3.2.5.2.3."""

    status = 411
    hresult = HResult.E_INVALIDARG


class EntityTooLarge(BitsError):
    """The file is, or says that it will be, larger than allowed; the client tells its user."""

    status = 500
    hresult = HResult.BG_E_TOO_LARGE


class FragmentTooLarge(BitsError):
    """One request is too large; a Windows client then sends less at a time [MC-BUP] 3.1.5.2.4."""

    status = 413
    hresult = None


class DiskFull(BitsError):
    """No space, or no quota, left where the request entity is kept."""

    status = 500
    hresult = HResult.ERROR_DISK_FULL


class PathNotFound(BitsError):
    """No virtual directory at this URL, or no parent folder for the destination."""

    status = 404
    hresult = HResult.ERROR_PATH_NOT_FOUND


class EntityVanished(BitsError):
    """The request entity is gone before Close-Session, and still needed."""

    status = 404
    hresult = HResult.ERROR_FILE_NOT_FOUND


class ServiceUnavailable(BitsError):
    """A limit that passes by itself; the client comes again."""

    status = 503
    hresult = HResult.BG_E_HTTP_ERROR_503
    retry_after_seconds = 60


class UnexpectedFailure(BitsError):
    """A defect, or a failure of the machine that has no row of its own."""


ERROR_TABLE: tuple[type[BitsError], ...] = (
    SessionNotFound,
    AccessDenied,
    UploadsNotEnabled,
    FragmentOutOfOrder,
    MalformedPacket,
    LengthRequired,
    EntityTooLarge,
    FragmentTooLarge,
    DiskFull,
    PathNotFound,
    EntityVanished,
    ServiceUnavailable,
    UnexpectedFailure,
)
