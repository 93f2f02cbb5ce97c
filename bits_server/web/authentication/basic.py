"""Basic [RFC 7617]: user and password, against a file that ``htpasswd`` of Apache writes.

The rule of this file: a password is looked at once in a minute, since a good hash is slow, and not
once for each packet; what is remembered is a keyed hash of it, and for a while only. No password is
ever logged.
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
# Who was right so long ago is looked at even where others guess at the same address: an upload that
# is under way goes on, and one that waits for its next attempt, which Windows makes in 10 minutes.
TRUSTED_SECONDS = 1200
MAXIMUM_REMEMBERED = 10_000
LONGEST_NAME = 255  # characters of those that are logged, though there is no such user
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


class Users:
    """The hashes of a file, by user; and one for whoever is not in it."""

    def __init__(self, text: str) -> None:
        """``text``: of the file. Raises ValueError as ``parse_htpasswd``."""
        self._hashes = parse_htpasswd(text)
        self._all = sorted(self._hashes.values()) or [_HASH_OF_NOBODY]
        self._key = hashlib.sha256("".join(self._all).encode()).digest()

    def hash_of(self, user: str) -> str | None:
        return self._hashes.get(user)

    def hash_for_stranger(self, user: str) -> str:
        """That of somebody, of always the same one for a name.

        Hashes of a file may be quick and slow. With that of a certain user, a name whose answers
        take another time would be one that is there; and with one by chance, a name whose answers
        always take the same.
        """
        number = hmac.digest(self._key, _bytes_of(user), hashlib.sha256)
        return self._all[int.from_bytes(number, "big") % len(self._all)]


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
        self._file = WatchedFile(htpasswd_file, Users)
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
            stored = self._users().hash_of(credentials[0]) if credentials else None
        except (CredentialsRefused, ServiceUnavailable):
            return False
        if credentials is None or stored is None:
            return False
        return self._is_known(self._digest(*credentials, stored), TRUSTED_SECONDS)

    def identify(self, environ: dict[str, Any]) -> Identity | None:
        credentials = _credentials(environ)
        if credentials is None:
            return None
        user, password = credentials
        if not self._is_safe(environ):
            raise CredentialsRefused(
                "a password came over a connection without TLS, where everybody on the way can "
                "read it: use https, or set basic_without_tls = true",
                user[:LONGEST_NAME],
                is_failure=False,
            )
        users = self._users()
        stored = users.hash_of(user)
        # For a stranger the same work and the same waiting: the time of no answer tells names.
        digest = self._digest(user, password, stored or users.hash_for_stranger(user))
        with self._turns[digest[0] % _STRIPES]:
            if stored is None:
                self._verify(users.hash_for_stranger(user), password)
                name = user[:LONGEST_NAME]
                raise CredentialsRefused(f"there is no user {name!r} in htpasswd_file", name)
            if not self._is_known(digest, REMEMBERED_SECONDS):
                if not self._verify(stored, password):
                    raise CredentialsRefused(f"wrong password for the user {user!r}", user)
                self._remember(digest)
        return Identity(user)

    def _is_safe(self, environ: Mapping[str, Any]) -> bool:
        return self._without_tls or environ.get("wsgi.url_scheme") == "https"

    def _users(self) -> Users:
        try:
            return self._file.content()
        except (OSError, ValueError) as error:
            raise ServiceUnavailable(
                f"htpasswd_file {self._file.path} cannot be used: {error}"
            ) from error

    def _digest(self, user: str, password: bytes, stored: str) -> bytes:
        """With the stored hash in it: a changed password is forgotten at once."""
        parts = (_bytes_of(user), password, stored.encode())
        text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, text, hashlib.sha256)

    def _is_known(self, digest: bytes, seconds: float) -> bool:
        since = self._remembered.get(digest)
        return since is not None and self._clock() - since < seconds

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            now = self._clock()
            self._remembered.pop(digest, None)
            self._remembered[digest] = now
            for oldest, since in list(self._remembered.items()):
                is_full = len(self._remembered) > MAXIMUM_REMEMBERED
                if not is_full and now - since < TRUSTED_SECONDS:
                    break
                del self._remembered[oldest]


def _credentials(environ: Mapping[str, Any]) -> tuple[str, bytes] | None:
    """User and password; None where none came. Raises CredentialsRefused for what is malformed."""
    scheme, _, token = environ.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(token.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise CredentialsRefused("the credentials of Basic are not base64") from error
    text = _text_of(decoded)
    user, colon, password = text.partition(":")
    if not colon:
        raise CredentialsRefused("the credentials of Basic are not like user:password")
    return user, password.encode()


def _text_of(decoded: bytes) -> str:
    """UTF-8; or what clients send that do not know it: the code page of western Windows."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return decoded.decode(encoding)
        except UnicodeDecodeError:
            continue
    return decoded.decode("latin-1")


def _bytes_of(user: str) -> bytes:
    return user.encode(errors="surrogateescape")


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
