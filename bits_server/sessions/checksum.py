"""The SHA-256 of a complete request entity: read once, kept in the session's record."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from bits_server.settings import Checksum
from bits_server.storage.interface import StoredSession

BLOCK_BYTES = 1 << 20


def note_checksum(session: StoredSession, checksum: Checksum) -> None:
    """Compute what the settings ask for, unless it is known. Raises EntityVanished.

    Without the session's lock: a large file takes minutes, and nobody changes it any more.
    """
    if checksum is Checksum.NONE or session.record.sha256 is not None:
        return
    with session.open_request_entity() as entity:
        digest = hashlib.sha256()
        while block := entity.read(BLOCK_BYTES):
            digest.update(block)
    with session.locked():
        session.save(replace(session.record, sha256=digest.hexdigest()))
