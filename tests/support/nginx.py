"""A real nginx, started from ``config/nginx.conf`` as it is shipped.

The rule of this file: what a machine of its own needs (addresses, paths, certificate, and the
virtual directories of the test) is replaced line by line, each line exactly once; all else is as
shipped. Its sockets listen before it starts: no port is guessed, and nobody waits.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from pathlib import Path

from bits_server.operations.nginx_config import location_blocks
from bits_server.settings import Settings
from tests.support.certificates import Certificate
from tests.support.tools import require_tool
from tests.support.waiting import wait_until

SHIPPED = Path(__file__).parents[2] / "config" / "nginx.conf"

# As Debian has it where that matters: gzip is on there.
_MAIN = """\
daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {logs}.error notice;
events {{
    worker_connections 2048;
}}
http {{
    sendfile on;
    tcp_nopush on;
    default_type application/octet-stream;
    gzip on;
    gzip_types *;
    gzip_min_length 1;
    log_format served '$remote_addr "$request" $status, served as $uri';
    access_log {logs}.access served;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/bits-server.conf;
}}
"""

_UPSTREAM = re.compile(r"^upstream bits_server \{\n.*?^\}\n", re.M | re.S)
_MARKED = re.compile(r"(?<=    # --- prints them\.\n).*?(?=    # --- End of)", re.S)


def virtual_directories_of(configuration: str) -> str:
    """What stands between the two marks."""
    (found,) = _MARKED.findall(configuration)
    assert isinstance(found, str)
    return found


class Nginx:
    """nginx in front of ``upstream``, the path of a socket, for the time of the context.

    ``user``: whose files it may read, where the tests run as root. ``upstream_block``: in place of
    the shipped one. ``logs``: the beginning of the names of its log files.
    """

    def __init__(
        self,
        settings: Settings,
        upstream: Path | None,
        folder: Path,
        certificate: Certificate,
        *,
        user: str = "root",
        upstream_block: str = "",
        logs: Path | None = None,
    ) -> None:
        self._program = require_tool("nginx")
        self._folder = folder
        self._logs = logs or folder / "nginx.log"
        self._listeners = [socket.create_server(("127.0.0.1", 0), backlog=512) for _ in range(2)]
        for listener in self._listeners:
            # nginx takes them as they are. One that blocks stops the worker that comes too late for
            # a connection which woke both.
            listener.setblocking(False)
        self.address, self.tls_address = [each.getsockname() for each in self._listeners]
        self._process: subprocess.Popen[bytes] | None = None
        changes = {
            "    listen 80;": f"    listen 127.0.0.1:{self.address[1]};",
            "    listen [::]:80;": "",
            "    listen 443 ssl http2;": f"    listen 127.0.0.1:{self.tls_address[1]} ssl http2;",
            "    listen [::]:443 ssl http2;": "",
            "/etc/bits-server/certificate.pem": str(certificate.certificate),
            "/etc/bits-server/certificate.key": str(certificate.key),
            "unix:/run/bits-server/socket": f"unix:{upstream}",
        }
        configuration = SHIPPED.read_text()
        if upstream_block:
            changes.pop("unix:/run/bits-server/socket")
            configuration, count = _UPSTREAM.subn(lambda _: upstream_block, configuration)
            assert count == 1
        for line, replacement in changes.items():
            assert configuration.count(line) == 1, line
            configuration = configuration.replace(line, replacement)
        blocks = location_blocks(settings)
        configuration = _MARKED.sub(lambda _: blocks, configuration)
        (folder / "bits-server.conf").write_text(configuration)
        user_line = f"user {user};" if os.geteuid() == 0 else ""
        self._main = folder / "nginx.conf"
        self._main.write_text(_MAIN.format(folder=folder, logs=self._logs, user=user_line))

    def __enter__(self) -> Nginx:
        fds = [listener.fileno() for listener in self._listeners]
        with open(self._log_file("output"), "wb") as output:
            self._process = subprocess.Popen(
                [self._program, "-p", self._folder, "-c", self._main],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # So nginx takes over sockets when one program of it follows another.
                env={**os.environ, "NGINX": "".join(f"{fd};" for fd in fds)},
                pass_fds=fds,
            )
        try:
            wait_until(lambda: self._workers_started() > 0 or self._has_ended())
            assert not self._has_ended(), self.log
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    raise
        finally:
            for listener in self._listeners:
                listener.close()

    @property
    def pid(self) -> int:
        """Of the process that started the workers."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What it said so far: errors and notices."""
        logs = (self._log_file(name) for name in ("output", "error"))
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    @property
    def access_log(self) -> str:
        return self._log_file("access").read_text()

    def _log_file(self, kind: str) -> Path:
        return self._logs.with_name(f"{self._logs.name}.{kind}")

    def waiting_bodies(self) -> int:
        """How many bodies of requests it keeps on the disk."""
        return len(list((self._folder / "body").iterdir()))

    def change(self, line: str, replacement: str) -> None:
        """Configure it wrongly, before it starts or is reloaded; ``line`` is there exactly once."""
        file = self._folder / "bits-server.conf"
        configuration = file.read_text()
        assert configuration.count(line) == 1, line
        file.write_text(configuration.replace(line, replacement))

    def reload(self) -> None:
        """Have it read its configuration again; returns when new workers serve."""
        assert self._process is not None
        before = self._workers_started()
        self._process.send_signal(signal.SIGHUP)
        wait_until(lambda: self._workers_started() > before)

    def _workers_started(self) -> int:
        return len(re.findall(r"start worker process \d", self.log))

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None
