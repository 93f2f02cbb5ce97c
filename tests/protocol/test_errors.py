"""The table of errors, compared with the one in the specification's digest."""

from __future__ import annotations

import pytest

from bits_server.protocol import errors
from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import (
    ERROR_TABLE,
    ApplicationFailed,
    ApplicationRefused,
    AuthenticationRequired,
    BitsError,
    TooManyFailures,
    UserNotAllowed,
    hresult_name,
)

# Name, HTTP status, HRESULT and its name in Microsoft's headers; None: no error header at all.
ROWS: list[tuple[str, int, int | None, str | None]] = [
    ("SessionNotFound", 500, 0x8020001F, "BG_E_SESSION_NOT_FOUND"),
    ("AccessDenied", 403, 0x80070005, "E_ACCESSDENIED"),
    ("AuthenticationRequired", 401, None, None),
    ("UploadsNotEnabled", 501, 0x80070005, "E_ACCESSDENIED"),
    ("FragmentOutOfOrder", 416, None, None),
    ("MalformedPacket", 400, 0x80070057, "E_INVALIDARG"),
    ("LengthRequired", 411, 0x80070057, "E_INVALIDARG"),
    ("EntityTooLarge", 500, 0x80200020, "BG_E_TOO_LARGE"),
    ("FragmentTooLarge", 413, None, None),
    ("DiskFull", 500, 0x80070070, "ERROR_DISK_FULL"),
    ("PathNotFound", 404, 0x80070003, "ERROR_PATH_NOT_FOUND"),
    ("EntityVanished", 404, 0x80070002, "ERROR_FILE_NOT_FOUND"),
    ("ServiceUnavailable", 503, 0x801901F7, "BG_E_HTTP_ERROR_503"),
    ("UnexpectedFailure", 500, 0x801901F4, "BG_E_HTTP_ERROR_500"),
    ("ApplicationRefused", 500, 0x801901F4, "BG_E_HTTP_ERROR_500"),
    ("ApplicationAnswerMalformed", 400, 0x80070057, "E_INVALIDARG"),
    ("ApplicationBroken", 502, 0x801901F6, "BG_E_HTTP_ERROR_502"),
    ("ApplicationUnreachable", 503, 0x801901F7, "BG_E_HTTP_ERROR_503"),
    ("ApplicationTimedOut", 504, 0x801901F8, "BG_E_HTTP_ERROR_504"),
]
NAMES = [row[0] for row in ROWS]


def family(kind: type[BitsError] = BitsError) -> set[type[BitsError]]:
    """Every class below ``kind`` that the module has."""
    return {
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, kind) and each is not kind
    }


def test_the_table_has_the_rows_of_the_specification_in_its_order() -> None:
    assert [kind.__name__ for kind in ERROR_TABLE] == NAMES


def test_no_error_of_the_family_is_missing_in_the_table() -> None:
    """What is the same to the client as a row is a subclass of that row."""
    rest = family() - {ApplicationFailed} - set(ERROR_TABLE)
    assert rest == {UserNotAllowed, TooManyFailures}
    for kind in rest:
        (row,) = (each for each in ERROR_TABLE if issubclass(kind, each))
        assert (kind.status, kind.hresult, kind.context) == (row.status, row.hresult, row.context)
        assert kind.remedy != row.remedy


@pytest.mark.parametrize(("name", "status", "hresult", "constant"), ROWS, ids=NAMES)
def test_an_error_has_the_status_and_the_hresult_of_its_row(
    name: str, status: int, hresult: int | None, constant: str | None
) -> None:
    kind: type[BitsError] = getattr(errors, name)
    assert kind.status == status
    assert kind.hresult == hresult
    assert (hresult_name(kind.hresult) if kind.hresult else None) == constant
    assert kind.context == (0x7 if name.startswith("Application") else 0x5)


@pytest.mark.parametrize(("name", "status", "hresult", "constant"), ROWS, ids=NAMES)
def test_the_error_headers_are_the_row_printed_or_are_not_there(
    name: str, status: int, hresult: int | None, constant: str | None
) -> None:
    kind: type[BitsError] = getattr(errors, name)
    ack = Ack.of_error(kind("for the log"), None)
    fields = dict(ack.header_fields())
    code = None if hresult is None else "0x" + format(hresult, "08X")
    assert ack.status == status
    assert fields.get("BITS-Error-Code") == code
    assert fields.get("BITS-Error") == code
    context = "0x7" if name.startswith("Application") else "0x5"
    assert fields.get("BITS-Error-Context") == (None if hresult is None else context)
    assert constant is None or constant not in str(fields), "the number is sent, not its name"


def test_the_context_says_whether_this_server_or_the_server_application_failed() -> None:
    assert errors.ErrorContext.BG_ERROR_CONTEXT_REMOTE_FILE.value == 0x5
    assert errors.ErrorContext.BG_ERROR_CONTEXT_REMOTE_APPLICATION.value == 0x7


@pytest.mark.parametrize("kind", ERROR_TABLE)
def test_only_what_passes_by_itself_says_when_to_come_again(kind: type[BitsError]) -> None:
    seconds = kind.retry_after_seconds
    assert (seconds is not None) == (kind.status == 503)
    assert seconds is None or seconds > 0


@pytest.mark.parametrize("kind", ERROR_TABLE)
def test_the_message_is_for_the_log_and_not_in_the_answer(kind: type[BitsError]) -> None:
    error = kind("secret of the log")
    assert str(error) == "secret of the log"
    assert "secret" not in str(Ack.of_error(error, "{id}", 7).header_fields())


@pytest.mark.parametrize("kind", ERROR_TABLE)
def test_a_windows_client_is_not_told_to_go_elsewhere_or_that_all_is_well(
    kind: type[BitsError],
) -> None:
    """A 2xx is success and a 3xx another place; 401 and 407 ask it for a password."""
    assert 400 <= kind.status < 600
    assert (kind.status in (401, 407)) is (kind is AuthenticationRequired)


@pytest.mark.parametrize("status", [300, 302, 304, 400, 402, 403, 404, 408, 409, 500, 503, 599])
def test_the_status_of_the_server_application_reaches_the_client(status: int) -> None:
    error = ApplicationRefused("for the log", status)
    assert (error.application_status, error.status) == (status, status)
    assert error.hresult == 0x80190000 + status
    assert hresult_name(error.hresult) == f"BG_E_HTTP_ERROR_{status}"
    fields = dict(Ack.of_error(error, None, 5).header_fields())
    assert fields["BITS-Error-Code"] == f"0x8019{status:04X}"
    assert fields["BITS-Error-Context"] == "0x7"
    assert fields["BITS-Received-Content-Range"] == "5"


@pytest.mark.parametrize("status", [0, 100, 103, 199, 401, 407, 413, 416, 600, 999])
def test_a_status_that_would_mislead_the_client_is_500_and_known_to_the_log(status: int) -> None:
    error = ApplicationRefused("for the log", status)
    assert (error.application_status, error.status) == (status, 500)
    assert error.hresult == 0x801901F4
