"""The settings as frozen values that refuse nonsense.

Names follow the IIS properties. Units: sizes in bytes, durations in seconds, modes as numbers.
Where the values come from (a file, a command line, a program that embeds us) is not known here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bits_server.settings.addresses import (
    UNIX,
    check_bind,
    check_proxy,
    check_public_url,
    check_tls,
    check_url,
    is_host,
)
from bits_server.settings.administrators import check_sessions_page
from bits_server.settings.authentication import (
    EVERYONE,
    Authentication,
    Secret,
    check_authentication,
    check_proxy_identity,
    home_of,
    root_of,
)
from bits_server.settings.choices import Checksum, Durability, LogFormat, LogLevel
from bits_server.settings.notification import (
    NotificationHeader,
    NotificationType,
    NotifyAt,
    check_header,
    check_notification_url,
    resolve,
)
from bits_server.settings.refusals import SettingsError, require

__all__ = [
    "UNIX",
    "Authentication",
    "Checksum",
    "Durability",
    "LogFormat",
    "LogLevel",
    "NotificationHeader",
    "NotificationType",
    "NotifyAt",
    "Secret",
    "Settings",
    "SettingsError",
    "VirtualDirectory",
]

LONGEST_HOST_ID = 300  # [MC-BUP] 2.2.3, BITS-Host-Id
MINIMUM_FRAGMENT_BYTES = 5 * 1024  # a Windows client sends no smaller ones [MC-BUP] 3.1.5.2.4
DAY = 86_400
MINIMUM_SESSION_TIMEOUT = 3_600

_COUNTS = (
    *("maximum_upload_size", "session_limit", "session_limit_per_address", "sessions_total"),
    *("minimum_free_space", "quota", "quota_per_user"),
)


@dataclass(frozen=True, slots=True)
class VirtualDirectory:
    """A URL prefix that accepts uploads, mapped to a folder.

    Raises SettingsError where a value makes no sense by itself; whether the folder is there and
    can be written is looked at when the server starts.
    """

    url: str
    path: str
    public_url: str | None = None
    upload_enabled: bool = True
    upload_page: bool = False
    allow_overwrites: bool = False
    create_folders: bool = False
    maximum_upload_size: int | None = None
    maximum_fragment_size: int = 64 << 20
    file_mode: int = 0o640
    session_mode: int = 0o600
    session_group: str | None = None
    host_id: str = ""
    host_id_fallback_timeout: int = DAY
    durability: Durability = Durability.CLOSE
    session_timeout: int = 14 * DAY
    cleanup_interval: int = DAY // 2
    notification_type: NotificationType = NotificationType.NONE
    notification_url: str = ""
    notify_at: NotifyAt = NotifyAt.LAST_FRAGMENT
    notification_timeout: int = 270  # the client itself gives up after 5 minutes
    notification_headers: tuple[NotificationHeader, ...] = ()
    notification_ca_file: str | None = None
    maximum_reply_size: int = 1 << 30
    session_limit: int = 50
    session_limit_per_address: int = 0
    sessions_total: int = 10_000
    minimum_free_space: int = 0
    quota: int | None = None
    quota_per_user: int | None = None
    checksum: Checksum = Checksum.NONE
    authentication: tuple[Authentication, ...] = (Authentication.ANONYMOUS,)
    htpasswd_file: str | None = None
    basic_without_tls: bool = False
    allow: tuple[str, ...] = (EVERYONE,)
    groups_file: str | None = None
    user_header: str = "X-Remote-User"
    certificate_header: str = "X-Client-Subject"
    proxy_secret: Secret | None = None
    keytab: str | None = None
    kerberos_realm: str = ""

    def __post_init__(self) -> None:
        check_url(self.url)
        require(self.path.startswith("/"), "path", "must be an absolute path, starting with /")
        require(
            root_of(self.path).strip("/") != "",
            "path",
            "must not be the root of the file system, where uploads could replace anything",
        )
        if self.public_url is not None:
            check_public_url(self.public_url)
        require(
            self.maximum_fragment_size >= MINIMUM_FRAGMENT_BYTES,
            "maximum_fragment_size",
            f"must be at least {MINIMUM_FRAGMENT_BYTES} bytes: "
            "Windows clients do not send smaller fragments",
        )
        _check_mode("file_mode", self.file_mode)
        _check_mode("session_mode", self.session_mode)
        require(
            self.session_mode & 0o600 == 0o600,
            "session_mode",
            "must let the server itself read and write: 06xx",
        )
        require(self.session_group != "", "session_group", "must name a group, or be left out")
        if self.host_id:
            require(
                len(self.host_id) <= LONGEST_HOST_ID and is_host(self.host_id),
                "host_id",
                f"must be a host or host:port of at most {LONGEST_HOST_ID} characters",
            )
        require(
            0 < self.host_id_fallback_timeout < 2**32,
            "host_id_fallback_timeout",
            "must be between 1 s and 2^32 s",
        )
        require(
            self.session_timeout >= MINIMUM_SESSION_TIMEOUT,
            "session_timeout",
            "must be at least 1h: a client waits for minutes between two tries",
        )
        require(
            1 <= self.cleanup_interval < 2**32,
            "cleanup_interval",
            "must be between 1 s and 2^32 s",
        )
        for key in _COUNTS:
            value = getattr(self, key)
            require(value is None or value >= 0, key, "must not be negative")
        self._check_notification()
        check_authentication(
            self.authentication,
            path=self.path,
            htpasswd_file=self.htpasswd_file,
            allow=self.allow,
            groups_file=self.groups_file,
            keytab=self.keytab,
            kerberos_realm=self.kerberos_realm,
        )
        check_proxy_identity(self.user_header, self.certificate_header, self.proxy_secret)

    @property
    def root(self) -> str:
        """The folder that all users share, with the sessions: ``path`` up to ``{user}``."""
        return root_of(self.path)

    def home_of(self, user: str) -> tuple[str, ...]:
        """The folders below ``root`` that are the user's own; none where all share one."""
        return home_of(self.path, user)

    @property
    def has_application(self) -> bool:
        """Whether a server application is told of complete uploads."""
        return self.notification_type is not NotificationType.NONE

    @property
    def absolute_notification_url(self) -> str:
        """``notification_url``; a relative one is resolved against ``public_url``."""
        return resolve(self.notification_url, self.public_url)

    def _check_notification(self) -> None:
        if self.has_application:
            check_notification_url(self.notification_url, self.public_url)
        require(
            self.notification_type is not NotificationType.BY_REFERENCE
            or not re.search(r"[\x00-\x1f\x7f]", self.path),
            "path",
            "must have no control characters: it is sent to the server application in a header",
        )
        require(
            1 <= self.notification_timeout <= DAY,
            "notification_timeout",
            "must be between 1 s and 1 d; a client waits for 5 min",
        )
        for header in self.notification_headers:
            check_header(header)
        require(
            self.notification_ca_file is None or self.notification_ca_file.startswith("/"),
            "notification_ca_file",
            "must be an absolute path, starting with /",
        )
        require(self.maximum_reply_size >= 0, "maximum_reply_size", "must not be negative")


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole server. ``bind``, ``workers``, ``tls_certificate`` and ``tls_key`` matter to
    ``bits-server serve`` only.

    ``metrics_bind``: the address of metrics and health; empty: nothing is counted.
    ``sessions_page``: show the page of the sessions there, to everybody. ``administrators``: users,
    and groups as ``@name``, who see it at the address of the uploads.
    ``trusted_proxies``: whose X-Forwarded-* are believed: IP addresses, networks, or ``unix``.
    """

    virtual_directories: tuple[VirtualDirectory, ...]
    bind: tuple[str, ...] = ("127.0.0.1:8080",)
    workers: int = 2
    threads: int = 16
    trusted_proxies: tuple[str, ...] = (UNIX,)
    tls_certificate: str = ""
    tls_key: str = ""
    metrics_bind: str = ""
    sessions_page: bool = False
    administrators: tuple[str, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.HUMAN
    log_file: str = ""

    def __post_init__(self) -> None:
        if not self.virtual_directories:
            raise SettingsError(
                "[[virtual_directory]]", "at least one is needed: add one with url and path"
            )
        require(bool(self.bind), "bind", "must name at least one address", table="[server]")
        for address in self.bind:
            check_bind("bind", address)
        if self.metrics_bind:
            check_bind("metrics_bind", self.metrics_bind)
        require(
            self.metrics_bind not in self.bind,
            "metrics_bind",
            f"{self.metrics_bind!r} is where uploads come in: name an address that is closed to "
            "clients",
            table="[server]",
        )
        for key, value in (("workers", self.workers), ("threads", self.threads)):
            require(1 <= value <= 1024, key, "must be between 1 and 1024", table="[server]")
        require(
            self.log_file == "" or self.log_file.startswith("/"),
            "log_file",
            "must be an absolute path, starting with /, or empty for standard error",
            table="[server]",
        )
        check_tls(self.tls_certificate, self.tls_key)
        for proxy in self.trusted_proxies:
            check_proxy(proxy)
        urls = [directory.url for directory in self.virtual_directories]
        for url in urls:
            if urls.count(url) > 1:
                raise SettingsError(
                    "url",
                    f"{url!r} is used twice; give each its own",
                    table="[[virtual_directory]]",
                )
        check_sessions_page(
            self.administrators,
            self.virtual_directories,
            sessions_page=self.sessions_page,
            metrics_bind=self.metrics_bind,
        )


def _check_mode(key: str, mode: int) -> None:
    require(
        0 <= mode <= 0o777 and mode & 0o111 == 0,
        key,
        f"{mode:#o} must be the mode of a file, between 0000 and 0666, without execute bits",
    )
