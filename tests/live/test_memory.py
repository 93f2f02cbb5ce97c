"""Memory depends neither on the size of a file nor on that of a fragment."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tests.conftest import Tell
from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer

ALLOWED_GROWTH = 30 << 20
MIB = 1 << 20


def peak_bytes(pid: int) -> int:
    """The most resident memory that the process ever had."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
    assert found is not None
    return int(found[1]) * 1024


def test_a_large_upload_leaves_a_worker_within_30_mb_of_idle(
    folder: Path, tmp_path: Path, is_soak: bool, tell: Tell
) -> None:
    files = [(2048, 13), (200, 60)] if is_soak else [(160, 13), (120, 60)]
    log_file = tmp_path / "server.log"
    with LiveServer(folder, options=["--workers", "1"], log_file=log_file) as server:
        with server.sender() as sender:
            BitsClient(sender, "/upload/first").upload(b"x" * 1000)  # what is loaded once is idle
        (worker,) = server.workers()
        idle = peak_bytes(worker)
        for mebibytes, fragment in files:
            upload(server, folder, mebibytes, fragment)
        growth = peak_bytes(worker) - idle
    tell(f"{files} (MiB, fragment): idle {idle / MIB:.1f} MiB, peak {growth / MIB:.1f} MiB more")
    assert growth < ALLOWED_GROWTH


def upload(server: LiveServer, folder: Path, mebibytes: int, fragment: int) -> None:
    """A file of so many MiB in fragments of so many MiB, each different, and verified."""
    digest = hashlib.sha256()
    with server.sender() as sender:
        client = BitsClient(sender, f"/upload/{fragment}")
        assert_success(client.create())
        for start in range(0, mebibytes, fragment):
            body = start.to_bytes(4, "big") * (min(fragment, mebibytes - start) * MIB // 4)
            digest.update(body)
            assert_success(client.fragment(body, start * MIB, mebibytes * MIB))
        assert_success(client.close())
    with open(folder / f"{fragment}", "rb") as file:
        assert hashlib.file_digest(file, "sha256").digest() == digest.digest()
