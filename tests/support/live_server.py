"""``bits-server serve`` as a process of its own, ready when the context is entered.

The socket listens before the server starts and is handed to it: no port is guessed, nobody waits,
and the next server after a kill can have the same address.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tests.support.wire import WireSender


class LiveServer:
    """A server for ``folder``, or for a settings file. ``log`` is what it printed so far."""

    is_proxied = False

    def __init__(
        self,
        folder: Path | None = None,
        *,
        options: Sequence[str] = (),
        command: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
        log_file: Path,
    ) -> None:
        """``command``: instead of ``bits-server serve``; ``{fd}`` in it is the socket."""
        self._listener = self._listen()
        self._listener.setblocking(False)  # nginx takes that for granted in what it is handed
        fd = self._listener.fileno()
        default = [sys.executable, "-m", "bits_server", "serve", "--bind", f"fd://{fd}", *options]
        if folder is not None:
            default.append(str(folder))
        self._default = default
        self._command = [part.replace("{fd}", str(fd)) for part in command or default]
        self._environment = {**os.environ, **(environment or {})}
        self.log_file = log_file
        self._process: subprocess.Popen[bytes] | None = None
        self.address: tuple[str, int] = self._listener.getsockname()

    def __enter__(self) -> LiveServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._listener.close()
            if kind is not None:
                print(self.log)

    def _listen(self) -> socket.socket:
        return socket.create_server(("127.0.0.1", 0), backlog=512)

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def sender(self, *, is_kept: bool = True) -> WireSender:
        return WireSender(self.address, is_kept=is_kept)

    def start(self) -> None:
        assert self._process is None
        with open(self.log_file, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                pass_fds=[self._listener.fileno()],
                start_new_session=True,  # its own process group: a kill reaches every worker
            )

    def has_died(self) -> bool:
        """Whether it ended without having been told to."""
        return self._process is not None and self._process.poll() is not None

    def start_anew(self) -> None:
        """After a death: an ordinary server of the same folder, at the same address."""
        self._command = self._default
        self._process = None
        self.start()

    def stop(self, *, timeout: float = 30.0) -> int | None:
        """End it gracefully; what does not end is killed and is an error."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    def terminate(self) -> subprocess.Popen[bytes]:
        """Ask it to end, and give back the process to wait for."""
        assert self._process is not None
        process, self._process = self._process, None
        process.send_signal(signal.SIGTERM)
        return process

    def kill(self) -> None:
        """SIGKILL to the master and all workers at once, as the kernel or a power cut would."""
        if self._process is not None:
            process, self._process = self._process, None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def workers(self) -> list[int]:
        """The process ids of the workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(pid) for pid in children.split()]
