"""From answers, and their absence, to words: what no real server of the live tests does."""

from __future__ import annotations

import socket
import ssl

import pytest

from bits_server.operations.doctor.conversation import Answer, NoAnswer, Target
from bits_server.operations.doctor.findings import Finding, Level, described, no_answer, refused
from bits_server.operations.explanations.of_this_server import REFUSALS
from bits_server.protocol.acks import Ack
from bits_server.protocol.errors import ERROR_TABLE, ApplicationFailed, BitsError

TARGET = Target.of_url("https://files.example.com/upload", ssl.create_default_context())


def _answer(error: BitsError) -> Answer:
    """As this server sends it."""
    fields = Ack.of_error(error, "{X}").header_fields()
    return Answer(error.status, 11, {name.lower(): value for name, value in fields})


def _untrusted(code: int) -> Finding:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "certificate verify failed"
    return no_answer(NoAnswer(error, is_connected=False), TARGET, "Ping")


@pytest.mark.parametrize("row", ERROR_TABLE)
def test_every_refusal_of_ours_is_told_with_its_remedy(row: type[BitsError]) -> None:
    answer = _answer(row("for the log"))
    finding = refused(answer, "Ping")
    assert finding.level is Level.PROBLEM
    assert finding.text.endswith(REFUSALS[row].meaning)
    assert finding.remedy.startswith(REFUSALS[row].remedy)
    assert ("--user NAME" in finding.remedy) is (row.status == 401)
    is_application = issubclass(row, ApplicationFailed)
    assert ("the server application answered" in finding.text) is is_application


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (10, "has expired"),
        (9, "is not valid yet"),
        (62, "is for another name"),
        (64, "is for another address"),
        (18, "is signed by nobody that this machine trusts"),
        (20, "is signed by nobody that this machine trusts"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_told(code: int, said: str) -> None:
    finding = _untrusted(code)
    assert finding.text.startswith("no TLS trust: the certificate of files.example.com:443 ")
    assert said in finding.text
    assert finding.remedy


@pytest.mark.parametrize(
    ("error", "is_connected", "said"),
    [
        (socket.gaierror(-2, "Name or service not known"), False, "does not resolve"),
        (UnicodeError("label too long"), False, "does not resolve"),
        (ConnectionRefusedError(), False, "nobody listens at files.example.com:443"),
        (TimeoutError("timed out"), False, "no connection to files.example.com:443: timed out"),
        (OSError(113, "No route to host"), False, "No route to host"),
        (TimeoutError(), True, "no answer came in time"),
        (ConnectionResetError(), True, "the connection was cut without an answer"),
        (ssl.SSLEOFError(), True, "the connection was cut without an answer"),
    ],
)
def test_no_answer_is_told_by_its_cause(error: Exception, is_connected: bool, said: str) -> None:
    finding = no_answer(NoAnswer(error, is_connected=is_connected), TARGET, "Ping")
    assert finding.level is Level.PROBLEM
    assert said in finding.text
    assert finding.remedy


def test_an_answer_of_nobody_known_is_told_as_such() -> None:
    finding = refused(Answer(599, 11, {"server": "x\x1b[2J"}), "Ping")
    assert finding.text == (
        "Ping: something that is no BITS server (Server: 'x\\x1b[2J') answered 599"
    )
    assert finding.remedy


def test_an_ack_with_a_code_that_is_none_of_ours_is_told() -> None:
    fields = {"bits-packet-type": "Ack", "bits-error-code": "0x80200023"}
    answer = Answer(403, 11, fields)
    assert (
        described(answer) == "the BITS server answered 403 0x80200023 BG_E_SERVER_EXECUTE_ENABLED"
    )
    assert refused(answer, "Ping").remedy == "Look at the server's log."


@pytest.mark.parametrize("text", ["", "nonsense", "0x"])
def test_a_broken_code_is_none(text: str) -> None:
    fields = {"bits-packet-type": "Ack", "bits-error-code": text, "bits-error-context": text}
    answer = Answer(500, 11, fields)
    assert answer.hresult is None
    assert not answer.is_of_application
