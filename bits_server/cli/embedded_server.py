"""gunicorn with the settings that a BITS server needs, run from our own command."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click
from gunicorn.app.base import BaseApplication
from gunicorn.config import Config
from gunicorn.sock import create_sockets

from bits_server.cli.greeting import greeting
from bits_server.cli.metrics_folder import MetricsFolder
from bits_server.operations.closed_address import SocketName, bind_of, name_of, names_of
from bits_server.settings import Settings, SettingsError

# A Kerberos Authorization with 64 KB must pass, name and line end included.
HEADER_FIELD_BYTES = (64 << 10) + 1024

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def lose_no_signal(_arbiter: Any) -> None:
    """From now on the processes that this one forks can be told to end from their first moment.

    Between fork and its own set-up a worker of gunicorn has the arbiter's signal handlers, and a
    SIGTERM that comes then is lost: the arbiter would wait for it for all of graceful_timeout.
    """
    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING),
        after_in_child=_end_when_told,
    )


def _end_when_told() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


_metrics_folder = MetricsFolder()


GUNICORN_SETTINGS: dict[str, Any] = {
    "worker_class": "gthread",
    # A BITS client comes back on its connection; longer than nginx keeps one to us (60 s), so that
    # it never sends a packet into a connection that is being closed.
    "keepalive": 75,
    "limit_request_field_size": HEADER_FIELD_BYTES,
    "limit_request_line": 8190,
    "graceful_timeout": 120,  # a fragment under way on a slow line may finish
    "timeout": 60,
    "control_socket_disable": True,
    # The sign of life of a worker is a file; on a slow disk it would stop the worker.
    "worker_tmp_dir": "/dev/shm" if os.path.isdir("/dev/shm") else None,
    "on_starting": lose_no_signal,
    "when_ready": _metrics_folder.when_ready,
    "pre_fork": _metrics_folder.pre_fork,
    "post_fork": _metrics_folder.post_fork,
    "on_exit": _metrics_folder.on_exit,
    # Only our own trusted_proxies says whose word is taken for what the client is and asked for:
    # gunicorn would believe whoever comes from this machine, or through a socket.
    "forwarded_allow_ips": "",
    "secure_scheme_headers": {},
    "forwarder_headers": "",
}


class EmbeddedServer(BaseApplication):  # type: ignore[misc]  # gunicorn brings no types
    """Serves ``make_app(settings)``, made anew in each worker process, until it is told to stop.

    Sockets that systemd hands over (LISTEN_FDS) are taken in place of ``bind``, by gunicorn; one of
    them may be that of ``metrics_bind``. ``make_app`` gets the address that it has become.
    """

    def __init__(self, settings: Settings, make_app: Callable[[Settings], Any]) -> None:
        """Raises SettingsError."""
        self._settings = settings
        self._make_app = make_app
        self._closed_listener: Any = None
        # A descriptor is looked at now: once it has listeners gunicorn closes the originals.
        is_descriptor = settings.metrics_bind.startswith("fd:")
        self._names = _names_of(settings.metrics_bind) if is_descriptor else None
        super().__init__()

    def load_config(self) -> None:
        options = {
            **GUNICORN_SETTINGS,
            "bind": list(self._settings.bind),
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "when_ready": self._get_ready,
            "on_reload": self._open_closed_address,
        }
        if not self._settings.metrics_bind:
            for hook in ("pre_fork", "post_fork", "on_exit", "on_reload"):
                del options[hook]
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._make_app(self._settings)

    def _get_ready(self, arbiter: Any) -> None:
        """Once the sockets listen: only now a port of 0 has become a number."""
        if self._settings.metrics_bind:
            self._open_closed_address(arbiter)
        listeners = [each for each in arbiter.LISTENERS if each is not self._closed_listener]
        if not listeners:
            raise SettingsError(
                "metrics_bind",
                "the only socket that was handed over is this one: none is left for uploads",
                table="[server]",
            )
        if self._settings.metrics_bind:
            _metrics_folder.when_ready(arbiter)
        click.echo(greeting(self._settings, [each.getsockname() for each in listeners]))

    def _open_closed_address(self, arbiter: Any) -> None:
        """Give gunicorn one more listener, unless it is among those that were handed over.

        It cannot just be named in ``bind``: of addresses and descriptors gunicorn takes one kind.
        """
        if self._closed_listener in arbiter.LISTENERS:
            return  # gunicorn was told to reload, and kept its sockets
        names = _names_of(self._settings.metrics_bind) if self._names is None else self._names
        found = [each for each in arbiter.LISTENERS if name_of(each) in names]
        if found and not (arbiter.systemd or arbiter.master_pid):
            raise SettingsError("metrics_bind", "is where uploads come in", table="[server]")
        if not found:
            config = Config()
            config.set("bind", [self._settings.metrics_bind])
            found = create_sockets(config, arbiter.log)
            arbiter.LISTENERS += found
        self._closed_listener = found[0]
        actual = bind_of(self._closed_listener)
        self._settings = replace(self._settings, metrics_bind=actual)
        self._names = [name_of(self._closed_listener)]


def _names_of(bind: str) -> list[SocketName]:
    try:
        return names_of(bind)
    except OSError as error:
        raise SettingsError("metrics_bind", f"{bind!r}: {error}", table="[server]") from error
