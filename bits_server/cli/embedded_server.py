"""gunicorn with the settings that a BITS server needs, run from our own command."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import click
from gunicorn.app.base import BaseApplication

from bits_server.cli.greeting import greeting
from bits_server.cli.metrics_folder import MetricsFolder
from bits_server.cli.metrics_listener import MetricsListener
from bits_server.operations.log_setup import log_as_set
from bits_server.operations.tls import make_tls_context, warn_of_expiry
from bits_server.settings import Settings, SettingsError

# A Kerberos Authorization with 64 KB must pass, name and line end included.
HEADER_FIELD_BYTES = (64 << 10) + 1024

_log = logging.getLogger("bits_server")

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


def prepare_to_fork(arbiter: Any) -> None:
    """Once, before there is any other process."""
    lose_no_signal(arbiter)
    # What is loaded by now stays to the end, here and in the workers. To look for garbage in it is
    # half of the time that ending takes, and has each worker copy memory that it shares.
    gc.freeze()


def _end_when_told() -> None:
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


_metrics_folder = MetricsFolder()


GUNICORN_SETTINGS: dict[str, Any] = {
    "worker_class": "bits_server.cli.worker.BitsWorker",
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
    "on_starting": prepare_to_fork,
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

    SIGHUP reads the settings again, here in the master: where they cannot be used the last good
    ones stay, while gunicorn by itself would halt, because its new workers cannot start.

    Sockets that systemd hands over (LISTEN_FDS) are taken in place of ``bind``, by gunicorn; one of
    them may be that of ``metrics_bind``. ``make_app`` gets the address that it has become.
    """

    def __init__(
        self,
        settings: Settings,
        make_app: Callable[[Settings], Any],
        read_settings: Callable[[], Settings],
    ) -> None:
        """``read_settings``: looks at them and at this machine again; raises SettingsError."""
        self._settings = settings
        self._make_app = make_app
        self._read_settings = read_settings
        self._has_begun = False
        self._metrics = MetricsListener(settings.metrics_bind)
        self._tls: ssl.SSLContext | None = None
        super().__init__()

    def load_config(self) -> None:
        """At the beginning, and again after each SIGHUP."""
        if self._has_begun:
            self._read_anew()
        else:
            self._tls = make_tls_context(self._settings)
        if self._tls is not None:
            warn_of_expiry(self._settings, self._tls)
        self._has_begun = True
        options = {
            **GUNICORN_SETTINGS,
            "bind": list(self._settings.bind),
            "workers": self._settings.workers,
            "threads": self._settings.threads,
            "when_ready": self._get_ready,
            "on_reload": self._open_metrics,
        }
        if not self._settings.metrics_bind:
            for hook in ("pre_fork", "post_fork", "on_exit"):
                del options[hook]
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._make_app(self._settings)

    def tls_for(self, connection: socket.socket) -> ssl.SSLContext | None:
        """What the worker is to speak TLS with on a connection; None: as it comes.

        The key was read in the master: a worker may not be able to. A unix socket is for nginx,
        and the closed address for those who are on this machine anyway.
        """
        if self._tls is None or connection.family == socket.AF_UNIX:
            return None
        return None if self._metrics.is_where(connection) else self._tls

    def _read_anew(self) -> None:
        try:
            # Where metrics are told stays as it is until the next start.
            settings = replace(self._read_settings(), metrics_bind=self._metrics.bind)
            tls = make_tls_context(settings)
            log_as_set(settings)
        except SettingsError as error:
            _log.error("SIGHUP: the settings stay as they were: %s", error)
            return
        self._settings, self._tls = settings, tls
        _log.info("SIGHUP: the settings were read again")

    def _get_ready(self, arbiter: Any) -> None:
        """Once the sockets listen: only now a port of 0 has become a number."""
        addresses = [each.getsockname() for each in self._open_metrics(arbiter)]
        if self._settings.metrics_bind:
            _metrics_folder.when_ready(arbiter)
        click.echo(greeting(self._settings, addresses))

    def _open_metrics(self, arbiter: Any) -> list[Any]:
        """The listeners for uploads, when there is the other one too. Raises SettingsError."""
        others = self._metrics.open_beside(arbiter)
        self._settings = replace(self._settings, metrics_bind=self._metrics.bind)
        return others
