"""The files of TLS that a job names: whether they can be used, before anything is sent.

The rule of this file: what is wrong with a file is told with its name, and is final; the TLS
library would call it a connection that broke, which is tried again for two weeks.
"""

from __future__ import annotations

import ssl

from bits_server.client.errors import ERROR_ACCESS_DENIED, Fatal
from bits_server.client.jobs import ErrorContext, Settings


class _NeedsPassword(Exception):
    pass


def check_tls_files(settings: Settings) -> None:
    """Raises Fatal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.ca_file:
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise _fatal(f"{settings.ca_file} holds no authorities in PEM", error) from None
    if settings.client_certificate:
        own, key = settings.client_certificate, settings.client_key
        names = f"{own} and {key}" if key else own
        try:
            context.load_cert_chain(own, key, password=_refuse)
        except _NeedsPassword:
            raise _fatal(
                f"the key in {key or own} is encrypted: write it without its password, for "
                "instance with openssl pkey"
            ) from None
        except OSError as error:
            raise _fatal(
                f"{names} are no certificate and key in PEM that belong together", error
            ) from None


def _refuse() -> str:
    raise _NeedsPassword


def _fatal(text: str, error: OSError | None = None) -> Fatal:
    reason = "" if error is None else f": {getattr(error, 'reason', None) or error.strerror}"
    said = f"the certificates or keys cannot be used: {text}{reason}"
    return Fatal(ERROR_ACCESS_DENIED, said, context=ErrorContext.LOCAL_FILE)
