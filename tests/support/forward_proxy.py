"""A real tinyproxy with Basic authentication on a free port, ready when the context is entered.

tinyproxy and not squid: it is there in milliseconds, runs as any user, and passes BITS_POST.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from tests.support.tools import require_tool
from tests.support.waiting import is_listening, wait_until

_CONFIGURATION = """\
Port {port}
Listen 127.0.0.1
Allow 127.0.0.1
Timeout 600
MaxClients 50
LogLevel Info
LogFile "{folder}/tinyproxy.log"
PidFile "{folder}/tinyproxy.pid"
{users}
"""
TRIES = 5


class ForwardProxy:
    """``url`` has no credentials. ``user`` empty: it asks nobody who he is."""

    def __init__(self, folder: Path, *, user: str = "", password: str = "") -> None:
        self._program = require_tool("tinyproxy")
        self._folder = folder
        self._users = f"BasicAuth {user} {password}" if user else ""
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ("127.0.0.1", 0)

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    @property
    def log(self) -> str:
        """What it noted so far: a line for each request among others."""
        file = self._folder / "tinyproxy.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def __enter__(self) -> ForwardProxy:
        # It takes no socket over: a port that was free may be taken when it comes to it.
        for _ in range(TRIES):
            self._start()
            wait_until(lambda: is_listening(self.address) or self._has_ended())
            if not self._has_ended():
                return self
        raise AssertionError(self.log)

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def requests(self, method: str) -> int:
        """How many with that method it took."""
        return self.log.count(f": {method} ")

    def _start(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.address = free.getsockname()
        configuration = self._folder / "tinyproxy.conf"
        values = {"port": self.address[1], "folder": self._folder, "users": self._users}
        configuration.write_text(_CONFIGURATION.format(**values))
        with open(self._folder / "tinyproxy.output", "ab") as output:
            self._process = subprocess.Popen(
                [self._program, "-d", "-c", configuration],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
