"""What both examples do with a file: put it into an archive once, and write a receipt.

In the archive each upload has a folder named by its BITS-Session-Id, with the file and a receipt.
The folder appears by one rename, so nobody sees half of it, and a notification that is repeated
(its answer got lost, or the server died) finds the folder there: the same receipt goes out again.
A repeated notification can also come while the first is still at work here, because the server gave
up waiting for it. So each attempt works in a folder of its own, and the first that is ready counts.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote, urlsplit

UNFINISHED = ".unfinished-"
DAY = 86_400

SESSION_ID = re.compile(r"\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}")


class Refused(Exception):
    """The notification is answered with ``status``, and the reason goes to our own log.

    403 is final: the server never calls again for this upload, so it is for what nobody can mend.
    After every other status it calls again with the client's next packet. A Windows client comes by
    itself after most of 5xx; after 400 its job waits until somebody resumes it.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Archive:
    """A folder of filed uploads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(UNFINISHED + "*"):  # of attempts that were killed
            if left.stat().st_mtime < time.time() - DAY:  # no other process is at work on it
                shutil.rmtree(left, ignore_errors=True)

    def file(self, session_id: str, url: str, put: Callable[[Path], None]) -> bytes:
        """File one upload, unless that was done before; return its receipt.

        ``put`` makes the file at the path that it is given.
        """
        place = self.folder / session_id
        if not place.exists():
            unfinished = self.folder / (UNFINISHED + session_id + secrets.token_hex(4))
            unfinished.mkdir()
            try:
                content = unfinished / name_of(url)
                put(content)
                (unfinished / "receipt.json").write_bytes(receipt_of(content, session_id))
                self.publish(unfinished, place)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)  # where it is still there
        put_on_disk(self.folder)
        return (place / "receipt.json").read_bytes()

    def publish(self, unfinished: Path, place: Path) -> None:
        """Once we have answered, the server may delete its copy: ours must outlive a power cut."""
        for path in (*unfinished.iterdir(), unfinished):
            put_on_disk(path)
        try:
            os.rename(unfinished, place)
        except OSError:
            if not place.exists():
                raise
            # Another attempt was first: its receipt is the one.


def put_on_disk(path: Path) -> None:
    """A file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def receipt_of(content: Path, session_id: str) -> bytes:
    """What the client gets as its reply."""
    with open(content, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    receipt = {
        "session": session_id,
        "name": content.name,
        "bytes": content.stat().st_size,
        "sha256": digest.hexdigest(),
        "filed": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return json.dumps(receipt, indent=1).encode() + b"\n"


def name_of(url: str) -> str:
    """The last part of the URL as the name of a file: no path, nothing hidden, nothing of ours."""
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    name = re.sub(r"[^\w .+-]", "_", name).lstrip(".")[:100]
    return "file-" + name if name in ("", "receipt.json") else name


def key_from_environment() -> str:
    """The key that callers must send. An empty one would let everybody in."""
    key = os.environ.get("RECEIPT_KEY", "")
    if not key:
        raise SystemExit("RECEIPT_KEY must be set to the key that bits-server sends in X-Key")
    return key


def check_caller(key_sent: str, key: str) -> None:
    """Only our own BITS server may call; 401 lets it try again when the key was mended."""
    if not hmac.compare_digest(key_sent.encode(), key.encode()):
        raise Refused(401, "the key in X-Key is not ours")


def check_size(size: int, limit: int) -> None:
    """In bytes. The client's file does not shrink: final."""
    if size > limit:
        raise Refused(403, f"{size} bytes are more than we take")


def check_session_id(session_id: str) -> str:
    """It names a folder in the archive, so it must be what it says."""
    if not SESSION_ID.fullmatch(session_id):
        raise Refused(400, "BITS-Session-Id is no GUID in braces")
    return session_id.upper()
