"""The servers that the benchmark compares, each started with what it needs and stopped again."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.processes import are_idle, tree_of
from tests.support.live_server import LiveServer
from tests.support.waiting import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config" / "gunicorn.conf.py")]
WORKERS = 2  # of each server, as the configurations here and in config/ say
PROXY_TEMPLATE = HERE / "nginx_proxy.conf.template"
PUT_TEMPLATE = HERE / "nginx_put.conf.template"


@dataclass(frozen=True)
class Contestant:
    """A running server. ``kind``: what is sent to it; ``folder``: where files must arrive."""

    name: str
    kind: str
    address: tuple[str, int]
    servers: tuple[LiveServer, ...]
    folder: Path | None = None

    def processes(self) -> frozenset[int]:
        return frozenset().union(*(tree_of(server.pid) for server in self.servers))

    def has_started(self) -> bool:
        """Whether all workers are there, and have nothing more to load."""
        is_there = all(len(server.workers()) == WORKERS for server in self.servers)
        return is_there and are_idle(self.processes())

    def workers(self) -> frozenset[int]:
        """Those that serve: children of the processes that were started."""
        return frozenset(worker for server in self.servers for worker in server.workers())


BARE = "bare WSGI application"
PUT = "nginx DAV PUT"
DIRECT = "this server, direct"
REFERENCE = "the same by the reference path"
BEHIND = "this server behind nginx"


@contextmanager
def contestants(scratch: Path, proxy_template: Path = PROXY_TEMPLATE) -> Iterator[list[Contestant]]:
    """All of them, ready. ``scratch`` is an empty folder on the file system to write to."""
    with ExitStack() as stack:
        enter = stack.enter_context
        yield [
            enter(_nginx_put(_folder(scratch, "put"))),
            enter(_gunicorn(DIRECT, "bits_server.wsgi:application", _folder(scratch, "direct"))),
            enter(
                _gunicorn(
                    REFERENCE,
                    "tests.benchmarks.applications:reference",
                    _folder(scratch, "reference"),
                )
            ),
            enter(_behind_nginx(_folder(scratch, "behind"), proxy_template)),
            enter(
                _gunicorn(
                    BARE, "tests.benchmarks.applications:bare", _folder(scratch, "bare"), "bare"
                )
            ),
        ]


def _folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    folder.mkdir()
    (folder / "upload").mkdir()
    folder.chmod(0o755)
    return folder


@contextmanager
def _gunicorn(
    name: str, application: str, scratch: Path, kind: str = "bits"
) -> Iterator[Contestant]:
    with _live_gunicorn(application, scratch, "fd://{fd}") as server:
        folder = scratch / "upload" if kind == "bits" else None
        yield Contestant(name, kind, server.address, (server,), folder)


def _live_gunicorn(application: str, scratch: Path, bind: str) -> LiveServer:
    settings = scratch / "settings.toml"
    settings.write_text(f'[[virtual_directory]]\nurl = "/upload"\npath = "{scratch}/upload"\n')
    return LiveServer(
        command=[*GUNICORN, "--bind", bind, application],
        environment={"BITS_SERVER_SETTINGS": str(settings), "PYTHONPATH": str(ROOT)},
        log_file=scratch / "server.log",
    )


@contextmanager
def _behind_nginx(scratch: Path, template: Path) -> Iterator[Contestant]:
    upstream = scratch / "socket"
    with (
        _live_gunicorn("bits_server.wsgi:application", scratch, f"unix:{upstream}") as server,
        _live_nginx(template, scratch, upstream) as nginx,
    ):
        wait_until(lambda: _is_listening(upstream))
        yield Contestant(BEHIND, "bits", nginx.address, (server, nginx), scratch / "upload")


@contextmanager
def _nginx_put(scratch: Path) -> Iterator[Contestant]:
    with _live_nginx(PUT_TEMPLATE, scratch, scratch / "unused") as nginx:
        yield Contestant(PUT, "put", nginx.address, (nginx,), scratch / "upload")


def _live_nginx(template: Path, scratch: Path, upstream: Path) -> LiveServer:
    """nginx, with a configuration in which @NAMES@ are filled in.

    The listening socket is handed to it as nginx hands it to its own successor.
    """
    configuration = scratch / "nginx.conf"
    server = LiveServer(
        command=["env", "NGINX={fd};", "nginx", "-p", str(scratch), "-c", str(configuration)],
        log_file=scratch / "nginx.log",
    )
    host, port = server.address
    text = template.read_text()
    for name, value in {
        "ADDRESS": f"{host}:{port}",
        "SCRATCH": str(scratch),
        "FOLDER": str(scratch),
        "UPSTREAM": str(upstream),
        "USER": "user root;" if os.geteuid() == 0 else "",
    }.items():
        text = text.replace(f"@{name}@", value)
    configuration.write_text(text)
    return server


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
