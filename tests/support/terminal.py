"""A program at a terminal of so many columns: what is typed, what is pressed, and what is seen."""

from __future__ import annotations

import errno
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import wait_until

CTRL_C, CTRL_D = "\x03", "\x04"
_MOVES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_PATIENCE_SECONDS = 30.0


class Terminal:
    """The program runs while the context lasts; ``shown``: all that it wrote, as it came."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], columns: int
    ) -> None:
        self._command = command
        self._environment = {**environment, "TERM": "xterm"}
        self._columns = columns
        self.shown = ""

    def __enter__(self) -> Self:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, self._columns, 0, 0))
        self._process = subprocess.Popen(
            self._command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=self._environment,
            start_new_session=True,
            preexec_fn=_takes_the_terminal,
        )
        os.close(theirs)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Also CTRL_C and CTRL_D, which the terminal makes a signal or an end of."""
        os.write(self._ours, text.encode())

    def wait_for(self, text: str) -> None:
        """Until it is seen."""
        while text not in self.shown:
            assert self._read(), f"{text!r} was never seen in {self.shown!r}"

    def wait_for_question(self, text: str) -> None:
        """Until it is seen, and the program waits for an answer: a key that is pressed between
        the two is seen by nobody until the next one."""
        self.wait_for(text)
        status = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/stat")
        wait_until(lambda: status.read_text().rpartition(")")[2].split()[0] == "S")

    def end(self) -> int:
        """Until the program ends, and how."""
        while self._read():
            pass
        return self._process.wait(_PATIENCE_SECONDS)

    def lines(self) -> list[str]:
        """All that was seen, each state of a line that changes for itself."""
        bare = _MOVES.sub("", self.shown)
        return [line for line in re.split(r"[\r\n]+", bare) if line.strip()]

    def _read(self) -> bool:
        assert select.select([self._ours], [], [], _PATIENCE_SECONDS)[0], "it has fallen silent"
        try:
            block = os.read(self._ours, 1 << 16)
        except OSError as error:
            if error.errno != errno.EIO:  # the terminal was closed
                raise
            return False
        self.shown += block.decode()
        return bool(block)


def _takes_the_terminal() -> None:
    """So that Ctrl-C is for the program."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
