"""Settings are frozen values that refuse nonsense, and say what to write instead."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from bits_server.settings import (
    Authentication,
    Checksum,
    Durability,
    LogFormat,
    LogLevel,
    NotificationHeader,
    NotificationType,
    NotifyAt,
    Secret,
    Settings,
    SettingsError,
    VirtualDirectory,
)

UPLOAD = VirtualDirectory("/upload", "/srv/uploads")


def directory(**changes: Any) -> VirtualDirectory:
    return VirtualDirectory(**{"url": "/upload", "path": "/srv/uploads", **changes})


def test_all_but_url_and_path_has_a_default() -> None:
    assert dataclasses.asdict(UPLOAD) == {
        "url": "/upload",
        "path": "/srv/uploads",
        "public_url": None,
        "upload_enabled": True,
        "upload_page": False,
        "allow_overwrites": False,
        "create_folders": False,
        "maximum_upload_size": None,
        "maximum_fragment_size": 64 * 1024 * 1024,
        "file_mode": 0o640,
        "session_mode": 0o600,
        "session_group": None,
        "host_id": "",
        "host_id_fallback_timeout": 86_400,
        "durability": Durability.CLOSE,
        "session_timeout": 1_209_600,
        "cleanup_interval": 12 * 3600,
        "notification_type": NotificationType.NONE,
        "notification_url": "",
        "notify_at": NotifyAt.LAST_FRAGMENT,
        "notification_timeout": 4 * 60 + 30,
        "notification_headers": (),
        "notification_ca_file": None,
        "maximum_reply_size": 1024**3,
        "session_limit": 50,
        "session_limit_per_address": 0,
        "sessions_total": 10_000,
        "minimum_free_space": 0,
        "quota": None,
        "quota_per_user": None,
        "checksum": Checksum.NONE,
        "authentication": (Authentication.ANONYMOUS,),
        "htpasswd_file": None,
        "basic_without_tls": False,
        "allow": ("*",),
        "groups_file": None,
        "user_header": "X-Remote-User",
        "certificate_header": "X-Client-Subject",
        "proxy_secret": None,
        "keytab": None,
        "kerberos_realm": "",
    }


def test_by_default_only_this_machine_is_listened_to() -> None:
    assert Settings((UPLOAD,)).bind == ("127.0.0.1:8080",)
    assert Settings((UPLOAD,)).workers == 2
    assert Settings((UPLOAD,)).threads == 16
    assert Settings((UPLOAD,)).trusted_proxies == ("unix",)
    assert Settings((UPLOAD,)).log_level is LogLevel.INFO
    assert Settings((UPLOAD,)).log_format is LogFormat.HUMAN
    assert Settings((UPLOAD,)).log_file == ""
    assert Settings((UPLOAD,)).tls_certificate == Settings((UPLOAD,)).tls_key == ""


def test_a_log_file_has_an_absolute_path() -> None:
    assert Settings((UPLOAD,), log_file="/var/log/bits-server.log").log_file
    with pytest.raises(SettingsError) as caught:
        Settings((UPLOAD,), log_file="bits-server.log")
    assert (caught.value.table, caught.value.key) == ("[server]", "log_file")


@pytest.mark.parametrize("value", [UPLOAD, Settings((UPLOAD,))])
def test_settings_cannot_be_changed(value: VirtualDirectory | Settings) -> None:
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "/other")


ACCEPTED: dict[str, list[Any]] = {
    "url": ["/", "/a", "/a/b/c", "/a b", "/größe", "/a.b", "/..a", "/a=b&c;d", "/BITS-Sessions2"],
    "path": ["/srv", "/srv/uploads", "/srv/uploads/", "/größe/a b"],
    "public_url": [
        *(None, "http://files", "https://files.example.com/upload", "https://files:8443/u"),
        *("http://[::1]:8080/upload", "HTTPS://FILES/upload", "http://192.0.2.1/"),
    ],
    "maximum_upload_size": [None, 0, 1, 2**63],
    "maximum_fragment_size": [5120, 2**40],
    "file_mode": [0, 0o600, 0o640, 0o666],
    "session_mode": [0o600, 0o660, 0o644],
    "session_group": [None, "www-data"],
    "host_id": ["", "node1", "node1.example:8080", "192.0.2.1:80", "[2001:db8::1]:80", "x" * 300],
    "host_id_fallback_timeout": [1, 2**32 - 1],
    "durability": list(Durability),
    "session_timeout": [3600, 10**9],
    "cleanup_interval": [1, 10**9],
    "notification_type": [NotificationType.NONE],
    "notification_url": ["", "http://127.0.0.1:9000/handle"],
    "notify_at": list(NotifyAt),
    "notification_timeout": [1, 270, 86_400],
    "notification_headers": [(), (NotificationHeader("X-Key", "größe"),)],
    "notification_ca_file": [None, "/etc/ssl/own.pem"],
    "maximum_reply_size": [0, 1, 2**63],
    "session_limit": [0, 50, 10**9],
    "session_limit_per_address": [0, 50],
    "sessions_total": [0, 10**9],
    "minimum_free_space": [0, 2**40],
    "quota": [None, 0, 2**63],
    "quota_per_user": [None, 0, 2**63],
    "checksum": list(Checksum),
    "authentication": [(Authentication.ANONYMOUS,)],
    "htpasswd_file": [None, "/etc/bits-server/users"],
    "allow": [("*",)],
    "groups_file": [None, "/etc/bits-server/groups"],
    "user_header": ["X-Remote-User", "Remote-User", "x"],
    "certificate_header": ["X-Client-Subject", "SSL-Client-Subject-DN"],
    "proxy_secret": [None, Secret("0123456789abcdef"), Secret("!" * 100, "{ env = S }")],
    "keytab": [None, "/etc/bits-server/http.keytab"],
    "kerberos_realm": ["", "EXAMPLE.COM"],
}
REFUSED: dict[str, list[Any]] = {
    "url": [
        *("", "upload", "upload/", "/upload/", "//", "/a//b", "/a/", "http://files/upload"),
        *("/a/../b", "/..", "/a/.", "/.", "/a%20b", "/a?b", "/a#b", "/a\\b", "/a\nb", "/a\x7f"),
        *("/BITS-Sessions", "/a/bits-sessions/b", "/upload\n"),
    ],
    "path": ["", "/", "//", "uploads", "./uploads", "~/uploads", "C:\\uploads", "/srv/{user}"],
    "public_url": [
        *("", "files", "/upload", "//files/upload", "ftp://files/upload", "file:///srv"),
        *("http://", "http:///upload", "http://files/upload?a=b", "http://files/#top"),
        *("http://files:0/", "http://files:65536/", "http://files:x/", "http://[::1"),
    ],
    "maximum_upload_size": [-1],
    "maximum_fragment_size": [5119, 0, -1],
    "file_mode": [-1, 0o1000, 0o755, 0o641, 0o4640, 0o777],
    "session_mode": [-1, 0, 0o400, 0o200, 0o060, 0o700, 0o2660],
    "session_group": [""],
    "host_id": [
        *("x" * 301, "a b", "http://node1", "node1/", "node1:", "node1:port", "node1:123456"),
        *("2001:db8::1", "[node1]", "node1\r\nX: y", "node1\n", "größe", ":80"),
        "node1:65536",
    ],
    "host_id_fallback_timeout": [0, -1, 2**32],
    "session_timeout": [3599, 0, -1],
    "cleanup_interval": [0, -1, 2**32, 10**400],
    "notification_timeout": [0, -1, 86_401],
    "notification_ca_file": ["", "own.pem"],
    "maximum_reply_size": [-1],
    "session_limit": [-1],
    "session_limit_per_address": [-1],
    "sessions_total": [-1],
    "minimum_free_space": [-1],
    "quota": [-1],
    "quota_per_user": [-1],
    "authentication": [
        (),
        (Authentication.ANONYMOUS, Authentication.ANONYMOUS),
        (Authentication.ANONYMOUS, Authentication.BASIC),
    ],
    "htpasswd_file": ["", "users"],
    "allow": [(), ("alice",), ("@staff",), ("*", "alice")],
    "groups_file": ["", "groups"],
    "user_header": ["", "X_Remote_User", "X Y", "Größe", "Authorization", "Host", "X-Proxy-Secret"],
    "certificate_header": ["", "X_Y", "Cookie", "X-Remote-User", "x-remote-user"],
    "proxy_secret": [Secret(""), Secret("0123456789abcde"), Secret("a b" * 20), Secret("ü" * 20)],
    "keytab": ["", "FILE:/etc/http.keytab"],
    "kerberos_realm": ["@EXAMPLE.COM", "a b", "A/B", "EXAMPLE.COM\n"],
}
ACCEPTED_CASES = [(key, value) for key, values in ACCEPTED.items() for value in values]
REFUSED_CASES = [(key, value) for key, values in REFUSED.items() for value in values]


@pytest.mark.parametrize(("key", "value"), ACCEPTED_CASES)
def test_a_value_that_makes_sense_is_kept_as_it_is(key: str, value: Any) -> None:
    assert getattr(directory(**{key: value}), key) == value


@pytest.mark.parametrize(("key", "value"), REFUSED_CASES)
def test_a_value_that_makes_no_sense_is_refused_with_its_key(key: str, value: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        directory(**{key: value})
    assert caught.value.key == key
    assert "must" in caught.value.problem, "it says what to write instead"


def test_every_key_but_the_truth_values_is_tried_with_something_refused() -> None:
    fields = {field.name: field.type for field in dataclasses.fields(VirtualDirectory)}
    assert {name for name, kind in fields.items() if kind != "bool"} == ACCEPTED.keys()
    elsewhere = {"durability", "notification_type", "notification_url", "notify_at", "checksum"}
    assert ACCEPTED.keys() - REFUSED.keys() == elsewhere | {"notification_headers"}


@pytest.mark.parametrize("kind", [NotificationType.BY_REFERENCE, NotificationType.BY_VALUE])
@pytest.mark.parametrize(
    "url",
    [
        *("", "handle", "/handle", "//host/handle", "ftp://host/", "http://", "http:///handle"),
        *("http://host:0/", "http://host:x/", "http://[::1", "http://host/a b", "http://host/#top"),
        *("http://größe/", "http://user:secret@host/", "http://host/" + "x" * 2189),
    ],
)
def test_nobody_is_told_at_a_url_that_is_none(kind: NotificationType, url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        directory(notification_type=kind, notification_url=url)
    assert caught.value.key == "notification_url"
    assert "secret" not in caught.value.problem


@pytest.mark.parametrize("key", ["public_url", "notification_url"])
@pytest.mark.parametrize(
    "url", ["http://me:pAssw0rd@files/upload", "ftp://pAssw0rd@files", "//x:pAssw0rd@files:x/y"]
)
def test_a_url_has_no_credentials_and_none_are_repeated(key: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"{key}: must have no credentials") as caught:
        directory(**{"notification_type": NotificationType.BY_VALUE, key: url})
    assert "pAssw0rd" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "absolute"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000"),
        ("HTTPS://[::1]/handle?a=b", "https://[::1]/handle?a=b"),
        ("handle.aspx?a=b", "https://files/upload/handle.aspx?a=b"),
        ("../handle", "https://files/handle"),
        ("/handle", "https://files/handle"),
        ("http://host/" + "x" * 2188, "http://host/" + "x" * 2188),
    ],
)
@pytest.mark.parametrize("public_url", ["https://files/upload", "https://files/upload/"])
def test_a_relative_notification_url_is_resolved_against_the_public_one(
    url: str, absolute: str, public_url: str
) -> None:
    made = directory(
        notification_type=NotificationType.BY_VALUE, notification_url=url, public_url=public_url
    )
    assert made.has_application
    assert made.absolute_notification_url == absolute


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("", "x"), ("X Key", "x"), ("X-Key:", "x"), ("Größe", "x"), ("X-Key\n", "x")),
        *(("X-Key", "a\r\nX: y"), ("X-Key", "\0"), ("X-Key", "\u20ac")),
        *(("Host", "x"), ("content-length", "5"), ("BITS-Session-Id", "x"), ("Connection", "x")),
    ],
)
def test_a_header_that_cannot_be_sent_is_refused_without_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        directory(notification_headers=(NotificationHeader(name, value),))
    assert caught.value.key == "notification_headers"
    assert repr(value) not in caught.value.problem


def test_the_value_of_a_header_is_not_in_what_is_printed() -> None:
    made = directory(notification_headers=(NotificationHeader("X-Key", "hidden-word"),))
    assert "X-Key" in repr(made)
    assert "hidden-word" not in repr(made)


def test_a_path_that_goes_into_a_header_has_no_line_end() -> None:
    with pytest.raises(SettingsError) as caught:
        directory(
            path="/srv/a\nb",
            notification_type=NotificationType.BY_REFERENCE,
            notification_url="http://127.0.0.1:9000/",
        )
    assert caught.value.key == "path"


@pytest.mark.parametrize("proxy", ["unix", "127.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"])
def test_a_proxy_is_trusted_by_address_network_or_socket(proxy: str) -> None:
    assert Settings((UPLOAD,), trusted_proxies=(proxy,)).trusted_proxies == (proxy,)


@pytest.mark.parametrize("proxy", ["", "localhost", "10.0.0.1/8", "*", "unix:/run/x", "300.1.1.1"])
def test_what_is_no_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings((UPLOAD,), trusted_proxies=("unix", proxy))
    assert (caught.value.table, caught.value.key) == ("[server]", "trusted_proxies")


@pytest.mark.parametrize(
    "public_url",
    [
        "https://fi les/upload",
        " https://files/upload",
        "https://files/\r\nup: load",
        "https://files/größe",
    ],
)
def test_a_public_url_has_no_white_space(public_url: str) -> None:
    with pytest.raises(SettingsError):
        directory(public_url=public_url)


def test_a_url_from_a_command_line_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(SettingsError):
        directory(url=b"/\xff".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1:8080", "0.0.0.0:80", "localhost:0", ":8080", "[::]:8080", "[::1]:65535"),
        *("unix:/run/bits-server/socket", "unix:socket", "fd://3"),
    ],
)
def test_an_address_to_listen_on_is_taken(address: str) -> None:
    assert Settings((UPLOAD,), bind=(address, "fd://0")).bind == (address, "fd://0")


@pytest.mark.parametrize(
    "address",
    [
        *("", "8080", "localhost", "localhost:", "localhost:http", "127.0.0.1:123456", "::1:80"),
        *("http://127.0.0.1:80", "unix:", "fd://", "fd://x", "a b:80", "127.0.0.1:\u0661"),
    ],
)
def test_what_is_no_address_to_listen_on_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^\[server\]: bind: .*HOST:PORT") as caught:
        Settings((UPLOAD,), bind=("127.0.0.1:8080", address))
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "[::1]:99999"])
def test_a_port_that_cannot_be_is_refused(address: str) -> None:
    with pytest.raises(SettingsError):
        Settings((UPLOAD,), bind=(address,))


@pytest.mark.parametrize(
    "address", ["", "127.0.0.1:9108", "[::1]:0", "unix:/run/metrics", "fd://4"]
)
def test_metrics_have_an_address_of_their_own_or_none(address: str) -> None:
    assert Settings((UPLOAD,), metrics_bind=address).metrics_bind == address


@pytest.mark.parametrize("address", ["9108", "http://127.0.0.1:9108", "127.0.0.1:65536", "fd://"])
def test_what_is_no_address_for_metrics_is_refused(address: str) -> None:
    with pytest.raises(SettingsError, match=r"^\[server\]: metrics_bind: .*HOST:PORT"):
        Settings((UPLOAD,), metrics_bind=address)


def test_metrics_where_uploads_come_in_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"^\[server\]: metrics_bind: .*uploads come in"):
        Settings((UPLOAD,), bind=(":80", "unix:/run/s"), metrics_bind="unix:/run/s")


def test_no_address_at_all_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^\[server\]: bind: "):
        Settings((UPLOAD,), bind=())


@pytest.mark.parametrize("key", ["workers", "threads"])
def test_workers_and_threads_are_between_1_and_1024(key: str) -> None:
    for number in (1, 1024):
        assert getattr(Settings((UPLOAD,), **{key: number}), key) == number  # type: ignore[arg-type]
    for number in (0, -1, 1025):
        with pytest.raises(SettingsError, match=rf"^\[server\]: {key}: "):
            Settings((UPLOAD,), **{key: number})  # type: ignore[arg-type]


def test_a_server_without_a_virtual_directory_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^\[\[virtual_directory\]\]: at least one"):
        Settings(())


def test_a_url_that_is_used_twice_is_refused_and_named() -> None:
    twice = (directory(url="/a"), directory(url="/b"), directory(url="/a", path="/other"))
    with pytest.raises(SettingsError, match="'/a' is used twice") as caught:
        Settings(twice)
    assert caught.value.key == "url"


def test_a_url_may_be_below_another_and_differ_in_case() -> None:
    urls = ("/", "/a", "/a/b", "/A")
    assert len(Settings(tuple(directory(url=url) for url in urls)).virtual_directories) == 4


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SettingsError("url", "is wrong"), "url: is wrong"),
        (SettingsError("url", "is wrong", table="[defaults]"), "[defaults]: url: is wrong"),
        (SettingsError("url", "is wrong", table="[a]", file="f"), "f: [a]: url: is wrong"),
        (SettingsError("", "cannot be read", file="f.toml"), "f.toml: cannot be read"),
    ],
)
def test_an_error_says_file_table_key_and_problem_as_far_as_they_are_known(
    error: SettingsError, text: str
) -> None:
    assert str(error) == text


def test_an_error_learns_where_it_was_from_whoever_knows() -> None:
    error = SettingsError("url", "is wrong")
    error.table, error.file = "[defaults]", "f.toml"
    assert str(error) == "f.toml: [defaults]: url: is wrong"
    assert isinstance(error, ValueError)
