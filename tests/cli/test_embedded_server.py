"""How gunicorn is made to behave; what needs it running is in ``live``."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

from bits_server.cli.embedded_server import GUNICORN_SETTINGS, HEADER_FIELD_BYTES
from tests.support.nginx import SHIPPED

CONFIG = Path(__file__).parent.parent.parent / "config" / "gunicorn.conf.py"

FORKS = """
import os, signal, time
from bits_server.cli.embedded_server import lose_no_signal

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("parent"))
# As a SIGTERM that comes right after the fork, while the handler above is still the child's:
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
lose_no_signal(None)
child = os.fork()
if child == 0:
    os._exit(0)  # it lived on
_, status = os.waitpid(child, 0)
assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGTERM, status
os.kill(os.getpid(), signal.SIGTERM)
assert heard == ["parent"], heard
"""


def test_a_worker_can_be_told_to_end_from_its_first_moment() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


LOOKED_THROUGH = """
import gc, os
from bits_server.cli.embedded_server import GUNICORN_SETTINGS

loaded = len(gc.get_objects())
GUNICORN_SETTINGS["on_starting"](None)
if child := os.fork():
    _, status = os.waitpid(child, 0)
    assert status == 0, status
print(gc.get_freeze_count() > loaded // 2, len(gc.get_objects()) < loaded // 10, flush=True)
os._exit(0)
"""


def test_nobody_looks_for_garbage_in_what_was_loaded() -> None:
    ran = subprocess.run([sys.executable, "-c", LOOKED_THROUGH], capture_output=True, text=True)
    assert ran.stdout.split() == ["True"] * 4, (ran.stdout, ran.stderr)


def test_the_configuration_for_gunicorn_has_all_of_our_settings() -> None:
    names = runpy.run_path(str(CONFIG))
    assert {name: names[name] for name in GUNICORN_SETTINGS} == GUNICORN_SETTINGS


def test_gunicorn_keeps_connections_longer_than_nginx() -> None:
    upstream = re.search(r"^ +keepalive_timeout (\d+)s;", SHIPPED.read_text(), re.M)
    assert upstream is not None
    assert int(upstream[1]) + 10 <= GUNICORN_SETTINGS["keepalive"]


def test_nginx_lets_pass_the_header_fields_that_gunicorn_takes() -> None:
    assert f"large_client_header_buffers 4 {HEADER_FIELD_BYTES >> 10}k;" in SHIPPED.read_text()
