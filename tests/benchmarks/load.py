"""The load generator: a process for each connection, which does jobs that come as JSON lines.

Large bodies leave through sendfile(2) from one source file, so that the generator needs little of
the processors that it shares with the server. Each answer is checked; any other ends the job.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.benchmarks.applications import RECEIVED
from tests.support.bits_client import PROTOCOL, BitsClient, assert_success
from tests.support.wire import Answer, WireSender

SESSION_ID = "{00000000-0000-4000-8000-000000000000}"  # for those who look at none
INLINE_BYTES = 64 << 10  # so much is copied behind the head; more goes by sendfile


@dataclass(frozen=True)
class Job:
    """Files to send over one connection. ``kind``: of the server; see ``_Load``."""

    kind: str
    address: tuple[str, int]
    source: str
    name: str
    files: int
    file_bytes: int
    fragment_bytes: int


@dataclass
class Outcome:
    """What one connection saw: monotonic seconds, and seconds of each request or file."""

    begin: float = 0.0
    end: float = 0.0
    packets: int = 0
    fragments: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)


class LoadSender(WireSender):
    """A connection whose time-outs are the kernel's: Python's would cost a poll for each call."""

    def connect(self) -> socket.socket:
        is_new = self._socket is None
        connection = super().connect()
        if is_new:
            connection.settimeout(None)
            limit = struct.pack("ll", 60, 0)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, option, limit)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def send_from(self, head: bytes, source: int, start: int, length: int) -> Answer:
        """Send a head and ``length`` bytes of an open file; read the answer."""
        if length <= INLINE_BYTES:
            return self.send_bytes(head + os.pread(source, length, start))
        connection = self.connect()
        connection.sendall(head, socket.MSG_MORE)
        end = start + length
        while start < end:
            start += os.sendfile(connection.fileno(), source, start, end - start)
        answer = self.read_answer()
        if answer.get("Connection") == "close":
            self.close()
        return answer


class _Load:
    """Sends the files of one job: ``bits`` in a session, ``put`` a file for each fragment.

    ``bare`` sends what ``bits`` sends, header fields and all, to an application that keeps nothing.
    """

    def __init__(self, job: Job, sender: LoadSender, source: int) -> None:
        self._job = job
        self._sender = sender
        self._source = source
        self.outcome = Outcome()

    def run(self) -> None:
        send_file = {"bits": self._bits, "put": self._put, "bare": self._bare}[self._job.kind]
        self.outcome.begin = time.monotonic()
        for number in range(self._job.files):
            begin = time.monotonic()
            send_file(f"/upload/{self._job.name}-{number}")
            self.outcome.files.append(time.monotonic() - begin)
        self.outcome.end = time.monotonic()

    def _bits(self, target: str) -> None:
        client = BitsClient(self._sender, target)
        assert_success(client.create())
        for first, length, answer in self._sent_fragments(client):
            assert_success(answer)
            assert answer["BITS-Received-Content-Range"] == str(first + length), answer
        assert_success(client.close())

    def _bare(self, target: str) -> None:
        client = BitsClient(self._sender, target)
        client.session_id = SESSION_ID
        fields = {"BITS-Supported-Protocols": PROTOCOL}
        assert client.packet("Create-Session", fields, b"", {}).status == 200
        for _, length, answer in self._sent_fragments(client):
            assert (answer.status, answer[RECEIVED]) == (200, str(length)), answer
        assert client.close().status == 200

    def _sent_fragments(self, client: BitsClient) -> Iterator[tuple[int, int, Answer]]:
        total = self._job.file_bytes
        self.outcome.packets += 2  # those before and behind
        for first, length in self._fragments():
            head = (
                f"BITS_POST {client.target} HTTP/1.1\r\nHost: bits.test\r\n"
                f"BITS-Packet-Type: Fragment\r\nBITS-Session-Id: {client.session_id}\r\n"
                f"Content-Range: bytes {first}-{first + length - 1}/{total}\r\n"
            )
            yield first, length, self._timed(head, first, length)

    def _put(self, target: str) -> None:
        for number, (first, length) in enumerate(self._fragments()):
            head = f"PUT {target}.{number} HTTP/1.1\r\nHost: bits.test\r\n"
            answer = self._timed(head, first, length)
            assert answer.status in (201, 204), answer

    def _fragments(self) -> Iterator[tuple[int, int]]:
        total = self._job.file_bytes
        for first in range(0, total, self._job.fragment_bytes):
            yield first, min(self._job.fragment_bytes, total - first)

    def _timed(self, head: str, first: int, length: int) -> Answer:
        begin = time.monotonic()
        whole = f"{head}Content-Length: {length}\r\n\r\n".encode()
        answer = self._sender.send_from(whole, self._source, first, length)
        self.outcome.fragments.append(time.monotonic() - begin)
        self.outcome.packets += 1
        return answer


class Generator:
    """So many processes, each with one connection at a time."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Do the jobs at the same time, each in a process of its own. Raises RuntimeError."""
        busy = self._processes[: len(jobs)]
        assert len(busy) == len(jobs)
        for process, job in zip(busy, jobs, strict=True):
            assert process.stdin is not None
            process.stdin.write(json.dumps(asdict(job)) + "\n")
            process.stdin.flush()
        return [self._outcome(process) for process in busy]

    def _outcome(self, process: subprocess.Popen[str]) -> Outcome:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the load generator died: see above")
        return Outcome(**json.loads(line))


@contextmanager
def generator(processes: int) -> Iterator[Generator]:
    """Processes that wait for jobs, and end with the context."""
    command = [sys.executable, "-m", "tests.benchmarks.load"]
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(processes):
            started.append(  # noqa: PERF401  # what was started must be known to be ended
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        yield Generator(started)
    finally:
        for process in started:
            process.communicate()  # its input ends, and it with it


def main() -> None:
    for line in sys.stdin:
        facts: dict[str, Any] = json.loads(line)
        job = Job(**{**facts, "address": tuple(facts["address"])})
        source = os.open(job.source, os.O_RDONLY)
        try:
            sender = LoadSender(job.address)
            with sender:
                load = _Load(job, sender, source)
                load.run()
        finally:
            os.close(source)
        print(json.dumps(asdict(load.outcome)), flush=True)


if __name__ == "__main__":
    main()
