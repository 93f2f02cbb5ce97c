"""The one place where concrete classes meet."""

from __future__ import annotations

import grp
import os
from collections.abc import Callable
from dataclasses import fields

from bits_server.notification.http_client import HttpBackEndClient
from bits_server.operations.census import Census
from bits_server.operations.closed_address import ClosedAddress
from bits_server.operations.event_log import EventLog
from bits_server.operations.health import Health
from bits_server.operations.housekeeping import Housekeeper, give_way
from bits_server.operations.metrics import Metrics, shared_folder
from bits_server.operations.metrics_app import MetricsApp
from bits_server.operations.sessions_page.sessions_app import (
    Administrators,
    AtClosedAddress,
    BesideSessions,
    SessionsApp,
)
from bits_server.operations.tls import make_tls_context
from bits_server.sessions.administration import Administration
from bits_server.sessions.cleanup import Cleanup
from bits_server.sessions.manager import SessionManager
from bits_server.sessions.notifying import Notifier
from bits_server.sessions.observer import Observers, SessionObserver
from bits_server.sessions.turns import Turns
from bits_server.settings import (
    Durability,
    Settings,
    SettingsError,
    VirtualDirectory,
)
from bits_server.settings.administrators import login_of
from bits_server.storage.disk import DiskRules
from bits_server.storage.filesystem import FilesystemStore, refuse_other_owner, refuse_unusable
from bits_server.storage.interface import FolderUnusable
from bits_server.storage.limits import Limits
from bits_server.web.application import BitsApplication
from bits_server.web.authentication.making import make_authenticator
from bits_server.web.authentication.throttle import Throttle
from bits_server.web.trusted_proxies import TrustedProxies, WsgiApplication


def create_app(
    settings: Settings, observer: SessionObserver | None = None, *, clean_up: bool = True
) -> WsgiApplication:
    """The server as a WSGI application, for any WSGI server.

    ``observer`` is told of everything that happens to sessions; without one it is logged to the
    logger ``bits_server``. ``clean_up``: remove expired sessions regularly, from a thread of this
    process. With ``metrics_bind``, what comes in there under gunicorn gets metrics and health
    instead. Raises SettingsError where a folder or group cannot be used.
    """
    if not settings.metrics_bind:
        return _uploads(settings, observer or EventLog(), clean_up)
    if settings.metrics_bind.startswith("fd:"):
        raise SettingsError(
            "metrics_bind",
            "a descriptor is for bits-server serve only: name HOST:PORT or unix:PATH",
            table="[server]",
        )
    uploads, metrics = create_apps(settings, observer, clean_up=clean_up)
    try:
        return ClosedAddress(uploads, metrics, settings.metrics_bind)
    except OSError as error:
        raise SettingsError(
            "metrics_bind", f"{settings.metrics_bind!r}: {error}", table="[server]"
        ) from error


def create_apps(
    settings: Settings, observer: SessionObserver | None = None, *, clean_up: bool = True
) -> tuple[WsgiApplication, WsgiApplication]:
    """Two WSGI applications: for the uploads, as ``create_app``, and for metrics and health.

    Serve the second one at an address that clients do not reach. In several processes both count
    together where PROMETHEUS_MULTIPROC_DIR names an empty folder before any of this is imported.
    """
    urls = [directory.url for directory in settings.virtual_directories]
    metrics = Metrics(urls)
    uploads = _uploads(settings, Observers([observer or EventLog(), metrics]), clean_up)
    stores = [
        (directory, _store(directory, _table(number)))
        for number, directory in enumerate(settings.virtual_directories, 1)
    ]
    census = Census(
        {directory.url: store for directory, store in stores}, shared_folder(), pause=give_way
    )
    closed: WsgiApplication = MetricsApp(metrics, census, Health(stores), urls)
    if settings.sessions_page:
        page = SessionsApp(make_administrations(settings), AtClosedAddress())
        closed = BesideSessions(closed, page)
    return uploads, closed


def _uploads(settings: Settings, observer: SessionObserver, clean_up: bool) -> TrustedProxies:
    _check_folders(settings)
    managers, authenticators = [], {}
    turns = Turns(settings.threads)
    throttle = Throttle()
    for number, directory in enumerate(settings.virtual_directories, 1):
        store = _store(directory, _table(number))
        try:
            store.prepare()
        except FolderUnusable as error:
            raise SettingsError("path", str(error), table=_table(number)) from error
        notifier = _notifier(directory, store, turns, observer, _table(number))
        managers.append(SessionManager(directory, store, observer, notifier=notifier))
        authenticators[directory.url] = make_authenticator(directory, throttle, _table(number))
    if clean_up:
        Housekeeper(make_cleanups(settings, observer, pause=give_way)).start()
    application: WsgiApplication = BitsApplication(managers, observer, authenticators)
    login = login_of(settings.administrators, settings.virtual_directories)
    if login is not None:
        authenticator = make_authenticator(login, throttle, "[server]")
        page = SessionsApp(make_administrations(settings), Administrators(authenticator))
        application = BesideSessions(application, page)
    return TrustedProxies(application, settings.trusted_proxies)


