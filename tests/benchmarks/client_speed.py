"""How quick the engine of bits-client is beside a bare sender.

``python -m tests.benchmarks.client_speed``: both send the same file in Fragments of 4 MB over one
connection to the same server, in turn. The bare sender is the load generator, which has the kernel
send the file and keeps nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

from bits_server.client import Job, JobState, JobType, KnownPasswords, Settings
from bits_server.client.bandwidth import RateLimiter
from bits_server.client.local_file import describe
from bits_server.client.transfer import Transfer
from tests.benchmarks import load
from tests.support.live_server import LiveServer

FILE_BYTES = 1_000_000_000
FRAGMENT_BYTES = 4_000_000
ROUNDS = 7


def main() -> None:
    """Print medians, their ratio, and the client's processor time."""
    client: list[float] = []
    bare: list[float] = []
    processor: list[float] = []
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="bits-client-") as name:
        folder, file = Path(name) / "folder", Path(name) / "file"
        folder.mkdir()
        file.write_bytes(bytes(1000) * (FILE_BYTES // 1000))
        log_file = Path(name) / "log"
        with LiveServer(folder, log_file=log_file) as server, load.generator(1) as generator:
            for number in range(ROUNDS):
                began, used = time.monotonic(), time.process_time()
                upload(file, f"{server.url}/upload/client-{number}")
                client.append(time.monotonic() - began)
                processor.append(time.process_time() - used)
                kind = ("bits", server.address, str(file), f"bare-{number}", 1)
                (outcome,) = generator.run([load.Job(*kind, FILE_BYTES, FRAGMENT_BYTES)])
                bare.append(outcome.end - outcome.begin)
                for made in folder.iterdir():
                    if made.is_file():
                        assert made.stat().st_size == FILE_BYTES
                        made.unlink()
    megabytes = FILE_BYTES / 1e6
    print(f"bits-client: {megabytes / statistics.median(client):.0f} MB/s")
    print(f"bare sender: {megabytes / statistics.median(bare):.0f} MB/s")
    print(f"ratio: {statistics.median(bare) / statistics.median(client):.2f} of its throughput")
    print(f"bits-client: {statistics.median(processor) / FILE_BYTES * 1e9:.2f} CPU seconds per GB")


def upload(file: Path, url: str) -> None:
    """By the engine, without a queue."""
    now = datetime.now(UTC)
    settings = Settings(proxy="", fragment_size_limit=FRAGMENT_BYTES)
    local = describe(str(file))
    job = Job("{J}", "speed", JobType.UPLOAD, local, url, now, now, settings=settings)
    transfer = Transfer(
        job, save=lambda _: None, passwords=KnownPasswords(), limiter=RateLimiter(None)
    )
    done = transfer.run(threading.Event())
    assert done.state is JobState.TRANSFERRED, done.error


if __name__ == "__main__":
    main()
