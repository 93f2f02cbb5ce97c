"""``bits-server serve`` as systemd starts it, on a socket that it is handed, behind nginx."""

from __future__ import annotations

import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from bits_server.operations.settings_file import load_settings
from bits_server.settings import Settings, VirtualDirectory
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.nginx import Nginx
from tests.support.tools import require_tool

# The protocol of systemd: sockets from 3 on, and whom they are for.
_HAND_OVER = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); "
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
    "os.execv(sys.argv[2], sys.argv[2:])"
)


class ProxiedServer(LiveServer):
    """A LiveServer that is reached through ``nginx``; all else is as without."""

    is_proxied = True

    def __init__(
        self,
        folder: Path | None = None,
        *,
        options: Sequence[str] = (),
        command: Sequence[str] | None = None,
        environment: dict[str, str] | None = None,
        log_file: Path,
        certificate: Certificate,
        nginx_user: str = "root",
        scratch: Path | None = None,
    ) -> None:
        """``nginx_user``: whose files nginx may read, where the tests run as root.

        ``scratch``: a folder of nginx's own, for bodies that wait among others.
        """
        require_tool("nginx")
        # Of its own: the path of a socket may have 107 bytes at most.
        self._folder = tempfile.TemporaryDirectory(prefix="bits-")
        self.socket_path = Path(self._folder.name) / "socket"
        super().__init__(
            folder, options=options, command=command, environment=environment, log_file=log_file
        )
        self._command = self._handed_over(self._command)
        self._default = self._handed_over(self._default)
        settings = _settings_of(folder, [*self._command, *(environment or {}).values()])
        self.nginx = Nginx(
            settings,
            self.socket_path,
            scratch or Path(self._folder.name),
            certificate,
            user=nginx_user,
            logs=log_file.with_name("nginx.log"),
        )
        self.address = self.nginx.address

    def __enter__(self) -> ProxiedServer:
        self.nginx.__enter__()
        super().__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                print(self.nginx.log)
            self.nginx.__exit__()
        finally:
            super().__exit__(kind, error, trace)
            self._folder.cleanup()

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.socket_path))
        self.socket_path.parent.chmod(0o711)  # nginx may have another user
        self.socket_path.chmod(0o666)
        listener.listen(512)
        return listener

    def _handed_over(self, command: list[str]) -> list[str]:
        bind = command.index("--bind")
        rest = command[:bind] + command[bind + 2 :]
        return [sys.executable, "-c", _HAND_OVER, str(self._listener.fileno()), *rest]


def _settings_of(folder: Path | None, texts: Sequence[str]) -> Settings:
    files = [text for text in texts if text.endswith(".toml")]
    if files:
        return load_settings(files[0])
    assert folder is not None
    return Settings((VirtualDirectory(url="/upload", path=str(folder)),))
