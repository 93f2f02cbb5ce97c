"""The certificate and key with which the embedded server speaks TLS.

The rule of this file: what cannot work is refused at the start, with the key of the settings to
change; what will soon cease to work is said as a warning.
"""

from __future__ import annotations

import logging
import ssl
import time

from bits_server.settings import Settings, SettingsError

SOON_SECONDS = 14 * 86_400

_log = logging.getLogger("bits_server")

_EXPIRED, _NOT_YET = 10, 9  # X509_V_ERR_* of OpenSSL


def make_tls_context(settings: Settings) -> ssl.SSLContext | None:
    """For the server's side of TLS 1.2 and 1.3; None where the settings name no certificate.

    Raises SettingsError where a file cannot be used.
    """
    if not settings.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for key in ("tls_certificate", "tls_key"):
        _refuse_unreadable(key, getattr(settings, key))
    try:
        context.load_cert_chain(
            settings.tls_certificate, settings.tls_key or None, password=_ask_nobody
        )
    except (ssl.SSLError, ValueError) as error:
        raise _refusal("tls_certificate", _explained(error)) from error
    return context


def warn_of_expiry(settings: Settings, context: ssl.SSLContext) -> None:
    """Log where clients do not trust the certificate because of its dates, or soon will not."""
    file = settings.tls_certificate
    try:
        seconds = _seconds_left(file, context)
    except ssl.SSLCertVerificationError as error:
        words = {_EXPIRED: "has expired", _NOT_YET: "is not valid yet"}
        if error.verify_code in words:
            _log.warning("%s %s: clients will not trust it", file, words[error.verify_code])
        return
    except (ssl.SSLError, OSError, ValueError):
        return  # of a kind that cannot be looked at so; clients may still like it
    if seconds < SOON_SECONDS:
        _log.warning("%s expires in %d days; renew it, then send SIGHUP", file, seconds // 86_400)


def _refuse_unreadable(key: str, file: str) -> None:
    if not file:
        return
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        raise _refusal(key, f"{file} cannot be read: {error.strerror}") from error


def _explained(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if reason == "KEY_VALUES_MISMATCH":
        return "is not the certificate of tls_key: name two files that belong together"
    if isinstance(error, ValueError):
        return str(error)
    return (
        "must be a file in PEM form with the certificate and those that lead to the authority, and "
        f"tls_key one with its private key, unless that is in the same file ({reason or error})"
    )


def _ask_nobody() -> str:
    raise ValueError("the private key has a password, which nobody could type: remove it")


def _seconds_left(file: str, context: ssl.SSLContext) -> float:
    """Until the certificate expires, as a client that trusts it by itself sees it."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.load_verify_locations(file)
    trusting.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    certificate = client.getpeercert()
    assert certificate is not None
    return ssl.cert_time_to_seconds(str(certificate["notAfter"])) - time.time()


def _refusal(key: str, problem: str) -> SettingsError:
    return SettingsError(key, problem, table="[server]")
