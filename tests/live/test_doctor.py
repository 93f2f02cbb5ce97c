"""``bits-server doctor`` before real servers: what is wrong on purpose must be found and named."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bits_server.cli import main
from tests.support.certificates import Certificate
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user
from tests.support.proxied_server import ProxiedServer
from tests.support.server_application import Answer, ServerApplication, refused_url
from tests.support.strange_servers import (
    AncientHandler,
    DownloadHandler,
    ForgetfulHandler,
    PlainHandler,
    serving,
    speaking,
)

PASS = "proxy_pass http://bits_server;\n        client_max_body_size 64m;"
LIMIT = "client_max_body_size 64m;"


def _doctor(url: str, *options: str, pause: str = "0") -> Result:
    return CliRunner().invoke(main, ["doctor", url, "--pause", pause, *options])


def _words(result: Result) -> str:
    return " ".join(result.output.split())


def _levels(result: Result) -> list[str]:
    return re.findall(r"^(ok|note|PROBLEM) ", result.output, re.M)


def _assert_well(result: Result) -> None:
    assert result.exit_code == 0, result.output
    assert "PROBLEM" not in _levels(result)
    assert "no problems found" in result.output


def _assert_problem(result: Result, *texts: str) -> None:
    """One problem, with a remedy, and these words."""
    assert result.exit_code == 1, result.output
    assert _levels(result).count("PROBLEM") == 1, result.output
    assert "1 problem found" in result.output
    assert " -> " in result.output
    for text in texts:
        assert text in _words(result), result.output


def _assert_no_session(folder: Path) -> None:
    left = [path.name for path in (folder / "BITS-Sessions").iterdir() if path.name[0] == "{"]
    assert left == []


Misconfigured = Callable[..., AbstractContextManager[ProxiedServer]]


@pytest.fixture
def nginx_with(folder: Path, tmp_path: Path, certificate: Certificate) -> Misconfigured:
    """A server behind an nginx that is configured wrongly."""

    @contextmanager
    def make(*changes: tuple[str, str], options: tuple[str, ...] = ()) -> Iterator[ProxiedServer]:
        server = ProxiedServer(
            None if options else folder,
            options=options,
            log_file=tmp_path / "server.log",
            certificate=certificate,
        )
        for line, replacement in changes:
            server.nginx.change(line, replacement)
        with server:
            yield server

    return make


# what is well


def test_a_good_server_gets_a_clean_bill_and_nothing_is_left(
    live_server: LiveServer, folder: Path
) -> None:
    result = _doctor(f"{live_server.url}/upload", pause="0.2")
    _assert_well(result)
    words = _words(result)
    for text in (
        "BITS_POST passes, and a BITS server answers",
        "a header field Authorization of 40 KiB passes",
        "a Fragment of 13 MiB is taken",
        "a pause of 0.2 s in the middle of a Fragment does no harm",
        "not tried: the last byte and Close-Session",
        "nothing was published",
    ):
        assert text in words
    _assert_no_session(folder)
    assert [path.name for path in folder.iterdir()] == ["BITS-Sessions"]


def test_with_close_the_files_are_published_and_named(
    live_server: LiveServer, folder: Path
) -> None:
    result = _doctor(f"{live_server.url}/upload/", "--close")
    _assert_well(result)
    assert "note an existing file cannot be replaced: allow_overwrites is off" in _words(result)
    published = sorted(path.name for path in folder.iterdir() if path.is_file())
    named = re.findall(r"^  (bits-server-doctor-\S+)$", result.output, re.M)
    assert sorted(named) == published
    assert sorted((folder / name).stat().st_size for name in named) == [5 << 10, 13 << 20]
    _assert_no_session(folder)


def test_with_complete_an_application_is_told_and_its_reply_fetched(
    folder: Path, tmp_path: Path
) -> None:
    with (
        ServerApplication(Answer(reply=b"reply")) as application,
        _server_of(_settings(tmp_path, folder, application.url), tmp_path) as server,
    ):
        without = _doctor(f"{server.url}/upload")
        _assert_well(without)
        assert application.calls == 0
        result = _doctor(f"{server.url}/upload", "--complete")
        _assert_well(result)
        assert application.calls == 2
    assert "can be fetched, 5 bytes" in _words(result)
    assert "not tried: Close-Session (--close)" in _words(result)
    _assert_no_session(folder)


def test_what_the_header_option_says_is_sent(nginx_with: Misconfigured) -> None:
    guard = 'if ($http_authorization != "Basic eA==") { return 401; }\n        '
    with nginx_with((PASS, guard + PASS)) as server:
        url = f"{server.url}/upload"
        _assert_well(_doctor(url, "--header", "Authorization: Basic eA=="))
        _assert_problem(
            _doctor(url),
            "Ping: something that is no BITS server (Server: 'nginx",
            "answered 401. A user name is wanted",
            "--user NAME, or --header 'Authorization: ...'",
        )


# what nginx can do wrong


@pytest.mark.parametrize(
    ("limit", "passing"), [("", "1 MiB"), ("client_max_body_size 300k;", "256 KiB")]
)
def test_the_limit_of_a_proxy_is_found_and_what_passes(
    nginx_with: Misconfigured, folder: Path, limit: str, passing: str
) -> None:
    with nginx_with((LIMIT, limit)) as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(
        result,
        "a Fragment of 13 MiB does not pass: something that is no BITS server (Server: 'nginx",
        f"answered 413; {passing} pass",
        "client_max_body_size 64m",
    )
    assert f"the rest is taken in Fragments of {passing}" in _words(result)
    _assert_no_session(folder)


def test_a_limit_below_all_that_makes_sense(nginx_with: Misconfigured) -> None:
    with nginx_with((LIMIT, "client_max_body_size 5k;")) as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(result, "answered 413; 4 KiB pass")
    assert "the rest is taken" not in result.output


@pytest.mark.parametrize("answer", ["405", "501", "403", "444"])
def test_a_blocked_method_is_found_and_the_rest_is_tried_by_post(
    nginx_with: Misconfigured, folder: Path, answer: str
) -> None:
    """444 has nginx cut the connection without an answer, as some firewalls do."""
    guard = f"if ($request_method = BITS_POST) {{ return {answer}; }}\n        "
    with nginx_with((PASS, guard + PASS)) as server:
        result = _doctor(f"{server.url}/upload")
    said = "the connection was cut" if answer == "444" else f"answered {answer}"
    _assert_problem(
        result,
        "the method BITS_POST is blocked: ",
        f"{said}; POST with X-HTTP-Method-Override passes",
        "let the method pass",
        "a Fragment of 13 MiB is taken",
    )
    _assert_no_session(folder)


def test_a_header_limit_is_found_and_what_passes(nginx_with: Misconfigured) -> None:
    with nginx_with(("large_client_header_buffers 4 65k;", "")) as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(
        result,
        "a header field Authorization of 40 KiB does not pass: ",
        "answered 400; 4 KiB pass",  # 8 KiB are over the limit with their name
        "large_client_header_buffers 4 65k",
        "a Fragment of 13 MiB is taken",
    )


def test_a_body_time_out_that_is_too_short_is_found(nginx_with: Misconfigured) -> None:
    with nginx_with(("client_body_timeout 60s;", "client_body_timeout 1s;")) as server:
        _assert_well(_doctor(f"{server.url}/upload", pause="0.1"))
        result = _doctor(f"{server.url}/upload", pause="2")
    _assert_problem(
        result,
        "a client that is silent for 2 s in the middle of a Fragment is cut off.",
        "client_body_timeout 60s",
    )


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirection_is_told_with_where_it_leads(nginx_with: Misconfigured, status: int) -> None:
    redirect = f"return {status} https://files.example.com$request_uri;\n        "
    with nginx_with((PASS, redirect + PASS)) as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(
        result,
        f"answered {status}, to 'https://files.example.com/upload/'.",
        "Give the job the URL that the redirection leads to",
        "what comes after that was not tried",
    )


def test_a_server_that_is_down_behind_its_proxy_is_told(nginx_with: Misconfigured) -> None:
    elsewhere = PASS.replace("bits_server", "unix:/nowhere/socket:")
    with nginx_with((PASS, elsewhere)) as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(result, "answered 502. The proxy does not reach the server behind it")


def test_another_location_of_the_proxy_is_told_from_the_server_s_own_404(
    nginx_with: Misconfigured,
) -> None:
    with nginx_with() as server:
        _assert_problem(
            _doctor(f"{server.url}/other"),
            "something that is no BITS server (Server: 'nginx",
            "answered 404. Another server, or another location of the proxy, has answered.",
        )


def test_a_proxy_that_gives_up_on_a_slow_application_is_found(
    nginx_with: Misconfigured, folder: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        settings = _settings(tmp_path, folder, url, "notification_timeout = 3\n")
        timeouts = ("proxy_read_timeout 330s;", "proxy_read_timeout 1s;")
        with nginx_with(timeouts, options=("--settings", settings)) as server:
            result = _doctor(f"{server.url}/upload", "--complete")
    assert result.exit_code == 1
    assert "answered 504. The proxy has waited too long" in _words(result)
    assert "Raise proxy_read_timeout above notification_timeout" in _words(result)


def test_a_reply_that_the_proxy_does_not_pass_on_is_found(
    nginx_with: Misconfigured, folder: Path, tmp_path: Path
) -> None:
    hidden = "location ^~ /upload/BITS-Sessions/ { return 404; }\n    location @bits_server_alone {"
    with ServerApplication(Answer(reply=b"reply")) as application:
        settings = _settings(tmp_path, folder, application.url)
        changes = (("location @bits_server_alone {", hidden),)
        with nginx_with(*changes, options=("--settings", settings)) as server:
            result = _doctor(f"{server.url}/upload", "--complete")
    assert result.exit_code == 1
    assert re.search(r"the reply at 'http://\S+/response' cannot be fetched: 404", _words(result))
    assert "See that what stands in front passes GET" in _words(result)
    _assert_no_session(folder)


@pytest.mark.parametrize(
    ("reply_url", "said"),
    [
        (refused_url(), "nobody listens at 127.0.0.1:"),
        ("http://no-such-host.invalid/r", "the name no-such-host.invalid does not resolve"),
        ("ftp://files.example.com/r", "must begin with http:// or https://"),
    ],
    ids=["nobody listens", "no such host", "no HTTP"],
)
def test_a_reply_on_a_host_that_cannot_be_reached_is_found(
    folder: Path, tmp_path: Path, reply_url: str, said: str
) -> None:
    fields = {"BITS-Static-Response-URL": reply_url}
    with (
        ServerApplication(Answer(fields=fields)) as application,
        _server_of(_settings(tmp_path, folder, application.url), tmp_path) as server,
    ):
        result = _doctor(f"{server.url}/upload", "--complete")
    assert result.exit_code == 1
    assert said in _words(result)
    assert "Clients that wait for a reply fail." in _words(result)


# TLS


def test_a_certificate_that_nobody_signed_is_told(
    proxied_server: ProxiedServer, certificate: Certificate
) -> None:
    port = proxied_server.nginx.tls_address[1]
    url = f"https://127.0.0.1:{port}/upload"
    _assert_problem(
        _doctor(url),
        f"no TLS trust: the certificate of 127.0.0.1:{port} is signed by nobody",
        "--ca-file",
    )
    _assert_well(_doctor(url, "--ca-file", str(certificate.authority)))
    _assert_well(_doctor(url, "--insecure"))


def test_a_certificate_for_another_name_is_told(
    proxied_server: ProxiedServer, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = socket.create_connection

    def resolved(address: tuple[str, int], *rest: object, **named: object) -> socket.socket:
        assert address[0] == "files.example.com"
        return connect(("127.0.0.1", address[1]), *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "create_connection", resolved)
    url = f"https://files.example.com:{proxied_server.nginx.tls_address[1]}/upload"
    _assert_problem(
        _doctor(url, "--ca-file", str(certificate.authority)),
        "is for another name",
        "Use the name that is in the certificate",
    )


def test_https_to_a_port_for_http_is_told(direct_server: LiveServer) -> None:
    url = f"https://127.0.0.1:{direct_server.address[1]}/upload"
    _assert_problem(_doctor(url), "no TLS can be agreed on", "whether this port is for https")


def test_http_to_a_port_for_https_is_told(proxied_server: ProxiedServer) -> None:
    url = f"http://127.0.0.1:{proxied_server.nginx.tls_address[1]}/upload"
    _assert_problem(_doctor(url), "answered 400", "plain HTTP to a port for HTTPS")


# what the server itself refuses


def test_a_missing_folder_and_a_missing_virtual_directory_are_told_apart(
    direct_server: LiveServer,
) -> None:
    _assert_problem(
        _doctor(f"{direct_server.url}/upload/missing"),
        "Create-Session: the BITS server answered 404 0x80070003 ERROR_PATH_NOT_FOUND.",
        "The folder of the destination does not exist",
        "create_folders = true",
    )
    _assert_problem(
        _doctor(f"{direct_server.url}/other"),
        "Ping: the BITS server answered 404 0x80070003",
        "No virtual directory has this URL",
    )


def test_a_destination_that_exists_is_told(direct_server: LiveServer, folder: Path) -> None:
    (folder / "f.bin").write_bytes(b"there")
    _assert_problem(
        _doctor(f"{direct_server.url}/upload", "--name", "f.bin"),
        "answered 403 0x80070005 E_ACCESSDENIED. The destination exists",
        "allow_overwrites = true",
    )
    assert (folder / "f.bin").read_bytes() == b"there"


@pytest.mark.parametrize(
    ("settings", "level", "said"),
    [
        ("upload_enabled = false\n", "PROBLEM", "501 0x80070005 E_ACCESSDENIED. Uploads to this"),
        ('maximum_upload_size = "1MiB"\n', "PROBLEM", "500 0x80200020 BG_E_TOO_LARGE. The file"),
        ('maximum_fragment_size = "3MiB"\n', "note", "the BITS server answered 413; 2 MiB pass"),
        ("allow_overwrites = true\n", "note", "an existing file can be replaced"),
        ('host_id = "no-such-host.invalid"\n', "PROBLEM", "clients are sent on to no-such-host"),
    ],
)
def test_what_the_settings_refuse_is_told(
    folder: Path, tmp_path: Path, settings: str, level: str, said: str
) -> None:
    file = _settings(tmp_path, folder, "", settings)
    with _server_of(file, tmp_path) as server:
        result = _doctor(f"{server.url}/upload", "--close")
    assert said in _words(result), result.output
    assert level in _levels(result)
    assert result.exit_code == (1 if level == "PROBLEM" else 0)
    _assert_no_session(folder)


def test_a_folder_that_cannot_be_written_any_more_is_told(
    direct_server: LiveServer, folder: Path
) -> None:
    assert _doctor(f"{direct_server.url}/upload").exit_code == 0
    (folder / "BITS-Sessions").rename(folder / "elsewhere")
    (folder / "BITS-Sessions").write_bytes(b"in the way")
    _assert_problem(
        _doctor(f"{direct_server.url}/upload"),
        "Create-Session: the BITS server answered 500 0x801901F4 BG_E_HTTP_ERROR_500.",
        "a folder that the server may not write to any more",
    )


def test_a_full_disk_is_told(small_disk: Path, tmp_path: Path) -> None:
    with LiveServer(small_disk, log_file=tmp_path / "server.log") as server:
        result = _doctor(f"{server.url}/upload")
    _assert_problem(result, "500 0x80070070 ERROR_DISK_FULL. The disk of the server is full")
    _assert_no_session(small_disk)


# what is no BITS server


@pytest.mark.parametrize(
    ("handler", "texts"),
    [
        (PlainHandler, ("answered 200. What answers is no BITS server: its answer is no Ack",)),
        (DownloadHandler, ("answered 501. The method is not implemented",)),
        (ForgetfulHandler, ("Create-Session: the Ack names no session",)),
    ],
)
def test_another_http_server_is_told(
    handler: type[BaseHTTPRequestHandler], texts: tuple[str, ...]
) -> None:
    with serving(handler) as url:
        _assert_problem(_doctor(url), *texts)


def test_http_1_0_is_told() -> None:
    with serving(AncientHandler) as url:
        result = _doctor(url)
    assert "the answer is HTTP/1.0, and BITS needs HTTP/1.1" in _words(result)


@pytest.mark.parametrize(
    ("spoken", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "is no HTTP"),
        (b"", "the connection was cut without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", "is broken"),
    ],
)
def test_what_speaks_no_http_is_told(spoken: bytes, said: str) -> None:
    def answer(connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(spoken)

    with speaking(answer) as url:
        _assert_problem(_doctor(url), said)


def test_nobody_and_an_unknown_name_are_told() -> None:
    _assert_problem(_doctor(refused_url()), "nobody listens at 127.0.0.1:", "connection refused")
    _assert_problem(_doctor("http://no-such-host.invalid/upload"), "does not resolve")


def test_silence_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/upload"
        result = _doctor(url, "--timeout", "1")
    _assert_problem(result, "BITS_POST: no answer came in time")


@pytest.mark.parametrize(
    "arguments",
    [
        ("ftp://127.0.0.1/upload",),
        ("127.0.0.1/upload",),
        ("http://127.0.0.1/upload?x=1",),
        ("http://127.0.0.1:port/upload",),
        ("http://127.0.0.1/upload", "--header", "no colon"),
        ("http://127.0.0.1/upload", "--header", "X: a\r\nY: b"),
        ("http://127.0.0.1/upload", "--ca-file", "/nowhere/ca.pem"),
        ("http://127.0.0.1/upload", "--name", "f.bin", "--close"),
    ],
)
def test_a_wrong_command_ends_with_status_2(arguments: tuple[str, ...]) -> None:
    assert _doctor(*arguments).exit_code == 2


def _settings(tmp_path: Path, folder: Path, notification_url: str, more: str = "") -> str:
    file = tmp_path / "settings.toml"
    text = f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n{more}'
    if notification_url:
        text += f'notification_type = "by-value"\nnotification_url = "{notification_url}"\n'
    file.write_text(text)
    return str(file)


def _server_of(settings: str, tmp_path: Path) -> LiveServer:
    return LiveServer(options=["--settings", settings], log_file=tmp_path / "server.log")


def test_it_logs_in_where_a_password_is_asked_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, file = tmp_path / "users", tmp_path / "settings.toml"
    add_user(users, "alice", "secret")
    file.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f'authentication = ["basic"]\nhtpasswd_file = "{users}"\nbasic_without_tls = true\n'
    )
    options = ["--settings", str(file)]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        url = f"{server.url}/upload"
        _assert_problem(
            _doctor(url), "the BITS server answered 401. The client sent", "--user NAME"
        )
        asked = CliRunner().invoke(
            main, ["doctor", url, "--pause", "0", "--user", "alice"], input="secret\n"
        )
        _assert_well(asked)
        assert "secret" not in asked.output
        monkeypatch.setenv("BITS_SERVER_DOCTOR_PASSWORD", "wrong")
        _assert_problem(_doctor(url, "--user", "alice"), "answered 401")
        monkeypatch.setenv("BITS_SERVER_DOCTOR_PASSWORD", "secret")
        _assert_well(_doctor(url, "--user", "alice"))
    _assert_no_session(folder)
