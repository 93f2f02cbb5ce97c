"""Basic [RFC 7617]: user and password, against a file that ``htpasswd`` of Apache writes.

The rule of this file: a password is looked at once in a minute, since a good hash is slow, and not
once for each packet; what is remembered is a keyed hash of it. Nothing here is ever logged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from passlib.context import CryptContext

from bits_server.protocol.errors import ServiceUnavailable
from bits_server.web.authentication.interface import CredentialsRefused, Identity
from bits_server.web.authentication.watched_file import WatchedFile

REALM = "BITS uploads"
REMEMBERED_SECONDS = 60
MAXIMUM_REMEMBERED = 10_000
BCRYPT_BYTES = 72  # bcrypt knows no more of a password, and htpasswd hashes no more of it

_HASHES = CryptContext(schemes=["bcrypt", "sha512_crypt", "sha256_crypt"])
_STRIPES = 64


def parse_htpasswd(text: str) -> dict[str, str]:
    """Hashes by user. Raises ValueError, which names the line, for what is no safe hash."""
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, stored = line.partition(":")
        stored = stored.partition(":")[0].strip()
        if not colon or not user:
            raise ValueError(f"line {number} is not like user:hash")
        if not _is_usable(stored):
            raise ValueError(
                f"line {number}, user {user!r}: no hash of bcrypt, SHA-256 or SHA-512 crypt, the "
                f"ones that are still safe; write it anew: htpasswd -B FILE {user}"
            )
        users.setdefault(user, stored)  # as Apache: the first line counts
    return users


class BasicScheme:
    """Users of ``htpasswd_file``."""

    def __init__(
        self,
        htpasswd_file: str,
        *,
        without_tls: bool = False,
        verify: Callable[[str, bytes], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``without_tls``: also where everybody on the way can read the password.

        ``verify``: from the stored hash and a password to whether it is right. Reads nothing yet.
        """
        self._file = WatchedFile(htpasswd_file, parse_htpasswd)
        self._without_tls = without_tls
        self._verify = verify or _is_right
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()
        # Packets that come side by side wait for the first of them, and are then remembered.
        self._turns = [threading.Lock() for _ in range(_STRIPES)]

    def read(self) -> None:
        """See whether the file can be read and used. Raises OSError, ValueError."""
        self._file.content()

    def challenges(self, environ: Mapping[str, Any]) -> tuple[str, ...]:
        return (f'Basic realm="{REALM}", charset="UTF-8"',) if self._is_safe(environ) else ()

    def is_remembered(self, environ: Mapping[str, Any]) -> bool:
        try:
            credentials = _credentials(environ)
            stored = self._users().get(credentials[0]) if credentials else None
        except (CredentialsRefused, ServiceUnavailable):
            return False
        if credentials is None or stored is None:
            return False
        return self._is_known(self._digest(*credentials, stored))

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        credentials = _credentials(environ)
        if credentials is None:
            return None
        user, password = credentials
        if not self._is_safe(environ):
            raise CredentialsRefused(
                "a password came over a connection without TLS, where everybody on the way can "
                "read it: use https, or set basic_without_tls = true",
                user,
                is_failure=False,
            )
        users = self._users()
        stored = users.get(user)
        if stored is None:
            # The same work as for a known user: the time of the answer does not tell names.
            self._verify(next(iter(users.values()), _HASH_OF_NOBODY), password)
            raise CredentialsRefused(f"there is no user {user!r} in htpasswd_file", user)
        digest = self._digest(user, password, stored)
        with self._turns[digest[0] % _STRIPES]:
            if not self._is_known(digest):
                if not self._verify(stored, password):
                    raise CredentialsRefused(f"wrong password for the user {user!r}", user)
                self._remember(digest)
        return Identity(user)

    def _is_safe(self, environ: Mapping[str, Any]) -> bool:
        return self._without_tls or environ.get("wsgi.url_scheme") == "https"

    def _users(self) -> dict[str, str]:
        try:
            return self._file.content()
        except (OSError, ValueError) as error:
            raise ServiceUnavailable(
                f"htpasswd_file {self._file.path} cannot be used: {error}"
            ) from error

    def _digest(self, user: str, password: bytes, stored: str) -> bytes:
        """With the stored hash in it: a changed password is forgotten at once."""
        parts = (user.encode(errors="surrogateescape"), password, stored.encode())
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, hashlib.sha256)

    def _is_known(self, digest: bytes) -> bool:
        until = self._remembered.get(digest)
        return until is not None and until > self._clock()

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            self._remembered.pop(digest, None)
            self._remembered[digest] = self._clock() + REMEMBERED_SECONDS
            if len(self._remembered) > MAXIMUM_REMEMBERED:
                self._remembered.popitem(last=False)


def _credentials(environ: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """User and password; None where none came. Raises CredentialsRefused for what is malformed."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CredentialsRefused("the credentials of Basic are not base64") from error
    try:
        text = decoded.decode()
    except UnicodeDecodeError:
        text = decoded.decode("latin-1")  # what older clients send
    user, colon, password = text.partition(":")
    if not colon:
        raise CredentialsRefused("the credentials of Basic are not like user:password")
    return user, password.encode()


def _is_usable(stored: str) -> bool:
    scheme = _HASHES.identify(stored)
    if scheme is None:
        return False
    try:
        return bool(_HASHES.handler(scheme).from_string(stored).checksum)
    except ValueError:
        return False


def _is_right(stored: str, password: bytes) -> bool:
    if stored.startswith("$2"):
        password = password[:BCRYPT_BYTES]
    try:
        return bool(_HASHES.verify(password, stored))
    except ValueError:  # characters that no hash takes
        return False


_HASH_OF_NOBODY = "$5$rounds=5000$nobodynobody$" + "." * 43
