"""Negotiate [RFC 4559]: a Kerberos ticket in each request, looked at with a keytab.

The rule of this file: one token in, one token out. Nothing is kept between two requests, so that
it does not matter which connection or process they come through; what needs several tokens, NTLM
above all, is refused. No KDC is asked: a look costs 0.15 ms of processor time and waits for nobody.

The library refuses a token that came before, in a small file that all processes of one user share
(``krb5_UID.rcache2`` in /var/tmp). Its ``raw`` functions are used because they raise errors at
once; ``SecurityContext.step`` hands out a token instead, and raises at the next question.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Mapping
from typing import Any

import gssapi
from gssapi import raw
from gssapi.raw.named_tuples import AcceptSecContextResult

from bits_server.protocol.errors import ServiceUnavailable
from bits_server.web.authentication.interface import CredentialsRefused, Identity
from bits_server.web.authentication.keytab import KeytabEntry, read_keytab

_KERBEROS = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
_SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
_NTLM_MARK = b"NTLMSSP\0"
LONGEST_WORDS = 500
_NOBODY = "WELLKNOWN/"  # what [RFC 8062] calls those who did not want to be known

# What the library says, and what to do about it; the first one that fits.
_REMEDIES = {
    "is a replay": "each request needs a token of its own; if no client sends its request twice, "
    "somebody has captured it: use https",
    "Clock skew": "the clocks of the client and of this server differ by more than five minutes: "
    "set both by NTP",
    "Ticket expired": "the client must log in again (kinit), or one of the clocks is wrong",
    "Ticket not yet valid": "the clock of the client, of this server or of the KDC is wrong",
    "keytab is likely out of date": "the service has a newer key: make the keytab anew",
    "ticket is likely out of date": "the service has another key now: the client must get a new "
    "ticket (klist purge, kinit)",
    "does not match server principal": "the ticket is for another service; the client must ask for "
    "the one of HTTP and the host",
    "not found in keytab": "the client used a host name, or the KDC an SPN, of which the keytab "
    "has no key: add it, or use another name in the URL",
    "cannot decrypt": "the key in the keytab is not the one of the KDC: make the keytab anew",
    "Decrypt integrity": "the token was changed on its way, or the keytab has another key than "
    "the KDC",
    "malformed": "the token was damaged or cut off on its way",
}


class NegotiateScheme:
    """Users of Kerberos who have a ticket for a service in ``keytab``."""

    def __init__(self, keytab: str, *, service: str = "HTTP", realm: str = "") -> None:
        """``service``: the part of its name before the host, which may be any in the keytab.

        ``realm``: its users are known by their names alone, all others as user@REALM. Reads
        nothing yet.
        """
        self._keytab = keytab
        self._service = service
        self._suffix = f"@{realm}"
        self._lock = threading.Lock()
        self._credentials: gssapi.Credentials | None = None

    def read(self) -> None:
        """See whether the keytab can be read and used. Raises OSError, ValueError."""
        entries = read_keytab(self._keytab)
        if not any(entry.principal.startswith(f"{self._service}/") for entry in entries):
            raise ValueError(
                f"has no key of a service {self._service}/host@REALM, and {_listed(entries)}"
            )
        try:
            self._acceptor()
        except raw.GSSError as error:
            raise ValueError(f"cannot be used: {_words_of(error)}") from error

    def challenges(self, environ: Mapping[str, Any]) -> tuple[str, ...]:  # noqa: ARG002
        return ("Negotiate",)

    def is_remembered(self, environ: Mapping[str, Any]) -> bool:
        """Tickets cannot be guessed, and looking at one is quick: nobody is slowed down."""
        return _encoded_token(environ) is not None

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        encoded = _encoded_token(environ)
        if encoded is None:
            return None
        token = _decoded(encoded)
        if token.startswith(_NTLM_MARK):
            raise _ntlm(environ)
        accepted = self._accept(token, environ)
        if accepted.more_steps:
            if _NTLM_MARK in token:
                raise _ntlm(environ)
            raise _refused(
                "the client wants to send several tokens, which would tie it to one connection: "
                "only Kerberos in one token is taken"
            )
        user = self._user(_text_of(accepted.initiator_name))
        # Persistent-Auth [MS-N2HT]: the next request on this connection needs its own token.
        fields = [("Persistent-Auth", "false")]
        if accepted.token:
            answer = base64.b64encode(accepted.token).decode()
            fields.insert(0, ("WWW-Authenticate", f"Negotiate {answer}"))
        return Identity(user, tuple(fields))

    def _accept(self, token: bytes, environ: Mapping[str, Any]) -> AcceptSecContextResult:
        try:
            return raw.accept_sec_context(token, self._acceptor())
        except raw.BadMechanismError as error:
            if _NTLM_MARK in token:
                raise _ntlm(environ) from error
            raise _refused(
                "the client offers no Kerberos: it got no ticket for "
                f"{_service_of(environ)}; see that this SPN exists"
            ) from error
        except raw.InvalidTokenError as error:
            raise _refused("the token of Negotiate is neither SPNEGO nor Kerberos") from error
        except raw.GSSError as error:
            raise self._explained(error) from error

    def _explained(self, error: raw.GSSError) -> Exception:
        """Whether the client or this machine is to blame, and what to change."""
        words = _words_of(error)
        try:
            entries = read_keytab(self._keytab)
        except (OSError, ValueError) as reason:
            return ServiceUnavailable(f"keytab {self._keytab} cannot be used: {reason}")
        if words.endswith("rcache2)"):
            return ServiceUnavailable(
                f"the file against repeated tokens cannot be written ({words}): "
                "KRB5RCACHEDIR names its folder, /var/tmp by default"
            )
        remedy = next((text for said, text in _REMEDIES.items() if said in words), "")
        keys = f"; {_listed(entries)}" if "keytab" in words else ""
        return _refused(f"Kerberos: {words}{': ' + remedy if remedy else ''}{keys}")

    def _acceptor(self) -> gssapi.Credentials:
        """Names the keytab, which the library reads anew for each token."""
        with self._lock:
            if self._credentials is None:
                # The name has the library use the keys of this service alone, of whatever host. The
                # name in a ticket is not encrypted: only the key proves what it is for.
                self._credentials = gssapi.Credentials(
                    name=gssapi.Name(self._service, gssapi.NameType.hostbased_service),
                    usage="accept",
                    store={"keytab": f"FILE:{self._keytab}"},
                    mechs=[_KERBEROS, _SPNEGO],
                )
                # Without this, SPNEGO would take whatever the machine has plugins for.
                raw.set_neg_mechs(self._credentials, [_KERBEROS])
            return self._credentials

    def _user(self, principal: str) -> str:
        if principal.startswith(_NOBODY):
            raise _refused("the client has a ticket of nobody (anonymous Kerberos)")
        if not principal.isprintable():
            raise _refused(f"the name {principal!r} has characters that cannot be printed")
        name = principal.removesuffix(self._suffix)
        # Of several parts, or with an escaped @: only the whole name is unmistakable.
        return principal if set(name) & set("/@\\") else name


def _encoded_token(environ: Mapping[str, Any]) -> str | None:
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    return token.strip() if scheme.lower() == "negotiate" else None


def _decoded(encoded: str) -> bytes:
    try:
        token = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused("the token of Negotiate is not base64") from error
    if not token:
        raise _refused("Negotiate came without a token")
    return token


def _refused(message: str) -> CredentialsRefused:
    """No ticket is a guess: whoever could make one would need the key of the service."""
    return CredentialsRefused(message, is_failure=False)


def _ntlm(environ: Mapping[str, Any]) -> CredentialsRefused:
    return _refused(
        "the client sent NTLM inside Negotiate, which this server does not take: it got no "
        f"Kerberos ticket for {_service_of(environ)}; see that this SPN exists, that the URL has "
        "this name and no address, and that the client reaches its domain"
    )


def _service_of(environ: Mapping[str, Any]) -> str:
    """For which service the client needs a ticket, by the URL that it used."""
    host = environ.get("HTTP_HOST", "")[:255]
    if not host.endswith("]"):
        host = host.rpartition(":")[0] or host
    return repr(f"HTTP/{host or 'host'}")


def _text_of(name: raw.Name | None) -> str:
    if name is None:
        return ""
    shown: bytes = raw.display_name(name).name
    try:
        return shown.decode()
    except UnicodeDecodeError as error:
        raise _refused("the name in the ticket is not UTF-8") from error


def _words_of(error: raw.GSSError) -> str:
    """What the mechanism said; where it said nothing, what the library says in general."""
    words = error.get_all_statuses(error.min_code, False)
    if not error.min_code or words in (["Success"], ["Unknown error"]):
        words = error.get_all_statuses(error.maj_code, True)
    # Some of it may be the client's: it can forge no line, and none that is very long.
    text = "; ".join(words)[:LONGEST_WORDS]
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _listed(entries: list[KeytabEntry]) -> str:
    shown = ", ".join(str(entry) for entry in entries[:20])
    more = f" and {len(entries) - 20} more" if len(entries) > 20 else ""
    return f"the keytab has {shown or 'no key'}{more}"
