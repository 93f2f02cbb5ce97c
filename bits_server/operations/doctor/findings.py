"""What was found, in words with the remedy: from answers, and from their absence.

The rule of this file: no step of the examination is known here.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from enum import Enum

from bits_server.operations.doctor.conversation import Answer, NoAnswer, Target
from bits_server.operations.explanations import STATUSES, meaning_of_answer, name_of
from bits_server.protocol.errors import HResult

PING = "Ping"
_LOGIN = " Here: --user NAME, or --header 'Authorization: ...'."


class Level(Enum):
    """How bad it is."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line, and what to change."""

    level: Level
    text: str
    remedy: str = ""


def ok(text: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, text)


def note(text: str, remedy: str = "") -> Finding:
    """Worth to know, and not wrong."""
    return Finding(Level.NOTE, text, remedy)


def problem(text: str, remedy: str = "") -> Finding:
    """Uploads fail, or will be slow."""
    return Finding(Level.PROBLEM, text, remedy)


_ANOTHER_NAME = "Use the name that is in the certificate, or a certificate for this one."
_CERTIFICATES = {  # X509_V_ERR_* of OpenSSL
    9: ("is not valid yet", "Look at the clocks."),
    10: ("has expired", "Renew it."),
    62: ("is for another name", _ANOTHER_NAME),
    64: ("is for another address", _ANOTHER_NAME),
}
_GIVE_TRUST = (
    "Give the server the whole chain of its certificate; name your own authority with --ca-file, "
    "and put it into the machine's store on the Windows clients. --insecure looks past it."
)
_UNTRUSTED = ("is signed by nobody that this machine trusts", _GIVE_TRUST)


def no_answer(error: NoAnswer, target: Target, what: str) -> Finding:
    """``what``: that which had been sent, for people."""
    cause = error.cause
    if isinstance(cause, ssl.SSLCertVerificationError):
        is_wrong, remedy = _CERTIFICATES.get(cause.verify_code, _UNTRUSTED)
        return problem(
            f"no TLS trust: the certificate of {target.place} {is_wrong} ({cause.verify_message})",
            remedy,
        )
    if isinstance(cause, ssl.SSLError) and not error.is_connected:
        return problem(
            f"{target.place} answers, but no TLS can be agreed on ({cause.reason or cause})",
            "Look whether this port is for https, and at ssl_protocols of nginx.",
        )
    if isinstance(cause, socket.gaierror | UnicodeError):
        return problem(
            f"the name {target.host} does not resolve: {cause}",
            "Correct the name, or the DNS; clients must be able to resolve it too.",
        )
    if isinstance(cause, ConnectionRefusedError):
        return problem(
            f"nobody listens at {target.place}: connection refused",
            "Start the server, or correct the port; a server that listens on 127.0.0.1 only is "
            "not reached from elsewhere (bind).",
        )
    if not error.is_connected:
        return problem(
            f"no connection to {target.place}: {error}",
            "Look for a firewall between, and at the address that the name has.",
        )
    if isinstance(cause, TimeoutError):
        return problem(
            f"{what}: no answer came in time",
            "Look at the log of the server: whether the packet arrived says on which side to look.",
        )
    if isinstance(cause, ConnectionError | ssl.SSLError):
        return problem(
            f"{what}: the connection was cut without an answer ({error})",
            "Something in front, a firewall or a proxy, cuts it; look at its log. Where the "
            "server itself does, its log says why.",
        )
    is_no_http = isinstance(cause, http.client.BadStatusLine | http.client.LineTooLong)
    is_wrong = "is no HTTP" if is_no_http else f"is broken ({cause!r})"
    return problem(
        f"{what}: the answer of {target.place} {is_wrong}",
        "Look at scheme, host and port: another service may listen there.",
    )


def refused(answer: Answer, what: str) -> Finding:
    """An answer that is no success."""
    said = f"{what}: {described(answer)}"
    if answer.is_ack:
        if answer.hresult == HResult.ERROR_PATH_NOT_FOUND and what != PING:
            return problem(
                f"{said}. The folder of the destination does not exist",
                "Make it, or set create_folders = true.",
            )
        meaning = meaning_of_answer(
            answer.status, answer.hresult, is_application=answer.is_of_application
        )
        if meaning is None:
            return problem(said, "Look at the server's log.")
        remedy = meaning.remedy + (_LOGIN if answer.status == 401 else "")
        return problem(f"{said}. {meaning.meaning}", remedy)
    if 200 <= answer.status <= 299:
        return problem(
            f"{said}. What answers is no BITS server: its answer is no Ack",
            "Look at host, port and path of the URL; see that the proxy passes it to bits-server, "
            "and lets header fields BITS-* pass in both directions.",
        )
    target = answer.get("Location")
    leads = f", to {target!r}" if target and 300 <= answer.status <= 399 else ""
    found = STATUSES.get(answer.status)
    if found is None:
        return problem(
            said + leads, "It is not bits-server that says so: look at what is in front."
        )
    remedy = found.remedy + (_LOGIN if answer.status == 401 else "")
    return problem(f"{said}{leads}. {found.meaning}", remedy)


def described(answer: Answer) -> str:
    """Who answered what."""
    if answer.is_ack:
        hresult = answer.hresult
        code = "" if hresult is None else f" 0x{hresult:08X} {name_of(hresult)}".rstrip()
        who = "the server application" if answer.is_of_application else "the BITS server"
        return f"{who} answered {answer.status}{code}"
    server = answer.get("Server")
    named = f" (Server: {server!a})" if server else ""
    return f"something that is no BITS server{named} answered {answer.status}"
