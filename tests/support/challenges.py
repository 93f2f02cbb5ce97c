"""Basic [RFC 7617] and Digest [RFC 7616] as a server asks for them and checks what comes."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from tests.support.passwords import basic

_PAIR = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')


class Challenge(Protocol):
    def ask(self) -> list[str]:
        """The values of WWW-Authenticate, best first."""
        ...

    def accepts(self, authorization: str, method: str, target: str) -> bool:
        """Whether that value of Authorization is good for such a request."""
        ...


@dataclass(frozen=True)
class BasicChallenge:
    user: str
    password: str

    def ask(self) -> list[str]:
        return ['Basic realm="bits.test"']

    def accepts(self, authorization: str, method: str, target: str) -> bool:  # noqa: ARG002
        return authorization == basic(self.user, self.password)


@dataclass
class DigestChallenge:
    """``algorithm``: MD5 as IIS has it, or SHA-256. Each nonce is good for ``uses`` requests."""

    user: str
    password: str
    algorithm: str = "MD5"
    uses: int = 1_000_000
    accepted: int = 0
    _nonces: dict[str, set[str]] = field(default_factory=dict)

    def ask(self) -> list[str]:
        nonce = secrets.token_hex(16)
        self._nonces[nonce] = set()
        words = f'qop="auth", nonce="{nonce}", opaque="5ccc"'
        return [f'Digest realm="bits.test", {words}, algorithm={self.algorithm}']

    def accepts(self, authorization: str, method: str, target: str) -> bool:
        scheme, _, rest = authorization.partition(" ")
        given = {name: quoted or bare for name, quoted, bare in _PAIR.findall(rest)}
        seen = self._nonces.get(given.get("nonce", ""))
        if scheme.lower() != "digest" or seen is None or given.get("uri") != target:
            return False
        if given.get("nc", "") in seen or len(seen) >= self.uses:
            return False  # sent a second time, or stale
        names = ("nonce", "nc", "cnonce", "qop")
        secret = self._hash(f"{self.user}:bits.test:{self.password}")
        wanted = self._hash(
            ":".join([secret, *(given.get(name, "") for name in names)])
            + ":"
            + self._hash(f"{method}:{target}")
        )
        if given.get("username") != self.user or given.get("response") != wanted:
            return False
        seen.add(given["nc"])
        self.accepted += 1
        return True

    def _hash(self, text: str) -> str:
        name = self.algorithm.replace("-", "").lower()
        return hashlib.new(name, text.encode()).hexdigest()
