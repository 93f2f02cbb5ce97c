"""No secret reaches a log, a command's output, metrics or an answer, whatever goes wrong."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bits_client import BitsClient, assert_success
from tests.support.certificates import Certificate
from tests.support.client_certificates import context_with
from tests.support.live_server import LiveServer
from tests.support.passwords import add_user, basic
from tests.support.server_application import Answer, ServerApplication
from tests.support.waiting import wait_until
from tests.support.wire import Answer as HttpAnswer
from tests.support.wire import WireSender

PASSWORD = "Passw0rd-of-alice"
WRONG = "Wr0ng-passw0rd"
SHARED = "Shared-with-the-pr0xy"
KEY_OF_APPLICATION = "Key-of-the-applicati0n"
TICKET = base64.b64encode(b"\x60\x82 a ticket that is a secret").decode()
TOKEN = "Bearer-t0ken-of-somebody"


def run(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "bits_server", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}
    )
    return done.stdout + done.stderr


def as_text(answer: HttpAnswer) -> str:
    return f"{answer.status} {answer.headers} {answer.body!r}"


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_secret_is_told(
    folder: Path, tmp_path: Path, certificate: Certificate, log_format: str
) -> None:
    users, key = tmp_path / "users", tmp_path / "own.key"
    add_user(users, "alice", PASSWORD)
    key.write_bytes(certificate.key.read_bytes())
    (tmp_path / "shared").write_text(SHARED)
    for file in (users, key, tmp_path / "shared"):
        file.chmod(0o666)  # what is wrong with them is told, and nothing of them
    told: list[str] = []
    with ServerApplication(Answer(503)) as application:
        settings = tmp_path / "settings.toml"
        settings.write_text(
            f'[server]\nworkers = 1\nlog_level = "debug"\nlog_format = "{log_format}"\n'
            f'tls_certificate = "{certificate.certificate}"\ntls_key = "{key}"\n'
            'metrics_bind = "127.0.0.1:0"\n'
            f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
            'authentication = ["header", "basic"]\n'
            f'htpasswd_file = "{users}"\nproxy_secret = {{ file = "{tmp_path}/shared" }}\n'
            f'notification_type = "by-value"\nnotification_url = "{application.url}"\n'
            f'notification_headers = {{ Authorization = "{KEY_OF_APPLICATION}" }}\n'
        )
        settings.chmod(0o666)
        log_file = tmp_path / "server.log"
        with (
            LiveServer(options=["--settings", str(settings)], log_file=log_file) as server,
            WireSender(server.address, tls=context_with(certificate, None)) as sender,
        ):
            alice = {"Authorization": basic("alice", PASSWORD)}
            proxy = {"X-Remote-User": "alice", "X-Proxy-Secret": SHARED}
            client = BitsClient(sender)
            attempts: list[dict[str, str]] = [
                {},
                {"Authorization": basic("alice", WRONG)},
                {"Authorization": basic("nobody", WRONG)},
                {"Authorization": f"Negotiate {TICKET}"},
                {"Authorization": f"NTLM {TICKET}"},
                {"Authorization": TOKEN},
                {"Authorization": f"Bearer {TOKEN}"},
                {"Authorization": f"Basic {TOKEN}"},
                {**proxy, "X-Proxy-Secret": SHARED[:-1]},
            ]
            told += [as_text(client.ping(**changes)) for changes in attempts]
            assert_success(client.create(**alice))
            told.append(as_text(client.fragment(b"hello", 0, 5, **alice)))  # 503 of it
            told.append(as_text(client.fragment(b"hello", 3, 9, **proxy)))
            told.append(run("sessions", "list", "--settings", str(settings)))
            told.append(run("sessions", "show", client.session_id, "--settings", str(settings)))
            told.append(run("sessions", "notify", client.session_id, "--settings", str(settings)))
            url = f"https://localhost:{server.address[1]}/upload"
            doctor = ("doctor", url, "--pause", "0", "--ca-file", str(certificate.authority))
            for password in (PASSWORD, WRONG):
                variable = {"BITS_SERVER_DOCTOR_PASSWORD": password}
                told.append(run(*doctor, "--user", "alice", **variable))
            told.append(run("check-settings", str(settings)))
            told.append(run("show-settings", str(settings)))
            assert "proxy_secret" in told[-1]
            wait_until(lambda: "Metrics and health are told at" in server.log)
            place = server.log.partition("Metrics and health are told at ")[2].split()[0]
            host, _, port = place.rpartition(":")
            with WireSender((host, int(port))) as closed:
                told += [as_text(closed.send("GET", path)) for path in ("/metrics", "/readyz")]
            (folder / "BITS-Sessions").rename(folder / "moved")
            (folder / "BITS-Sessions").write_text("no folder")
            failed = client.create(**alice)
            assert failed.status == 500
            told.append(as_text(failed))
            assert "Traceback" in server.log
        told.append(server.log)
        assert application.notifications[0].headers["authorization"] == KEY_OF_APPLICATION
    everything = "\n".join(told)
    assert "own.key can be changed by others" in everything
    hashed = users.read_text().strip().partition(":")[2]
    key_line = key.read_text().splitlines()[1]
    secrets = [PASSWORD, WRONG, SHARED, KEY_OF_APPLICATION, TICKET, TOKEN]
    secrets = [*(secret[:12] for secret in secrets), hashed, key_line]
    secrets += [basic("alice", each).partition(" ")[2] for each in (PASSWORD, WRONG)]
    assert [secret for secret in secrets if secret in everything] == []


CREDENTIALS = basic("alice", PASSWORD).encode()
LINE = b"BITS_POST /upload/f HTTP/1.1"


@pytest.mark.parametrize(
    ("head", "status", "what"),
    [
        (b"%s\r\nAuthorization %s" % (LINE, CREDENTIALS), 400, "invalid header"),
        (b"%s\r\nAuthorization%s: x" % (LINE, CREDENTIALS), 400, "invalid header name"),
        (b"%s\r\n%s: x" % (LINE, CREDENTIALS), 400, "invalid header name"),
        (b"%s\r\nAuthorization: Basic\r\n %s" % (LINE, CREDENTIALS[6:]), 400, "obsolete folding"),
        (b"%s\r\nTransfer-Encoding: %s" % (LINE, CREDENTIALS), 501, "unsupported transfer coding"),
        (b"%s\r\nExpect: %s" % (LINE, CREDENTIALS), 417, "expectation failed"),
        (b"Authorization: %s" % CREDENTIALS, 400, "invalid"),
        (b"BITS_POST %s" % CREDENTIALS, 400, "invalid"),
        (b"BITS_POST /%s%s HTTP/1.1" % (CREDENTIALS[6:], b"x" * 9000), 414, "limit request line"),
        (b"%s\r\nX: %s%s" % (LINE, CREDENTIALS, b"x" * 70_000), 431, "limit request headers"),
    ],
)
def test_what_is_no_request_is_repeated_to_nobody(
    folder: Path, tmp_path: Path, head: bytes, status: int, what: str
) -> None:
    """Neither in the answer nor in the log: a line without its colon may be an Authorization."""
    with LiveServer(folder, log_file=tmp_path / "server.log") as server:
        with socket.create_connection(server.address, timeout=10) as connection:
            connection.sendall(head + b"\r\nHost: bits.test\r\nBITS-Packet-Type: Ping\r\n\r\n")
            answer = connection.recv(1 << 16)
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        wait_until(lambda: "is no request" in server.log)
        log = server.log
    assert "WARNING what 127.0.0.1 sent is no request (" + what in log
    for secret in (CREDENTIALS[6:].decode()[:12], PASSWORD):
        assert secret not in log
        assert secret.encode() not in answer
