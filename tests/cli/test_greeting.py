"""What ``serve`` prints when it is ready: addresses that can be reached, commands that work."""

from __future__ import annotations

import re
import shlex
from typing import Any
from urllib.parse import unquote

import pytest

from bits_server.cli.greeting import greeting
from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.headers import RequestHeaders
from bits_server.protocol.packets import CloseSession, CreateSession, Fragment, parse_packet
from bits_server.protocol.session_id import SessionId
from bits_server.settings import Authentication, Settings, VirtualDirectory

SESSION = "{A0FF5911-4144-45B3-BF27-27AFC8EC8A67}"


@pytest.fixture(autouse=True)
def host_name(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("socket.gethostname", lambda: "files")
    return "files"


def greet(*addresses: Any, **changes: Any) -> str:
    directory = VirtualDirectory(**{"url": "/upload", "path": "/srv/uploads", **changes})
    return greeting(Settings((directory,)), list(addresses))


def windows_urls(text: str) -> set[str]:
    found = re.findall(r"^  (?:Start-BitsTransfer|bitsadmin).* (https?://\S+)", text, re.MULTILINE)
    assert len(found) == 2
    return set(found)


def curl_url(text: str) -> str:
    found = re.findall(r"^  URL=(.*)$", text, re.MULTILINE)
    assert len(found) == 1
    return str(found[0])


@pytest.mark.parametrize(
    ("address", "remote", "local"),
    [
        (("127.0.0.1", 8080), "http://files:8080", "http://127.0.0.1:8080"),
        (("0.0.0.0", 8080), "http://files:8080", "http://127.0.0.1:8080"),
        (("192.0.2.7", 80), "http://192.0.2.7:80", "http://192.0.2.7:80"),
        (("::1", 8080, 0, 0), "http://files:8080", "http://[::1]:8080"),
        (("::", 8080, 0, 0), "http://files:8080", "http://127.0.0.1:8080"),
        (("2001:db8::7", 80, 0, 0), "http://[2001:db8::7]:80", "http://[2001:db8::7]:80"),
    ],
)
def test_the_commands_name_an_address_at_which_the_server_can_be_reached(
    address: tuple[Any, ...], remote: str, local: str
) -> None:
    text = greet(address)
    assert windows_urls(text) == {f"{remote}/upload/f.bin"}
    assert curl_url(text) == f"{local}/upload/hello.txt"


def test_another_loopback_address_is_named_as_it_is() -> None:
    assert curl_url(greet(("127.0.0.2", 8080))) == "http://127.0.0.2:8080/upload/hello.txt"


@pytest.mark.parametrize("address", [("127.0.0.1", 8080), ("127.0.0.2", 8080), ("::1", 8080, 0, 0)])
def test_a_server_for_this_machine_only_says_so_and_how_to_open_it(address: tuple[Any]) -> None:
    text = greet(address)
    assert f"listens on {address[0]} only" in text
    assert "--bind 0.0.0.0:8080" in text
    assert "make run BIND=0.0.0.0:8080" in text


@pytest.mark.parametrize("address", [("0.0.0.0", 80), ("192.0.2.7", 80), ("::", 80, 0, 0)])
def test_a_server_for_others_does_not_say_that_it_is_closed(address: tuple[Any]) -> None:
    text = greet(address)
    assert "only" not in text
    assert "--bind" not in text


def test_behind_a_unix_socket_there_are_no_commands() -> None:
    text = greet("/run/bits-server/socket")
    assert text.splitlines() == [
        "BITS uploads are received:",
        "  /upload -> /srv/uploads",
        "  on /run/bits-server/socket",
    ]


def test_of_several_addresses_the_first_of_the_network_is_in_the_commands() -> None:
    text = greet("/run/socket", ("192.0.2.7", 80), ("127.0.0.1", 8080))
    assert curl_url(text) == "http://192.0.2.7:80/upload/hello.txt"


def test_every_virtual_directory_is_named_and_the_first_is_in_the_commands() -> None:
    directories = (VirtualDirectory("/a", "/srv/a"), VirtualDirectory("/b/c", "/srv/b"))
    text = greeting(Settings(directories), [("192.0.2.7", 80)])
    assert "  /a -> /srv/a\n  /b/c -> /srv/b\n" in text
    assert curl_url(text) == "http://192.0.2.7:80/a/hello.txt"


def test_a_virtual_directory_at_the_root_has_one_slash() -> None:
    text = greet(("192.0.2.7", 80), url="/")
    assert windows_urls(text) == {"http://192.0.2.7:80/f.bin"}
    assert curl_url(text) == "http://192.0.2.7:80/hello.txt"


def test_windows_machines_are_sent_to_the_public_url() -> None:
    text = greet(("127.0.0.1", 8080), public_url="https://files.example.com/in")
    assert windows_urls(text) == {"https://files.example.com/in/f.bin"}
    assert curl_url(text) == "http://127.0.0.1:8080/upload/hello.txt"


def test_a_public_url_may_end_with_a_slash() -> None:
    text = greet(("127.0.0.1", 8080), public_url="https://files.example.com/in/")
    assert windows_urls(text) == {"https://files.example.com/in/f.bin"}


@pytest.mark.parametrize("url", ["/my uploads", "/größe", "/it's"])
def test_the_urls_in_the_commands_are_encoded(url: str) -> None:
    text = greet(("192.0.2.7", 80), url=url)
    local = shlex.split(curl_url(text))
    for each, name in [(local[0], "hello.txt"), *((each, "f.bin") for each in windows_urls(text))]:
        assert each.isascii()
        assert unquote(each) == f"http://192.0.2.7:80{url}/{name}"


def test_bitsadmin_has_its_job_remote_and_local_name_in_their_order() -> None:
    text = greet(("192.0.2.7", 80))
    expected = "  bitsadmin /transfer up /upload /priority foreground {} {}"
    assert expected.format("http://192.0.2.7:80/upload/f.bin", r"C:\f.bin") in text.splitlines()


def test_powershell_uploads_the_file() -> None:
    text = greet(("192.0.2.7", 80))
    expected = (
        r"  Start-BitsTransfer -Source C:\f.bin "
        r"-Destination http://192.0.2.7:80/upload/f.bin -TransferType Upload"
    )
    assert expected in text.splitlines()


def curl_packets(text: str) -> list[dict[str, str]]:
    """The header fields of each curl command."""
    joined = text.replace("\\\n", " ").replace("$ID", SESSION)
    packets = []
    for command in re.findall(r"curl -.*", joined):
        words = shlex.split(command)
        assert words[words.index("-X") + 1] == "BITS_POST"
        assert "$URL" in words
        fields = [words[at + 1] for at, word in enumerate(words) if word == "-H"]
        packets.append(dict(field.split(": ", 1) for field in fields))
    return packets


def test_the_packets_that_curl_sends_are_an_upload() -> None:
    text = greet(("127.0.0.1", 8080))
    content = re.search(r"printf '(.*)' > hello\.txt", text)
    assert content is not None
    create, fragment, close = curl_packets(text)
    length = len(content[1])
    fragment["Content-Length"] = str(length)  # curl says so itself
    session_id = SessionId.parse(SESSION)
    expected_range = ContentRange(0, length - 1, length)
    parsed = [parse_packet(RequestHeaders(each.items())) for each in (create, fragment, close)]
    assert parsed == [
        CreateSession(),
        Fragment(session_id, expected_range),
        CloseSession(session_id),
    ]


def test_who_must_log_in_is_told_how() -> None:
    must = {"authentication": (Authentication.BASIC,), "htpasswd_file": "/etc/users"}
    told = greet(("127.0.0.1", 8080), **must)
    assert "-Authentication Basic -Credential (Get-Credential)" in told
    assert "Credential" not in greet(("127.0.0.1", 8080))


def test_who_needs_a_ticket_is_told_how() -> None:
    must = {"authentication": (Authentication.NEGOTIATE,), "keytab": "/etc/http.keytab"}
    told = greet(("127.0.0.1", 8080), **must)
    assert "-Authentication\n  Negotiate" in told
    assert "--negotiate --user :" in told
    assert "Basic" not in told
