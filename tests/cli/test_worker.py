"""The worker of gunicorn, as far as it can be looked at without requests."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Each thread takes what is too large for Python's own memory, all at the same time.
COUNT_ARENAS = """
import ctypes, sys, threading
from bits_server.cli.worker import share_one_arena
if sys.argv[1] == "shared":
    share_one_arena()
barrier = threading.Barrier(8)
def take():
    barrier.wait()
    held = bytearray(60_000)
    barrier.wait()
threads = [threading.Thread(target=take) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")
@pytest.mark.parametrize(("how", "is_one"), [("shared", True), ("as glibc likes", False)])
def test_threads_take_memory_from_one_place(how: str, is_one: bool) -> None:
    command = [sys.executable, "-c", COUNT_ARENAS, how]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert (told.count("<heap nr=") == 1) is is_one
