"""The servers that the benchmark compares, each started with what it needs and stopped again."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import other_servers
from tests.benchmarks.processes import are_idle, tree_of
from tests.support.certificates import make_certificate
from tests.support.live_server import LiveServer
from tests.support.proxied_server import ProxiedServer

ROOT = Path(__file__).parents[2]
GUNICORN = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "config" / "gunicorn.conf.py")]
WORKERS = 2  # of each server, as the configurations here and in config/ say
OURS = "bits_server.wsgi:application"
PUT_TEMPLATE = Path(__file__).with_name("nginx_put.conf.template")


@dataclass(frozen=True)
class Contestant:
    """A running server. ``kind``: what is sent to it; ``folder``: where files must arrive.

    ``roots``: the processes that were started; ``workers_each``: how many serve below each of them,
    0 where it serves itself.
    """

    name: str
    kind: str
    address: tuple[str, int]
    roots: tuple[int, ...]
    folder: Path | None = None
    workers_each: int = WORKERS

    def processes(self) -> frozenset[int]:
        return frozenset().union(*(tree_of(root) for root in self.roots))

    def has_started(self) -> bool:
        """Whether all workers are there, and have nothing more to load."""
        is_there = len(self.processes()) == (1 + self.workers_each) * len(self.roots)
        return is_there and are_idle(self.processes())

    def workers(self) -> frozenset[int]:
        """Those that serve."""
        processes = self.processes()
        return processes - set(self.roots) if self.workers_each else processes


BARE = "bare WSGI application"
BARE_GTHREAD = "the same, gunicorn's own worker"
PUT = "nginx DAV PUT"
DIRECT = "this server, direct"
REFERENCE = "the same by the reference path"
BEHIND = "this server behind nginx"


@contextmanager
def contestants(scratch: Path) -> Iterator[list[Contestant]]:
    """All of them. ``scratch`` is an empty folder on the file system to write to."""
    with ExitStack() as stack:
        enter = stack.enter_context
        reference = "tests.benchmarks.applications:reference"
        bare = "tests.benchmarks.applications:bare"
        ours = [
            enter(_nginx_put(_folder(scratch, "put"))),
            enter(_gunicorn(DIRECT, OURS, _folder(scratch, "direct"))),
            enter(_gunicorn(REFERENCE, reference, _folder(scratch, "reference"))),
            enter(_behind_nginx(_folder(scratch, "behind"))),
            enter(_gunicorn(BARE, bare, _folder(scratch, "bare"), "bare")),
            enter(_gunicorn(BARE_GTHREAD, bare, _folder(scratch, "gthread"), "bare", "gthread")),
        ]
        yield ours + [enter(_other(name, scratch)) for name in other_servers.installed()]


def _folder(scratch: Path, name: str) -> Path:
    folder = scratch / name
    folder.mkdir()
    (folder / "upload").mkdir()
    folder.chmod(0o755)
    return folder


@contextmanager
def _gunicorn(
    name: str, application: str, scratch: Path, kind: str = "bits", worker_class: str = ""
) -> Iterator[Contestant]:
    with LiveServer(**_gunicorn_of(application, scratch, worker_class)) as server:
        folder = scratch / "upload" if kind == "bits" else None
        yield Contestant(name, kind, server.address, (server.pid,), folder)


@contextmanager
def _other(name: str, scratch: Path) -> Iterator[Contestant]:
    folder = _folder(scratch, name.split()[0])
    with other_servers.running(name, folder, WORKERS) as (address, pid):
        workers_each = WORKERS if other_servers.OTHER_SERVERS[name].has_workers else 0
        yield Contestant(name, "put", address, (pid,), folder / "upload", workers_each)


@contextmanager
def _behind_nginx(scratch: Path) -> Iterator[Contestant]:
    certificate = make_certificate(scratch)
    started = _gunicorn_of(OURS, scratch)
    nginx = scratch / "nginx"
    nginx.mkdir()
    with ProxiedServer(**started, certificate=certificate, scratch=nginx) as server:
        roots = (server.pid, server.nginx.pid)
        yield Contestant(BEHIND, "bits", server.address, roots, scratch / "upload")


def _gunicorn_of(application: str, scratch: Path, worker_class: str = "") -> dict[str, Any]:
    """``worker_class``: in place of ours."""
    other_worker = ["--worker-class", worker_class] if worker_class else []
    settings = scratch / "settings.toml"
    settings.write_text(f'[[virtual_directory]]\nurl = "/upload"\npath = "{scratch}/upload"\n')
    return {
        "command": [*GUNICORN, "--bind", "fd://{fd}", *other_worker, application],
        "environment": {"BITS_SERVER_SETTINGS": str(settings), "PYTHONPATH": str(ROOT)},
        "log_file": scratch / "server.log",
    }


@contextmanager
def _nginx_put(scratch: Path) -> Iterator[Contestant]:
    """nginx with a configuration in which @NAMES@ are filled in.

    The listening socket is handed to it as nginx hands it to its own successor.
    """
    configuration = scratch / "nginx.conf"
    server = LiveServer(
        command=["env", "NGINX={fd};", "nginx", "-p", str(scratch), "-c", str(configuration)],
        log_file=scratch / "nginx.log",
    )
    host, port = server.address
    text = PUT_TEMPLATE.read_text()
    for name, value in {
        "ADDRESS": f"{host}:{port}",
        "SCRATCH": str(scratch),
        "USER": "user root;" if os.geteuid() == 0 else "",
    }.items():
        text = text.replace(f"@{name}@", value)
    configuration.write_text(text)
    with server:
        yield Contestant(PUT, "put", server.address, (server.pid,), scratch / "upload")
