"""What must hold whatever arrives, and how it is found out that it does not."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import struct
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bits_server.storage.record import NotificationOutcome, SessionRecord
from tests.support.passwords import add_user

SETTINGS = """\
[server]
workers = 1
threads = 8
administrators = ["alice"]
[defaults]
durability = "none"
sessions_total = 200
[[virtual_directory]]
url = "/upload"
path = "{root}/open"
create_folders = true
allow_overwrites = true
[[virtual_directory]]
url = "/upload/strict"
path = "{root}/strict"
maximum_upload_size = 1000
maximum_fragment_size = 6000
[[virtual_directory]]
url = "/login"
path = "{root}/login/{{user}}"
authentication = ["basic"]
basic_without_tls = true
htpasswd_file = "{root}/secrets/users"
allow = ["alice"]
[[virtual_directory]]
url = "/proxy"
path = "{root}/proxy/{{user}}"
authentication = ["certificate", "header"]
proxy_secret = "sixteen-characters"
[[virtual_directory]]
url = "/told"
path = "{root}/told"
upload_page = true
notification_type = "by-value"
notification_url = "http://127.0.0.1:1/nobody-is-there"
"""
TICKETS = """\
[[virtual_directory]]
url = "/ticket"
path = "{root}/ticket/{{user}}"
authentication = ["negotiate"]
keytab = "{root}/secrets/keytab"
"""
FOLDERS = ("open", "strict", "login", "proxy", "told", "ticket")
THREADS = 8  # of the settings
DEPTH = ("a", "b", "c")  # of folders that have nothing else in them: for what climbs up
USER, PASSWORD = "alice", "password"
# What the inputs know: one that was opened, one with a reply, and one of a user who has logged in.
OPENED = "{01234567-89AB-CDEF-0123-456789ABCDEF}"
ANSWERED = "{11234567-89AB-CDEF-0123-456789ABCDEF}"
# And one that no input knows, for looks at the server.
HELD, HELD_FILE = "{21234567-89AB-CDEF-0123-456789ABCDEF}", "held.bin"
REPLY = b"a reply of some bytes"
OUTSIDE = b"what is outside stays as it is"
_FIELD_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")


class Finding(AssertionError):
    """An invariant that did not hold."""


@dataclass(frozen=True)
class Site:
    """The folders of some virtual directories, with something beside them; and the settings."""

    root: Path

    @classmethod
    @contextmanager
    def made(cls) -> Iterator[Self]:
        with tempfile.TemporaryDirectory(prefix="bits-fuzz-") as name:
            root = Path(name, *DEPTH)
            for folder in (*FOLDERS, "secrets", "outside", "making"):
                (root / folder).mkdir(parents=True)
            (root / "outside" / "file").write_bytes(OUTSIDE)
            add_user(root / "secrets" / "users", USER, PASSWORD)
            (root / "secrets" / "keytab").write_bytes(_keytab())
            has_tickets = importlib.util.find_spec("gssapi") is not None
            text = SETTINGS + (TICKETS if has_tickets else "")
            (root / "settings.toml").write_text(text.format(root=root))
            yield cls(root)

    @property
    def settings_file(self) -> Path:
        return self.root / "settings.toml"

    def open_sessions(self) -> None:
        """Make those sessions that are not there, or not any more."""
        now = time.time()
        answered = NotificationOutcome(1, now, now, True, 200, reply_url="/r", has_reply=True)
        for folder, guid, owner in (
            ("open", OPENED, ""),
            ("open", ANSWERED, ""),
            ("open", HELD, ""),
            ("strict", OPENED, ""),
            ("login", OPENED, USER),
            ("told", OPENED, ""),
        ):
            path = self.root / folder / "BITS-Sessions" / guid
            if path.exists():
                continue
            name = HELD_FILE if guid == HELD else "f.bin"
            destination = f"{owner}/{name}" if owner else name
            record = SessionRecord(guid, destination, owner, "192.0.2.1", now)
            with tempfile.TemporaryDirectory(dir=self.root / "making") as making:
                made = Path(making) / guid
                made.mkdir()
                if guid == ANSWERED:
                    (made / "response").write_bytes(REPLY)
                    (made / "request").write_bytes(b"hello")
                    record = dataclasses.replace(
                        record, total=5, is_complete=True, notification=answered
                    )
                (made / "session.json").write_bytes(record.to_json())
                path.parent.mkdir(exist_ok=True)
                with suppress(OSError):  # another sender was quicker
                    made.rename(path)  # at once: the server sees no half of it

    def destinations(self) -> list[str]:
        """Of the sessions at /upload."""
        records = (self.root / "open" / "BITS-Sessions").glob("{*}/session.json")
        return [SessionRecord.from_json(path.read_bytes()).destination for path in records]

    def check_outside(self) -> None:
        """Raise Finding where something was written beside the virtual directories."""
        found = sorted(path.name for path in self.root.iterdir())
        expected = sorted((*FOLDERS, "secrets", "outside", "making", "settings.toml"))
        if found != expected:
            raise Finding(f"beside the virtual directories there is {set(found) ^ set(expected)}")
        for above, name in zip(self.root.parents, reversed(DEPTH), strict=False):
            if os.listdir(above) != [name]:
                raise Finding(f"above the virtual directories there is {os.listdir(above)}")
        beside = [path.name for path in (self.root / "outside").iterdir()]
        if beside != ["file"] or (self.root / "outside" / "file").read_bytes() != OUTSIDE:
            raise Finding(f"outside was changed: {beside}")
        if sorted(os.listdir(self.root / "secrets")) != ["keytab", "users"]:
            raise Finding("the folder of the secrets was changed")
        for folder, allowed in (("login", {USER}), ("ticket", set[str]())):
            users = set(os.listdir(self.root / folder)) - {"BITS-Sessions"}
            if users - allowed:
                raise Finding(f"somebody who may not upload has a folder: {users}")


def check_answers(raw: bytes, *, is_loose: bool = False) -> int:
    """How many HTTP answers there are in what a server sent. Raises Finding for anything else.

    ``is_loose``: their form is not looked at, as where the length of a body may be told to a HEAD
    and none come.
    """
    count = raw.count(b"HTTP/1.1 ") if is_loose else 0
    for forbidden in (b"Traceback", b'File "', b"/secrets/", b"Exception"):
        if forbidden in raw:
            raise Finding(f"an answer tells {forbidden!r}")
    while raw and not is_loose:
        head, end, rest = raw.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        found = re.fullmatch(rb"HTTP/1\.[0-9] ([1-5][0-9][0-9]) [\x20-\x7e]*", line)
        if found is None or not end:
            raise Finding(f"no answer of HTTP: {raw[:200]!r}")
        length, is_chunked = 0, False
        for field in fields:
            name, colon, value = field.partition(b":")
            if not colon or not re.fullmatch(rb"[A-Za-z0-9-]+", name):
                raise Finding(f"no header field: {field!r}")
            if not _FIELD_VALUE.fullmatch(value):
                raise Finding(f"a header field with control characters: {field!r}")
            if name.lower() == b"content-length":
                length = int(value)
            is_chunked = is_chunked or name.lower() == b"transfer-encoding"
        if is_chunked:
            _, end, rest = rest.partition(b"0\r\n\r\n")
            if not end:
                raise Finding("a chunked answer without an end")
            length = 0
        if found[1][:1] == b"1":
            length = 0
        if len(rest) < length:
            raise Finding(f"an answer of {length} bytes has {len(rest)}")
        raw = rest[length:]
        count += 1
    return count


def _keytab() -> bytes:
    """Of one key that nobody has a ticket for."""

    def counted(text: bytes) -> bytes:
        return struct.pack(">H", len(text)) + text

    name = b"".join(map(counted, (b"BITS.TEST", b"HTTP", b"bits.test")))
    entry = struct.pack(">H", 2) + name + struct.pack(">IIBH", 1, 0, 1, 18) + counted(b"k" * 32)
    return b"\x05\x02" + struct.pack(">i", len(entry)) + entry
