"""A clean-up over many sessions beside a running upload: ``python -m tests.benchmarks.sweep``.

Prints how long the clean-up in the server took, and the time of a 64 KiB Fragment without and with
it, medians and 99th percentiles of the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from bits_server.protocol.session_id import SessionId
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore
from bits_server.storage.record import SessionRecord
from tests.support.bits_client import BitsClient
from tests.support.live_server import LiveServer

FRAGMENT = bytes(64 << 10)
FRAGMENTS = 3_000


def fill(folder: Path, count: int, *, are_expired: bool = True) -> None:
    """So many sessions, every second one expired, or none."""
    store = FilesystemStore(str(folder), DiskRules())
    store.prepare()
    for number in range(count):
        guid = str(SessionId.new())
        store.create(SessionRecord(guid, "f", "", "192.0.2.1", time.time(), total=1))
        if are_expired and number % 2:
            os.utime(folder / "BITS-Sessions" / guid / "session.json", (1, 1))


def fragment_seconds(server: LiveServer, name: str, fragments: int = FRAGMENTS) -> list[float]:
    """The time of each Fragment of one upload, on one connection."""
    seconds = []
    with server.sender() as sender:
        client = BitsClient(sender, f"/upload/{name}")
        client.create()
        for number in range(fragments):
            begin = time.perf_counter()
            client.fragment(FRAGMENT, number * len(FRAGMENT), fragments * len(FRAGMENT))
            seconds.append(time.perf_counter() - begin)
        client.close()
    return seconds


def describe(name: str, seconds: list[float]) -> str:
    p99 = statistics.quantiles(seconds, n=100)[98]
    return f"{name}: p50 {statistics.median(seconds) * 1e3:.2f} ms, p99 {p99 * 1e3:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--folder", help="where to work; a folder is made in it and removed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as scratch:
        folder, settings = Path(scratch, "uploads"), Path(scratch, "settings.toml")
        folder.mkdir()
        settings.write_text(
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\ncleanup_interval = "20s"\n'
        )
        fill(folder, arguments.sessions)
        swept = [folder / "BITS-Sessions" / f".swept-{what}" for what in ("sessions", "leftovers")]
        for stamp in swept:
            stamp.touch()  # no clean-up yet
        log_file = Path(scratch, "server.log")
        options = ["--settings", str(settings), "--workers", "1"]
        with LiveServer(options=options, log_file=log_file) as server:
            quiet = fragment_seconds(server, "quiet")
            for stamp in swept:
                os.utime(stamp, (1, 1))
            begin = time.perf_counter()
            busy: list[float] = []
            rounds = 0
            while "cleaned up" not in server.log:
                rounds += 1
                busy += fragment_seconds(server, f"busy-{rounds}")
            took = time.perf_counter() - begin
        left = sum(1 for _ in (folder / "BITS-Sessions").glob("{*"))
    print(f"{arguments.sessions} sessions, half of them expired; {left} left")
    print(f"clean-up in the one serving process: at most {took:.1f} s, {rounds} uploads beside it")
    print(describe("Fragment of 64 KiB, quiet", quiet))
    print(describe("Fragment of 64 KiB, beside the clean-up", busy))


if __name__ == "__main__":
    main()
