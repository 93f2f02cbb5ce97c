"""Every row of the table of errors, provoked over HTTP: status, error headers, context, Ack."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ServerMaker
from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.live_server import LiveServer
from tests.support.wire import Answer, WireSender

SESSION_NOT_FOUND = "0x8020001F"
ACCESS_DENIED = "0x80070005"
INVALID_ARGUMENT = "0x80070057"
TOO_LARGE = "0x80200020"
PATH_NOT_FOUND = "0x80070003"
FILE_NOT_FOUND = "0x80070002"
UNAVAILABLE = "0x801901F7"
NOBODYS = "{01234567-89AB-CDEF-0123-456789ABCDEF}"

DIRECTORIES = {
    "upload": "",
    "off": "upload_enabled = false",
    "limited": "maximum_upload_size = 1000\nmaximum_fragment_size = 5120",
    "pieces": "maximum_fragment_size = 5120",
    "replaced": "allow_overwrites = true",
    "folders": "create_folders = true",
}

# The silence after which a client is taken for gone is a minute; these tests cannot wait for it.
IMPATIENT = (
    "import bits_server.web.request_body as b; b.SILENCE_SECONDS = 0.3; "
    "from bits_server.cli import main; main()"
)


@pytest.fixture(scope="module")
def server(
    make_server: ServerMaker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    root = tmp_path_factory.mktemp("directories")
    file = root / "settings.toml"
    tables = []
    for name, keys in DIRECTORIES.items():
        (root / name).mkdir()
        tables.append(f'[[virtual_directory]]\nurl = "/{name}"\npath = "{root / name}"\n{keys}\n')
    file.write_text("\n".join(tables))
    command = [sys.executable, "-c", IMPATIENT, "serve", "--bind", "fd://{fd}"]
    command += ["--settings", str(file)]
    with make_server(command=command, log_file=root / "server.log") as running:
        yield running


@pytest.fixture
def root(server: LiveServer) -> Path:
    """Where the folders of the virtual directories are."""
    return server.log_file.parent


@pytest.fixture
def connection(server: LiveServer) -> Iterator[WireSender]:
    with server.sender() as sender:
        yield sender


def opened(connection: WireSender, target: str) -> BitsClient:
    client = BitsClient(connection, target)
    assert_success(client.create())
    return client


def assert_fragment_refused(
    answer: Answer, status: int, hresult: str | None, client: BitsClient, received: int
) -> None:
    """A refused Fragment of a session that is known says where to go on."""
    assert_refused(answer, status, hresult, client.session_id)
    assert answer["BITS-Received-Content-Range"] == str(received)


class TestSessionNotFound:
    def test_an_unknown_session(self, connection: WireSender) -> None:
        client = BitsClient(connection, "/upload/unknown")
        client.session_id = NOBODYS
        for answer in (client.fragment(b"x", 0, 1), client.close(), client.cancel()):
            assert_refused(answer, 500, SESSION_NOT_FOUND, NOBODYS)
            assert answer.get("BITS-Received-Content-Range") is None

    @pytest.mark.parametrize("wrong", ["7", "{}", NOBODYS[1:-1], NOBODYS + "x", "../../etc"])
    def test_a_malformed_session_id_is_echoed_as_it_came(
        self, connection: WireSender, wrong: str
    ) -> None:
        client = BitsClient(connection, "/upload/malformed")
        client.session_id = wrong
        assert_refused(client.close(), 500, SESSION_NOT_FOUND, wrong)
        assert_refused(client.fragment(b"x", 0, 1), 500, SESSION_NOT_FOUND, wrong)

    def test_a_cancelled_session(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/cancelled")
        assert_success(client.cancel())
        assert_refused(client.cancel(), 500, SESSION_NOT_FOUND, client.session_id)
        assert_refused(client.close(), 500, SESSION_NOT_FOUND, client.session_id)

    def test_a_session_of_another_destination(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/mine")
        for target in ("/upload/other", "/replaced/mine"):
            stranger = BitsClient(connection, target)
            stranger.session_id = client.session_id
            for answer in (stranger.fragment(b"x", 0, 1), stranger.close(), stranger.cancel()):
                assert_refused(answer, 500, SESSION_NOT_FOUND, client.session_id)
        assert_success(client.fragment(b"x", 0, 1))


class TestAccessDenied:
    def test_the_destination_exists_at_create_session(
        self, connection: WireSender, root: Path
    ) -> None:
        (root / "upload" / "there").write_bytes(b"old")
        answer = BitsClient(connection, "/upload/there").create()
        assert_refused(answer, 403, ACCESS_DENIED)

    def test_the_destination_appeared_before_the_last_fragment_and_before_close(
        self, connection: WireSender, root: Path
    ) -> None:
        client = opened(connection, "/upload/appears")
        file = root / "upload" / "appears"
        assert_success(client.fragment(b"new", 0, 6))
        file.write_bytes(b"old")
        assert_fragment_refused(client.fragment(b"er!", 3, 6), 403, ACCESS_DENIED, client, 6)
        assert_refused(client.close(), 403, ACCESS_DENIED, client.session_id)
        assert file.read_bytes() == b"old"
        file.unlink()
        again = client.fragment(b"er!", 3, 6)
        assert_success(again)
        assert again["BITS-Received-Content-Range"] == "6"
        assert_success(client.close())
        assert file.read_bytes() == b"newer!"


def test_uploads_not_enabled(connection: WireSender) -> None:
    client = BitsClient(connection, "/off/f")
    client.session_id = NOBODYS
    assert_refused(client.create(BITS_Session_Id=None), 501, ACCESS_DENIED)
    assert_refused(client.fragment(b"x", 0, 1), 501, ACCESS_DENIED, NOBODYS)
    assert_refused(client.close(), 501, ACCESS_DENIED, NOBODYS)
    assert_refused(client.ping(), 501, ACCESS_DENIED)


def test_a_fragment_that_leaves_bytes_out(connection: WireSender) -> None:
    client = opened(connection, "/upload/gap")
    assert_fragment_refused(client.fragment(b"xyz", 3, 9), 416, None, client, 0)
    assert_success(client.fragment(b"abcd", 0, 9))
    assert_fragment_refused(client.fragment(b"xyz", 5, 9), 416, None, client, 4)
    assert_success(client.fragment(b"efghi", 4, 9))


class TestMalformed:
    @pytest.mark.parametrize(
        "content_range",
        [
            "bytes 0-2",
            "bytes 0-2/2",
            "bytes 2-0/3",
            "bytes 0-3/9",
            "bytes */9",
            "bytes 0-2/*",
            "items 0-2/9",
            "bytes 0-2/9, bytes 0-2/9",
            f"bytes 0-2/{2**64}",
            "",
        ],
    )
    def test_a_content_range_that_is_none_or_of_another_length(
        self, connection: WireSender, content_range: str
    ) -> None:
        client = opened(connection, "/upload/range")
        answer = client.fragment(b"abc", 0, 9, Content_Range=content_range)
        assert_fragment_refused(answer, 400, INVALID_ARGUMENT, client, 0)

    def test_it_goes_before_an_unknown_session(self, connection: WireSender) -> None:
        client = BitsClient(connection, "/upload/range")
        client.session_id = NOBODYS
        answer = client.fragment(b"abc", 0, 9, Content_Range="bytes all")
        assert_refused(answer, 400, INVALID_ARGUMENT, NOBODYS)

    def test_a_total_that_changes(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/total")
        assert_success(client.fragment(b"abc", 0, 9))
        answer = client.fragment(b"def", 3, 10)
        assert_fragment_refused(answer, 400, INVALID_ARGUMENT, client, 3)

    def test_an_encoded_body(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/encoded")
        answer = client.fragment(b"abc", 0, 9, Content_Encoding="gzip")
        assert_fragment_refused(answer, 400, INVALID_ARGUMENT, client, 0)
        assert_success(client.fragment(b"abc", 0, 9, Content_Encoding="Identity"))

    @pytest.mark.parametrize("offered", ["", "{00000000-0000-0000-0000-000000000000}", "BITS"])
    def test_no_common_protocol(self, connection: WireSender, offered: str) -> None:
        client = BitsClient(connection, "/upload/protocol")
        answer = client.create(BITS_Supported_Protocols=offered)
        assert_refused(answer, 400, INVALID_ARGUMENT)

    @pytest.mark.parametrize("kind", ["Reset-Session", "", "Ack"])
    def test_an_unknown_packet_type(self, connection: WireSender, kind: str) -> None:
        answer = BitsClient(connection, "/upload/kind").packet(kind, {}, b"", {})
        assert_refused(answer, 400, INVALID_ARGUMENT)

    @pytest.mark.parametrize("name", ["BITS-Session-Id", "Content-Name", "BITS-Whatever"])
    def test_a_protocol_header_over_4_kb(self, connection: WireSender, name: str) -> None:
        headers = [("BITS-Packet-Type", "Ping"), ("Content-Length", "0")]
        accepted = connection.send("BITS_POST", "/upload/big", [*headers, (name, "x" * 4096)])
        assert accepted.status == 200
        refused = connection.send("BITS_POST", "/upload/big", [*headers, (name, "x" * 4097)])
        assert_refused(refused, 400, INVALID_ARGUMENT)

    @pytest.mark.parametrize("target", ["/upload/taken-by-a-folder", "/upload/", "/upload"])
    def test_a_destination_that_is_a_folder(
        self, connection: WireSender, root: Path, target: str
    ) -> None:
        (root / "upload" / "taken-by-a-folder").mkdir(exist_ok=True)
        assert_refused(BitsClient(connection, target).create(), 400, INVALID_ARGUMENT)

    def test_a_body_on_a_packet_that_has_none(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/body")
        fields = {"BITS-Session-Id": client.session_id}
        for kind in ("Create-Session", "Close-Session", "Cancel-Session", "Ping"):
            answer = client.packet(kind, fields, b"unwanted", {})
            assert_refused(answer, 400, INVALID_ARGUMENT, client.session_id)
        assert connection.connections == 1
        assert_success(client.fragment(b"x", 0, 1))

    def test_a_session_id_that_is_missing(self, connection: WireSender) -> None:
        client = BitsClient(connection, "/upload/missing")
        for answer in (
            client.fragment(b"x", 0, 1, BITS_Session_Id=None),
            client.close(BITS_Session_Id=None),
            client.cancel(BITS_Session_Id=""),
        ):
            assert answer.status == 400
            assert answer["BITS-Error-Code"] == INVALID_ARGUMENT


def test_a_fragment_without_a_length(connection: WireSender) -> None:
    client = opened(connection, "/upload/lengthless")
    answer = client.fragment(b"", 0, 9, Content_Length=None, Content_Range="bytes 0-2/9")
    assert_fragment_refused(answer, 411, INVALID_ARGUMENT, client, 0)


class TestTooLarge:
    def test_the_file_says_that_it_will_be_larger_than_allowed(
        self, connection: WireSender
    ) -> None:
        client = opened(connection, "/limited/file")
        assert_fragment_refused(client.fragment(b"x", 0, 1001), 500, TOO_LARGE, client, 0)
        assert_success(client.fragment(b"x" * 1000, 0, 1000))

    def test_no_file_can_have_so_many_bytes(self, connection: WireSender) -> None:
        client = opened(connection, "/upload/endless")
        assert_fragment_refused(client.fragment(b"x", 0, 2**64 - 1), 500, TOO_LARGE, client, 0)

    def test_a_fragment_that_is_larger_than_taken_in_one_request(
        self, connection: WireSender
    ) -> None:
        client = opened(connection, "/pieces/file")
        assert_success(client.fragment(b"a" * 5120, 0, 10241))
        refused = client.fragment(b"b" * 5121, 5120, 10241)
        assert_fragment_refused(refused, 413, None, client, 5120)
        assert_success(client.fragment(b"b" * 5120, 5120, 10241))
        assert connection.connections == 1


def test_a_full_disk(make_server: ServerMaker, small_disk: Path, tmp_path: Path) -> None:
    """Refused, and everything that was received stays; with room again the upload goes on."""
    ballast = small_disk / "ballast"
    log_file = tmp_path / "server.log"
    with make_server(small_disk, log_file=log_file) as server, server.sender() as connection:
        client = opened(connection, "/upload/f")
        content = os.urandom(1_500_000)
        assert_success(client.fragment(content[:500_000], 0, len(content)))
        ballast.write_bytes(b"x" * 1_200_000)
        answer = client.fragment(content[500_000:], 500_000, len(content))
        assert_refused(answer, 500, "0x80070070", client.session_id)
        received = int(answer["BITS-Received-Content-Range"])
        assert 500_000 <= received < len(content)
        ballast.unlink()
        assert_success(client.fragment(content[received:], received, len(content)))
        assert_success(client.close())
    assert (small_disk / "f").read_bytes() == content


class TestPathNotFound:
    def test_no_virtual_directory_has_this_url(
        self, connection: WireSender, server: LiveServer
    ) -> None:
        for target in ("/", "/elsewhere/f", "/uploads/f", "/Upload/f"):
            client = BitsClient(connection, target)
            if server.is_proxied and target != "/uploads/f":  # nginx answers
                assert client.create().status == client.ping().status == 404
                continue
            assert_refused(client.create(), 404, PATH_NOT_FOUND)
            assert_refused(client.ping(), 404, PATH_NOT_FOUND)

    def test_the_folder_of_the_destination_does_not_exist(
        self, connection: WireSender, root: Path
    ) -> None:
        (root / "upload" / "file").write_bytes(b"")
        for target in ("/upload/nowhere/f", "/upload/file/f", "/folders/file/f"):
            (root / "folders" / "file").write_bytes(b"")
            assert_refused(BitsClient(connection, target).create(), 404, PATH_NOT_FOUND)

    def test_the_folder_vanished_before_close(self, connection: WireSender, root: Path) -> None:
        folder = root / "upload" / "passing"
        folder.mkdir()
        client = opened(connection, "/upload/passing/f")
        assert_success(client.fragment(b"x", 0, 1))
        folder.rmdir()
        assert_refused(client.close(), 404, PATH_NOT_FOUND, client.session_id)
        folder.mkdir()
        assert_success(client.close())
        assert (folder / "f").read_bytes() == b"x"


def test_the_request_entity_vanished_before_close(connection: WireSender, root: Path) -> None:
    client = opened(connection, "/upload/vanishing")
    assert_success(client.fragment(b"x", 0, 1))
    (root / "upload" / "BITS-Sessions" / client.session_id / "request").unlink()
    assert_refused(client.close(), 404, FILE_NOT_FOUND, client.session_id)
    assert not (root / "upload" / "vanishing").exists()


def test_a_client_that_falls_silent_is_told_to_come_again(
    connection: WireSender, server: LiveServer
) -> None:
    if server.is_proxied:
        pytest.skip("nginx waits for the body, a minute, and the server sees nothing of it")
    client = opened(connection, "/upload/silent")
    answer = connection.send_bytes(client.fragment_head(9) + b"abcd")
    assert_refused(answer, 503, UNAVAILABLE, client.session_id)
    assert answer["Retry-After"].isdecimal()
    assert answer["Connection"] == "close"


def test_an_unexpected_failure_is_an_ack_and_is_logged_once_with_the_session(
    connection: WireSender, root: Path, server: LiveServer
) -> None:
    client = opened(connection, "/upload/defect")
    in_the_way = root / "upload" / "BITS-Sessions" / client.session_id / "session.json.new"
    in_the_way.mkdir()
    answer = client.fragment(b"x", 0, 1)
    assert_refused(answer, 500, "0x801901F4", client.session_id)
    assert_success(client.ping())
    lines = [line for line in server.log.splitlines() if client.session_id in line]
    assert len([line for line in lines if " ERROR " in line]) == 1
