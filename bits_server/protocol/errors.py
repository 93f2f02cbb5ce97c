"""The family of errors that a client can be answered with: one class for each row of the table.

Every error knows its answer: HTTP status, HRESULT, context. The message of an instance is for the
administrator's log (what was wrong and, where it helps, what to change); clients never see it.
``ERROR_TABLE`` below lists the family in the order of the specification's digest; who is no row of
it is a subclass of one, and the same to the client.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    BG_E_HTTP_ERROR_502 = 0x801901F6
    BG_E_HTTP_ERROR_503 = 0x801901F7
    BG_E_HTTP_ERROR_504 = 0x801901F8


HTTP_STATUS_HRESULT = 0x80190000  # the HRESULT of an HTTP status is this plus the status


class ErrorContext(IntEnum):
    """Who failed: the value of BITS-Error-Context [MC-BUP] 2.2.3."""

    BG_ERROR_CONTEXT_REMOTE_FILE = 0x5  # this server
    BG_ERROR_CONTEXT_REMOTE_APPLICATION = 0x7  # the server application


class BitsError(Exception):
    """A packet cannot be carried out. Subclasses say why; all are answered with an Ack.

    Attributes: ``status``, the HTTP status; ``hresult``, None where the answer must carry none of
    the three error headers; ``context``; ``retry_after_seconds``, where the answer says it;
    ``remedy``, what the administrator can do, for the log.
    """

    status: int = 500
    hresult: int | None = HResult.BG_E_HTTP_ERROR_500
    context = ErrorContext.BG_ERROR_CONTEXT_REMOTE_FILE
    retry_after_seconds: int | None = None
    remedy: str = ""


class SessionNotFound(BitsError):
    """Unknown, removed, of another user, or of another destination; the client starts again."""

    remedy = (
        "The client begins anew by itself; if it happens often, see whether "
        "something removes BITS-Sessions, or raise session_timeout."
    )
    status = 500
    hresult = HResult.BG_E_SESSION_NOT_FOUND


class AccessDenied(BitsError):
    """The destination exists and may not be overwritten, or the user may not upload here."""

    remedy = "Remove the file, or turn allow_overwrites on; then the job can be resumed."
    status = 403
    hresult = HResult.E_ACCESSDENIED


class AuthenticationRequired(BitsError):
    """No credentials came, or wrong ones [RFC 9110] 15.5.2; the client comes again with others.

    ``challenges``: values of WWW-Authenticate, in the order in which they are offered. ``user``:
    whose the credentials claim to be. ``is_first``: none came, as with the first packet of each
    client.
    """

    remedy = "See user name and password, or the ticket; the first packet of a client has none."
    status = 401
    hresult = None  # the client is to come again, and an error header would be a failure

    def __init__(
        self,
        message: str,
        challenges: Sequence[str] = (),
        *,
        user: str = "",
        is_first: bool = False,
    ) -> None:
        super().__init__(message)
        self.challenges = tuple(challenges)
        self.user = user
        self.is_first = is_first


class UserNotAllowed(AccessDenied):
    """The user is known and may not upload here, or cannot be known on this connection."""

    remedy = "Name the user, or a group, in allow; see authentication."


class UploadsNotEnabled(BitsError):
    """The virtual directory is there, uploads to it are off."""

    remedy = "Set upload_enabled to true."
    status = 501
    hresult = HResult.E_ACCESSDENIED


class FragmentOutOfOrder(BitsError):
    """A Fragment that starts after the next expected byte [MC-BUP] 3.2.5.2.6."""

    remedy = "Nothing to do: the client is told where to go on."
    status = 416
    hresult = None  # the mere presence of an error header is a failure to some clients


class MalformedPacket(BitsError):
    """Something that the client sent is not as the protocol has it."""

    remedy = "See what the client, or a proxy between, sends."
    status = 400
    hresult = HResult.E_INVALIDARG


class LengthRequired(BitsError):
    """A Fragment with neither a Content-Length nor a chunked body [MC-BUP] 3.2.5.2.3."""

    remedy = "Let the client, or a proxy between, send Content-Length."
    status = 411
    hresult = HResult.E_INVALIDARG


class EntityTooLarge(BitsError):
    """The file is, or says that it will be, larger than allowed; the client tells its user."""

    remedy = "Raise maximum_upload_size, or send a smaller file."
    status = 500
    hresult = HResult.BG_E_TOO_LARGE


class FragmentTooLarge(BitsError):
    """One request is too large; a Windows client then sends less at a time [MC-BUP] 3.1.5.2.4."""

    remedy = (
        "Nothing to do for a Windows client, which sends less then; else raise "
        "maximum_fragment_size."
    )
    status = 413
    hresult = None


class DiskFull(BitsError):
    """No space, or no quota, left where the request entity is kept."""

    remedy = "Make room, or raise the quota; uploads go on by themselves then."
    status = 500
    hresult = HResult.ERROR_DISK_FULL


class PathNotFound(BitsError):
    """No virtual directory at this URL, or no parent folder for the destination."""

    remedy = "See whether the URL is right; make the folder, or turn create_folders on."
    status = 404
    hresult = HResult.ERROR_PATH_NOT_FOUND


class EntityVanished(BitsError):
    """The request entity is gone before Close-Session, and still needed."""

    remedy = "See who removes files from BITS-Sessions; the client must send the file again."
    status = 404
    hresult = HResult.ERROR_FILE_NOT_FOUND


class ServiceUnavailable(BitsError):
    """A limit that passes by itself; the client comes again."""

    remedy = "The client comes again; if it recurs, raise the limit named here, or see the network."
    status = 503
    hresult = HResult.BG_E_HTTP_ERROR_503
    retry_after_seconds = 60


class TooManyFailures(ServiceUnavailable):
    """Wrong credentials came from this address again and again; for a while none are looked at."""

    remedy = "See who guesses passwords there, or which program has an old one."

    def __init__(self, message: str, retry_after_seconds: int = 60) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnexpectedFailure(BitsError):
    """A defect, or a failure of the machine that has no row of its own."""

    remedy = "See the traceback; the client comes again."


class ApplicationFailed(BitsError):
    """The server application did not do its part; the session stays, to be tried again.

    ``application_status``: the HTTP status of its answer, None where there was none.
    """

    context = ErrorContext.BG_ERROR_CONTEXT_REMOTE_APPLICATION
    application_status: int | None = None


class ApplicationRefused(ApplicationFailed):
    """The server application answered with a status that is no success [SDK].

    The client gets that status, unless it would mean something else to it: a 401 would make it look
    for a password, a 413 send smaller fragments, and a 416 is success to it.
    """

    remedy = "See the log of the server application."

    def __init__(self, message: str, application_status: int = 500) -> None:
        super().__init__(message)
        self.application_status = application_status
        is_told = 300 <= application_status <= 599 and application_status not in _NEVER_TOLD
        self.status = application_status if is_told else 500
        self.hresult = HTTP_STATUS_HRESULT + self.status


_NEVER_TOLD = frozenset({401, 407, 413, 416})


class ApplicationAnswerMalformed(ApplicationFailed):
    """The answer has a BITS-Static-Response-URL that no client could use."""

    remedy = "Mend the answer of the server application."
    status = 400
    hresult = HResult.E_INVALIDARG


class ApplicationBroken(ApplicationFailed):
    """The answer is no HTTP, ended too early, or is larger than allowed."""

    remedy = "See the log of the server application."
    status = 502
    hresult = HResult.BG_E_HTTP_ERROR_502


class ApplicationUnreachable(ApplicationFailed):
    """No connection to the server application."""

    remedy = "Start the server application, or mend notification_url."
    status = 503
    hresult = HResult.BG_E_HTTP_ERROR_503
    retry_after_seconds = 60


class ApplicationTimedOut(ApplicationFailed):
    """No whole answer within ``notification_timeout``."""

    remedy = "See why the server application is slow, or raise notification_timeout."
    status = 504
    hresult = HResult.BG_E_HTTP_ERROR_504


ERROR_TABLE: tuple[type[BitsError], ...] = (
    SessionNotFound,
    AccessDenied,
    AuthenticationRequired,
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
    ApplicationRefused,
    ApplicationAnswerMalformed,
    ApplicationBroken,
    ApplicationUnreachable,
    ApplicationTimedOut,
)


def hresult_name(hresult: int) -> str:
    """The name in Microsoft's headers."""
    try:
        return HResult(hresult).name
    except ValueError:
        return f"BG_E_HTTP_ERROR_{hresult - HTTP_STATUS_HRESULT}"