def make_cleanups(
    settings: Settings,
    observer: SessionObserver | None = None,
    *,
    session_timeout: float | None = None,
    pause: Callable[[], None] = lambda: None,
) -> list[tuple[Cleanup, float]]:
    """The clean-up of each virtual directory, with its interval in seconds.

    ``observer``: told what expires; None for nobody. ``session_timeout``: seconds, instead of what
    the settings say.
    """
    return [
        (
            Cleanup(
                directory.url,
                _store(directory, _table(number)),
                observer,
                session_timeout=(
                    directory.session_timeout if session_timeout is None else session_timeout
                ),
                pause=pause,
            ),
            directory.cleanup_interval,
        )
        for number, directory in enumerate(settings.virtual_directories, 1)
    ]


def make_administrations(settings: Settings, *, may_change: bool = False) -> list[Administration]:
    """What an operator does with the sessions of each virtual directory, from another process.

    ``may_change``: not only to look. Raises SettingsError where another user's server would find
    files of ours that it may not read.
    """
    administrations = []
    turns = Turns(1)
    for number, directory in enumerate(settings.virtual_directories, 1):
        table = _table(number)
        if may_change:
            try:
                refuse_other_owner(directory.root)
            except FolderUnusable as error:
                raise SettingsError("path", str(error), table=table) from error
        store = _store(directory, table)
        notifier = _notifier(directory, store, turns, None, table)
        administrations.append(Administration(directory, store, notifier))
    return administrations


def check_environment(settings: Settings) -> None:
    """Look at what the settings name on this machine, and change nothing. Raises SettingsError.

    A worker process that begins later looks at the folders only: a file of passwords or keys that
    is being replaced at that moment must not halt a server.
    """
    make_tls_context(settings)
    for number, directory in enumerate(settings.virtual_directories, 1):
        make_authenticator(directory, Throttle(), _table(number), read_files=True)
    _check_folders(settings)


def _check_folders(settings: Settings) -> None:
    real_paths: dict[str, str] = {}
    for number, directory in enumerate(settings.virtual_directories, 1):
        table = _table(number)
        try:
            refuse_unusable(directory.root)
        except FolderUnusable as error:
            raise SettingsError("path", str(error), table=table) from error
        _disk_rules(directory, table)
        _back_end_client(directory, table)
        real_path = os.path.realpath(directory.root).rstrip("/") + "/"
        for other, url in real_paths.items():
            if real_path.startswith(other) or other.startswith(real_path):
                raise SettingsError(
                    "path",
                    f"{directory.root} and the folder of {url!r} overlap; give each its own",
                    table=table,
                )
        real_paths[real_path] = directory.url


def _notifier(
    directory: VirtualDirectory,
    store: FilesystemStore,
    turns: Turns,
    observer: SessionObserver | None,
    table: str,
) -> Notifier | None:
    client = _back_end_client(directory, table)
    if client is None:
        return None
    return Notifier(directory, store, client, turns, observer)


def _back_end_client(directory: VirtualDirectory, table: str) -> HttpBackEndClient | None:
    if not directory.has_application:
        return None
    try:
        return HttpBackEndClient(
            directory.absolute_notification_url,
            timeout=directory.notification_timeout,
            headers=[(header.name, header.value) for header in directory.notification_headers],
            ca_file=directory.notification_ca_file,
            maximum_reply_bytes=directory.maximum_reply_size,
        )
    except OSError as error:
        raise SettingsError(
            "notification_ca_file",
            f"{directory.notification_ca_file} must be a readable file with certificates in PEM "
            f"form: {error}",
            table=table,
        ) from error


def _store(directory: VirtualDirectory, table: str) -> FilesystemStore:
    limits = Limits(**{each.name: getattr(directory, each.name) for each in fields(Limits)})
    return FilesystemStore(
        directory.root,
        _disk_rules(directory, table),
        create_folders=directory.create_folders,
        limits=limits,
    )


def _disk_rules(directory: VirtualDirectory, table: str) -> DiskRules:
    return DiskRules(
        file_mode=directory.file_mode,
        session_mode=directory.session_mode,
        session_group=_group_number(directory.session_group, table),
        sync_on_close=directory.durability is not Durability.NONE,
        sync_each_fragment=directory.durability is Durability.FRAGMENT,
    )


def _group_number(name: str | None, table: str) -> int | None:
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except (KeyError, ValueError) as error:  # ValueError: a NUL in it
        raise SettingsError(
            "session_group", f"this machine has no group {name!r}", table=table
        ) from error


def _table(number: int) -> str:
    return f"[[virtual_directory]] number {number}"
