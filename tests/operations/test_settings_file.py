"""The settings file: read, printed again, and each mistake named by file, table and key."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bits_server.operations.settings_file import (
    DIRECTORY_KEYS,
    ENVIRONMENT_VARIABLE,
    SERVER_KEYS,
    file_named_by_environment,
    load_settings,
    settings_from,
    show_settings,
)
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

SHIPPED = Path(__file__).parents[2] / "config" / "bits_server.toml"
DAY = 86_400
SECRET_TEXT = "0123456789-secret"
NEEDED = '[[virtual_directory]]\nurl = "/upload"\npath = "/srv/uploads"\n'

characters = st.characters(exclude_categories=["Cs"])
texts = st.text(characters, max_size=20)
segments = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\?#%"), min_size=1
).filter(lambda segment: segment not in (".", "..") and segment.casefold() != "bits-sessions")
urls = st.just("/") | st.lists(segments, min_size=1, max_size=3).map(lambda s: "/" + "/".join(s))
sizes = st.integers(0, 10**18 - 1) | st.integers(0, 2**20).map(lambda count: count << 20)

anonymous_directories = st.builds(
    VirtualDirectory,
    url=urls,
    path=texts.map(lambda text: "/srv" + text),
    public_url=st.none() | st.sampled_from(["http://files", "https://[::1]:8443/gr%C3%B6%C3%9Fe"]),
    upload_enabled=st.booleans(),
    upload_page=st.booleans(),
    allow_overwrites=st.booleans(),
    create_folders=st.booleans(),
    maximum_upload_size=st.none() | sizes,
    maximum_fragment_size=sizes.map(lambda size: max(size, 5120)),
    file_mode=st.integers(0, 0o666).map(lambda mode: mode & 0o666),
    session_mode=st.integers(0, 0o666).map(lambda mode: mode & 0o666 | 0o600),
    session_group=st.none() | texts.filter(bool),
    host_id=st.just("") | st.from_regex(r"\A[a-z0-9.-]{1,20}(:[0-9]{1,4})?\Z"),
    host_id_fallback_timeout=st.integers(1, 2**32 - 1),
    durability=st.sampled_from(Durability),
    session_timeout=st.integers(3600, 10**9),
    cleanup_interval=st.integers(1, 10**9),
    notify_at=st.sampled_from(NotifyAt),
    notification_timeout=st.integers(1, DAY),
    notification_ca_file=st.none() | texts.map(lambda text: "/" + text),
    maximum_reply_size=sizes,
    session_limit=st.integers(0, 10**6),
    session_limit_per_address=st.integers(0, 10**6),
    sessions_total=st.integers(0, 10**6),
    minimum_free_space=sizes,
    quota=st.none() | sizes,
    quota_per_user=st.none() | sizes,
    checksum=st.sampled_from(Checksum),
)
authentications = st.fixed_dictionaries(
    {
        "authentication": st.permutations((Authentication.BASIC, Authentication.NEGOTIATE)).map(
            tuple
        ),
        "keytab": texts.map(lambda text: "/" + text),
        "kerberos_realm": st.sampled_from(["", "EXAMPLE.COM"]),
        "htpasswd_file": texts.map(lambda text: "/" + text),
        "basic_without_tls": st.booleans(),
        "allow": st.lists(texts.filter(lambda text: text not in ("", "@")), min_size=1).map(tuple),
        "groups_file": texts.map(lambda text: "/" + text),
    }
)
directories = st.builds(
    lambda directory, changes: replace(directory, **changes),
    anonymous_directories,
    st.just({}) | authentications,
)
any_settings = st.builds(
    Settings,
    st.lists(directories, min_size=1, max_size=3, unique_by=lambda each: each.url).map(tuple),
    bind=st.lists(
        st.sampled_from(["127.0.0.1:0", "[::]:80", "fd://3"])
        | texts.filter(lambda text: text and not {"\n", "\0"} & {*text}).map(
            lambda text: f"unix:{text}"
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
    workers=st.integers(1, 1024),
    threads=st.integers(1, 1024),
    metrics_bind=st.sampled_from(["", "127.0.0.1:9108", "unix:/run/bits-server/metrics"]),
    administrators=st.just(()),
    log_level=st.sampled_from(LogLevel),
    log_format=st.sampled_from(LogFormat),
    log_file=st.just("") | texts.map(lambda text: "/" + text),
)


def load(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_bytes(text.encode())
    return load_settings(str(file))


@settings(deadline=None)
@given(any_settings)
def test_what_is_shown_is_loaded_to_the_same_settings(
    tmp_path_factory: pytest.TempPathFactory, shown: Settings
) -> None:
    file = tmp_path_factory.getbasetemp() / "shown.toml"
    file.write_bytes(show_settings(shown).encode())
    assert load_settings(str(file)) == shown


def test_a_limit_of_2_63_minus_1_bytes_can_be_shown_and_loaded(tmp_path: Path) -> None:
    loaded = load(tmp_path, NEEDED + f"maximum_upload_size = {2**63 - 1}\n")
    assert load(tmp_path, show_settings(loaded)) == loaded


def test_a_timeout_of_any_length_can_be_shown_and_loaded(tmp_path: Path) -> None:
    loaded = load(tmp_path, NEEDED + f"session_timeout = {10**9 * DAY}\n")
    assert load(tmp_path, show_settings(loaded)) == loaded


def test_every_key_with_a_value_is_shown_once(tmp_path: Path) -> None:
    shown = show_settings(load(tmp_path, NEEDED))
    names = re.findall(r"^(\w+) = ", shown, re.MULTILINE)
    assert set(names) == {*SERVER_KEYS, *DIRECTORY_KEYS} - {
        *("public_url", "session_group", "notification_ca_file"),
        *("htpasswd_file", "groups_file", "proxy_secret", "keytab"),
    }
    assert len(names) == len(set(names))


def test_a_file_with_what_is_needed_has_the_defaults(tmp_path: Path) -> None:
    expected = Settings((VirtualDirectory("/upload", "/srv/uploads"),))
    assert load(tmp_path, NEEDED) == expected
    assert load(tmp_path, "[server]\n[defaults]\n" + NEEDED) == expected


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ('public_url = "https://files/u"', "https://files/u"),
        ("upload_enabled = false", False),
        ("allow_overwrites = true", True),
        ("create_folders = true", True),
        ('maximum_upload_size = "4GiB"', 4 << 30),
        ("maximum_upload_size = 1000", 1000),
        ('maximum_upload_size = "none"', None),
        ('maximum_fragment_size = "1 MiB"', 1 << 20),
        ("maximum_fragment_size = 5120", 5120),
        ('file_mode = "0644"', 0o644),
        ('session_mode = "0660"', 0o660),
        ('session_group = "staff"', "staff"),
        ('host_id = "node1:80"', "node1:80"),
        ('host_id_fallback_timeout = "1h30min"', 5400),
        ("host_id_fallback_timeout = 5400", 5400),
        ('durability = "fragment"', Durability.FRAGMENT),
        ('durability = "none"', Durability.NONE),
        ('session_timeout = "3d"', 3 * DAY),
        ('cleanup_interval = "1min"', 60),
        ('notify_at = "close"', NotifyAt.CLOSE),
        ('notification_type = "none"', NotificationType.NONE),
        ('notification_url = "http://host/"', "http://host/"),
        ('notification_timeout = "1min"', 60),
        ('notification_ca_file = "/etc/own.pem"', "/etc/own.pem"),
        ('maximum_reply_size = "1MiB"', 1 << 20),
        ("session_limit = 5", 5),
        ("session_limit_per_address = 5", 5),
        ("sessions_total = 0", 0),
        ('minimum_free_space = "1GiB"', 1 << 30),
        ('quota = "1TiB"', 1 << 40),
        ('quota_per_user = "none"', None),
        ('checksum = "sha256"', Checksum.SHA256),
        ('authentication = ["anonymous"]', (Authentication.ANONYMOUS,)),
        ('htpasswd_file = "/etc/users"', "/etc/users"),
        ("basic_without_tls = true", True),
        ('allow = ["*"]', ("*",)),
        ('groups_file = "/etc/groups"', "/etc/groups"),
        ('user_header = "Remote-User"', "Remote-User"),
        ('certificate_header = "DN"', "DN"),
        (f'proxy_secret = "{SECRET_TEXT}"', Secret(SECRET_TEXT)),
        ('keytab = "/etc/http.keytab"', "/etc/http.keytab"),
        ('kerberos_realm = "EXAMPLE.COM"', "EXAMPLE.COM"),
        ("notification_headers = {}", ()),
        ('notification_headers = { X-Key = "x" }', (NotificationHeader("X-Key", "x"),)),
    ],
)
def test_a_key_is_read(tmp_path: Path, line: str, value: object) -> None:
    loaded = load(tmp_path, NEEDED + line).virtual_directories[0]
    assert getattr(loaded, line.partition(" = ")[0]) == value


def test_the_server_table_is_read(tmp_path: Path) -> None:
    text = (
        '[server]\nbind = ["[::]:80", "unix:/run/s"]\nworkers = 4\nthreads = 8\n'
        'trusted_proxies = ["127.0.0.1"]\nmetrics_bind = "fd://4"\n'
        'sessions_page = true\nadministrators = ["alice", "@staff"]\n'
        'log_level = "debug"\nlog_format = "json"\n'
        'log_file = "/var/log/bits"\ntls_certificate = "/etc/c"\ntls_key = "/etc/k"\n'
        + NEEDED
        + 'authentication = ["header"]\ngroups_file = "/etc/groups"\n'
    )
    loaded = load(tmp_path, text)
    assert (loaded.bind, loaded.workers, loaded.threads) == (("[::]:80", "unix:/run/s"), 4, 8)
    assert (loaded.trusted_proxies, loaded.metrics_bind) == (("127.0.0.1",), "fd://4")
    assert (loaded.log_level, loaded.log_format) == (LogLevel.DEBUG, LogFormat.JSON)
    assert loaded.log_file == "/var/log/bits"
    assert (loaded.tls_certificate, loaded.tls_key) == ("/etc/c", "/etc/k")
    assert (loaded.sessions_page, loaded.administrators) == (True, ("alice", "@staff"))


class TestTheSecretOfTheProxy:
    def test_it_comes_from_elsewhere_and_is_never_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITS_TEST_SECRET", SECRET_TEXT)
        (tmp_path / "secret").write_text(SECRET_TEXT + "\n")
        for source in ('{ env = "BITS_TEST_SECRET" }', f'{{ file = "{tmp_path}/secret" }}'):
            loaded = load(tmp_path, NEEDED + f"proxy_secret = {source}\n")
            secret = loaded.virtual_directories[0].proxy_secret
            assert secret is not None
            assert secret.value == SECRET_TEXT
            shown = show_settings(loaded)
            assert f"proxy_secret = {source}\n" in shown
            assert SECRET_TEXT not in shown + repr(loaded)
            assert load(tmp_path, shown) == loaded
        loaded = load(tmp_path, NEEDED + f'proxy_secret = "{SECRET_TEXT}"\n')
        assert 'proxy_secret = "(not shown)"' in show_settings(loaded)

    @pytest.mark.parametrize("value", ["5", '{ env = "BITS_NOT_SET" }', '"short secret"', "[]"])
    def test_a_mistake_is_named_without_it(self, tmp_path: Path, value: str) -> None:
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, NEEDED + f"proxy_secret = {value}\n")
        assert caught.value.key == "proxy_secret"
        assert "short secret" not in str(caught.value)


class TestNotificationHeaders:
    ENVIRONMENT = NEEDED + 'notification_headers = { X-Key = { env = "BITS_TEST_KEY" } }\n'

    def test_a_value_comes_from_the_environment_and_is_not_shown(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BITS_TEST_KEY", "hidden-word")
        loaded = load(tmp_path, self.ENVIRONMENT)
        assert loaded.virtual_directories[0].notification_headers[0].value == "hidden-word"
        assert "hidden-word" not in show_settings(loaded) + repr(loaded)
        assert load(tmp_path, show_settings(loaded)) == loaded

    def test_a_value_comes_from_a_file_without_its_line_end_and_is_not_shown(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "key").write_bytes(b"Bearer hidden-word\r\n")
        field = f'Authorization = {{ file = "{tmp_path}/key" }}'
        loaded = load(tmp_path, NEEDED + f"notification_headers = {{ {field} }}\n")
        assert loaded.virtual_directories[0].notification_headers[0].value == "Bearer hidden-word"
        assert "hidden-word" not in show_settings(loaded) + repr(loaded)
        assert load(tmp_path, show_settings(loaded)) == loaded

    def test_a_value_that_stands_in_the_file_is_not_shown_either(self, tmp_path: Path) -> None:
        loaded = load(tmp_path, NEEDED + 'notification_headers = { X-Key = "secret" }\n')
        assert 'notification_headers = { "X-Key" = "(not shown)" }' in show_settings(loaded)

    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            ('"secret"', "must be a table"),
            ("{ X-Key = 5 }", 'X-Key must be a text, { env = "NAME" } or { file = "/path" }'),
            ('{ X-Key = { value = "secret" } }', "X-Key must be a text"),
            ('{ X-Key = { env = "A", file = "/b" } }', "X-Key must be a text"),
            ('{ X-Key = { env = "BITS_NOT_SET" } }', "has no variable BITS_NOT_SET"),
            ('{ X-Key = { file = "/nowhere/key" } }', "/nowhere/key cannot be read: No such file"),
            ('{ X-Key = "sec\\nret" }', "X-Key has characters"),
        ],
    )
    def test_a_mistake_is_named_without_the_value(
        self, tmp_path: Path, value: str, problem: str
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, NEEDED + f"notification_headers = {value}\n")
        assert caught.value.key == "notification_headers"
        assert problem in str(caught.value)
        assert "secret" not in str(caught.value)


class TestDefaults:
    def test_a_directory_inherits_what_it_does_not_set_itself(self, tmp_path: Path) -> None:
        text = (
            '[defaults]\nallow_overwrites = true\nmaximum_upload_size = "1GiB"\n'
            '[[virtual_directory]]\nurl = "/a"\npath = "/srv/a"\n'
            '[[virtual_directory]]\nurl = "/b"\npath = "/srv/b"\n'
            'allow_overwrites = false\nmaximum_upload_size = "none"\n'
        )
        first, second = load(tmp_path, text).virtual_directories
        assert first == VirtualDirectory(
            "/a", "/srv/a", allow_overwrites=True, maximum_upload_size=1 << 30
        )
        assert second == VirtualDirectory("/b", "/srv/b")

    def test_every_key_that_may_be_inherited_is(self) -> None:
        given = {
            "upload_page": True,
            "allow_overwrites": True,
            "create_folders": True,
            "maximum_upload_size": "1GiB",
            "maximum_fragment_size": "1MiB",
            "file_mode": "0600",
            "session_mode": "0660",
            "session_group": "staff",
            "host_id": "node1",
            "host_id_fallback_timeout": "1h",
            "durability": "none",
            "session_timeout": "1d",
            "cleanup_interval": "1h",
            "notification_type": "by-value",
            "notification_url": "http://host/",
            "notify_at": "close",
            "notification_timeout": "1min",
            "notification_headers": {"X-Key": "x"},
            "notification_ca_file": "/etc/own.pem",
            "maximum_reply_size": "1MiB",
            "session_limit": 5,
            "session_limit_per_address": 5,
            "sessions_total": 5,
            "minimum_free_space": "1GiB",
            "quota": "1TiB",
            "quota_per_user": "1GiB",
            "checksum": "sha256",
            "authentication": ["basic"],
            "htpasswd_file": "/etc/users",
            "basic_without_tls": True,
            "allow": ["alice", "@staff"],
            "groups_file": "/etc/groups",
            "user_header": "Remote-User",
            "certificate_header": "DN",
            "proxy_secret": SECRET_TEXT,
            "keytab": "/etc/http.keytab",
            "kerberos_realm": "EXAMPLE.COM",
        }
        assert DIRECTORY_KEYS.keys() - given.keys() == {
            *("url", "path", "public_url", "upload_enabled")
        }
        own = {"url": "/upload", "path": "/srv/uploads"}
        inherited = settings_from({"defaults": given, "virtual_directory": [own]})
        assert inherited == settings_from({"virtual_directory": [{**own, **given}]})
        assert inherited != settings_from({"virtual_directory": [own]})

    @pytest.mark.parametrize(
        "line",
        ['url = "/a"', 'path = "/a"', 'public_url = "https://files"', "upload_enabled = true"],
    )
    def test_what_belongs_to_one_directory_is_not_inherited(
        self, tmp_path: Path, line: str
    ) -> None:
        key = line.partition(" = ")[0]
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, f"[defaults]\n{line}\n{NEEDED}")
        expected = f"{tmp_path}/settings.toml: [defaults]: {key}: is unknown here; the keys are "
        assert str(caught.value).startswith(expected)

    def test_a_mistake_in_them_is_said_to_be_there(self, tmp_path: Path) -> None:
        """What makes no sense is found where a directory inherits it."""
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, '[defaults]\nfile_mode = "0755"\n' + NEEDED)
        assert str(caught.value).startswith(f"{tmp_path}/settings.toml: [defaults]: file_mode: ")

    def test_what_is_missing_everywhere_is_said_to_be_missing_in_the_directory(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, f'[defaults]\nallow = ["*"]\n{NEEDED}notification_type = "by-value"\n')
        assert (caught.value.table, caught.value.key) == (FIRST, "notification_url")

    def test_a_mistake_of_a_directory_is_not_blamed_on_them(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsError) as caught:
            load(tmp_path, f'[defaults]\nfile_mode = "0600"\n{NEEDED}file_mode = "0755"\n')
        assert caught.value.table == "[[virtual_directory]] number 1"


FIRST = "[[virtual_directory]] number 1"
MISTAKES = {
    "an unknown table": ("[sever]\n" + NEEDED, "", "sever", "is unknown; there are [server]"),
    "an unknown key outside": ("workers = 2\n" + NEEDED, "", "workers", "is unknown"),
    "a table that is none": ("server = 5\n" + NEEDED, "[server]", "", "must be a table"),
    "defaults that are none": ("defaults = []\n" + NEEDED, "[defaults]", "", "must be a table"),
    "one bracket": (
        '[virtual_directory]\nurl = "/a"\npath = "/a"',
        *("", "virtual_directory", "twice bracketed"),
    ),
    "directories that are none": ("virtual_directory = [5]", FIRST, "", "must be a table"),
    "no directory": ("[server]\nworkers = 2", "", "[[virtual_directory]]", "url and path"),
    "an empty file": ("", "", "[[virtual_directory]]", "at least one is needed"),
    "no url": ('[[virtual_directory]]\npath = "/a"', FIRST, "url", "is missing"),
    "no path": ('[[virtual_directory]]\nurl = "/a"', FIRST, "path", "is missing"),
    "an unknown key of the server": (
        "[server]\nworker = 2\n" + NEEDED,
        *("[server]", "worker", "the keys are bind, workers, threads"),
    ),
    "an unknown key": (NEEDED + "overwrite = true", FIRST, "overwrite", "the keys are url, path"),
    "an unknown key of the second": (
        NEEDED + '[[virtual_directory]]\nurl = "/b"\npath = "/b"\nbind = []',
        *("[[virtual_directory]] number 2", "bind", "is unknown here"),
    ),
    "a number for a text": (NEEDED + "host_id = 5", FIRST, "host_id", "a text in quotes, not 5"),
    "a text for a truth": (
        NEEDED + 'upload_enabled = "no"',
        *(FIRST, "upload_enabled", "true or false, not 'no'"),
    ),
    "a number for a truth": (NEEDED + "create_folders = 1", FIRST, "create_folders", "true or"),
    "a truth for a number": (
        "[server]\nthreads = true\n" + NEEDED,
        *("[server]", "threads", "a whole number, not True"),
    ),
    "a fraction for a number": (
        "[server]\nworkers = 2.0\n" + NEEDED,
        *("[server]", "workers", "a whole number, not 2.0"),
    ),
    "a text for a list": (
        '[server]\nbind = "127.0.0.1:80"\n' + NEEDED,
        *("[server]", "bind", 'like ["127.0.0.1:8080"]'),
    ),
    "a list of numbers": ("[server]\nbind = [80]\n" + NEEDED, "[server]", "bind", "list of texts"),
    "a truth for a size": (
        NEEDED + "maximum_upload_size = true",
        *(FIRST, "maximum_upload_size", "a text in quotes, not True"),
    ),
    "a size that is none": (
        NEEDED + 'maximum_upload_size = "4GB"',
        *(FIRST, "maximum_upload_size", "B, KiB, MiB, GiB, TiB"),
    ),
    "a fragment without a limit": (
        NEEDED + 'maximum_fragment_size = "none"',
        *(FIRST, "maximum_fragment_size", "is no size"),
    ),
    "a number for a mode": (NEEDED + "file_mode = 0o640", FIRST, "file_mode", "a text in quotes"),
    "a mode that is none": (NEEDED + 'file_mode = "rw"', FIRST, "file_mode", "octal digits"),
    "a duration that is none": (
        NEEDED + 'session_timeout = "2w"',
        *(FIRST, "session_timeout", "'14d'"),
    ),
    "a choice that is none": (
        NEEDED + 'durability = "always"',
        *(FIRST, "durability", 'one of "none", "close", "fragment"'),
    ),
    "a date for a text": (NEEDED + "host_id = 2024-01-01", FIRST, "host_id", "a text in quotes"),
    "a value without sense": (NEEDED + 'file_mode = "0755"', FIRST, "file_mode", "execute bits"),
    "a server without sense": (
        "[server]\nworkers = 0\n" + NEEDED,
        *("[server]", "workers", "between 1 and 1024"),
    ),
    "an address without sense": (
        '[server]\nbind = ["80"]\n' + NEEDED,
        *("[server]", "bind", "HOST:PORT"),
    ),
    "a url twice": (NEEDED + NEEDED, "[[virtual_directory]]", "url", "is used twice"),
    "a key twice": (NEEDED + 'url = "/b"', "", "", "is not TOML"),
    "what is not TOML": ("url: /upload\n", "", "", "is not TOML"),
    "a text without an end": ('[server]\nbind = ["\n', "", "", "is not TOML"),
}


@pytest.mark.parametrize(
    ("text", "table", "key", "problem"), MISTAKES.values(), ids=MISTAKES.keys()
)
def test_a_mistake_is_named_by_file_table_and_key(
    tmp_path: Path, text: str, table: str, key: str, problem: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text)
    where = [f"{tmp_path}/settings.toml", *(part for part in (table, key) if part)]
    message = str(caught.value)
    assert message.startswith(": ".join(where) + ": ")
    assert problem in message
    assert "\n" not in message


def test_a_file_that_is_not_utf_8_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_bytes(b'[server]\nbind = ["\xff"]\n')
    with pytest.raises(SettingsError, match=r"settings\.toml: is not TOML: "):
        load_settings(str(file))


@pytest.mark.parametrize(
    ("name", "problem"), [("missing.toml", "No such file"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_refused_by_name(
    tmp_path: Path, name: str, problem: str
) -> None:
    file = str(tmp_path / name)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert str(caught.value).startswith(f"{file}: cannot be read: {problem}")


@pytest.mark.parametrize(
    "text", ["x = " + "[" * 5000, "[server]\nworkers = " + "1" * 5000], ids=["nested", "long"]
)
def test_what_is_too_much_for_the_toml_reader_is_refused_by_name(tmp_path: Path, text: str) -> None:
    with pytest.raises(SettingsError, match=r"settings\.toml"):
        load(tmp_path, text)


@settings(deadline=None, max_examples=300)
@given(
    st.dictionaries(
        st.sampled_from(["server", "defaults", "virtual_directory"]) | texts,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | texts,
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from([*SERVER_KEYS, *DIRECTORY_KEYS]) | texts, inner, max_size=4
                )
            ),
            max_leaves=10,
        ),
        max_size=4,
    )
)
def test_whatever_toml_gives_is_settings_or_a_settings_error(found: dict[str, object]) -> None:
    try:
        read = settings_from(found)
    except SettingsError as error:
        message = str(error)
    else:
        message = show_settings(read)
    assert message


class TestTheFileOfTheEnvironment:
    def test_its_name_is_given(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        file = tmp_path / "settings.toml"
        monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(file))
        assert file_named_by_environment() == str(file)

    @pytest.mark.parametrize("value", [None, ""])
    def test_without_the_variable_it_is_said_what_to_set(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None
    ) -> None:
        monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(ENVIRONMENT_VARIABLE, value)
        with pytest.raises(SettingsError, match=r"^BITS_SERVER_SETTINGS: set this"):
            file_named_by_environment()


class TestTheFileThatIsShipped:
    def test_it_has_the_defaults_and_nothing_else(self) -> None:
        expected = Settings((VirtualDirectory("/upload", "/var/lib/bits-server/uploads"),))
        assert load_settings(str(SHIPPED)) == expected

    @pytest.mark.parametrize("key", [*SERVER_KEYS, *DIRECTORY_KEYS])
    def test_it_names_every_key_once(self, key: str) -> None:
        named = re.findall(rf"^(?:# )?{key} = ", SHIPPED.read_text(), re.MULTILINE)
        assert len(named) == 1

    def test_its_tables_name_every_key_where_it_belongs(self) -> None:
        text = re.sub(r"^# (\w+ = )", r"\1", SHIPPED.read_text(), flags=re.MULTILINE)
        found = tomllib.loads(text)
        assert found["server"].keys() == SERVER_KEYS.keys()
        assert found["virtual_directory"][0].keys() == DIRECTORY_KEYS.keys()
        assert found["defaults"] == {}
        assert len(found["virtual_directory"]) == 1

    def test_what_is_commented_out_can_be_used_as_it_stands(self) -> None:
        text = re.sub(r"^# (\w+ = )", r"\1", SHIPPED.read_text(), flags=re.MULTILINE)
        directory = settings_from(tomllib.loads(text)).virtual_directories[0]
        assert directory.public_url is not None
        assert directory.session_group is not None

    def test_every_key_says_what_it_means(self) -> None:
        """On its line, or in a comment above it."""
        lines = SHIPPED.read_text().splitlines()
        for above, line in pairwise(lines):
            if re.match(r"(?:# )?\w+ = ", line):
                assert re.search(r" # \w", line) or re.match(r"# ", above), line
