"""The table of errors, compared with the one in the specification's digest."""

from __future__ import annotations

import pytest

from bits_server.protocol import errors
from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import ERROR_TABLE, BitsError

# Name, HTTP status, HRESULT and its name in Microsoft's headers; None: no error header at all.
ROWS: list[tuple[str, int, int | None, str | None]] = [
    ("SessionNotFound", 500, 0x8020001F, "BG_E_SESSION_NOT_FOUND"),
    ("AccessDenied", 403, 0x80070005, "E_ACCESSDENIED"),
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
    assert set(ERROR_TABLE) == family()


@pytest.mark.parametrize(("name", "status", "hresult", "constant"), ROWS, ids=NAMES)
def test_an_error_has_the_status_and_the_hresult_of_its_row(
    name: str, status: int, hresult: int | None, constant: str | None
) -> None:
    kind: type[BitsError] = getattr(errors, name)
    assert kind.status == status
    assert kind.hresult == hresult
    assert (kind.hresult.name if kind.hresult else None) == constant
    assert kind.context == 0x5, "all of these are failures of this server"


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
    assert fields.get("BITS-Error-Context") == (None if hresult is None else "0x5")
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
    assert kind.status not in (401, 407)
