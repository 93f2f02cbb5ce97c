"""Names that would lead out of the virtual directory, or into BITS-Sessions: refused, and nothing
around the folder is touched, which a snapshot of the file system proves after every test."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ServerMaker
from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.live_server import LiveServer
from tests.support.wire import WireSender

Snapshot = dict[str, tuple[int, int, str]]

INVALID = "0x80070057"
UNKNOWN_SESSION = "0x8020001F"
GONE = "0x80070002"


def snapshot_of(root: Path, *, without: set[Path]) -> Snapshot:
    """Kind, mode, owner and content of everything below ``root``."""
    found: Snapshot = {}
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in folders + files:
            path = Path(folder, name)
            if path in without:
                continue
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path)] = (status.st_mode, status.st_nlink, content)
    return found


@pytest.fixture
def neighbourhood(tmp_path: Path) -> Path:
    """What lies around the virtual directory and must stay as it is."""
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (outside / "secret").write_text("not for uploads")
    (outside / "folder" / "file").write_text("nor this")
    return outside


@pytest.fixture
def server(
    make_server: ServerMaker, folder: Path, neighbourhood: Path, tmp_path: Path
) -> Iterator[LiveServer]:
    """Overwriting and making folders are on: only the name can be the reason of a refusal."""
    settings, log_file = tmp_path / "settings.toml", tmp_path / "server.log"
    strict = tmp_path / "strict"
    strict.mkdir()
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        "allow_overwrites = true\ncreate_folders = true\n"
        f'[[virtual_directory]]\nurl = "/strict"\npath = "{strict}"\n'
    )
    assert neighbourhood.exists()
    log_file.touch()
    logs = [log_file, *(tmp_path / f"nginx.log.{kind}" for kind in ("output", "error", "access"))]
    without = {folder, strict, *logs}
    before = snapshot_of(tmp_path, without=without)
    with make_server(options=["--settings", str(settings)], log_file=log_file) as running:
        yield running
    assert snapshot_of(tmp_path, without=without) == before


@pytest.fixture
def connection(server: LiveServer) -> Iterator[WireSender]:
    with server.sender() as sender:
        yield sender


HOSTILE = [
    "",
    "%00",
    "a%00b",
    "a%0Ab",
    "a%0D%0AX-Header:%20b",
    "%01",
    "%1B[2J",
    "%7F",
    "%C2%85",  # C1, as UTF-8
    "%C2%9B",
    "a%5Cb",
    "..%5C..%5Coutside%5Csecret",
    "C:%5Cf",
    "a\\b",
    "/f",
    "a//f",
    "a/",
    ".",
    "..",
    "./f",
    "a/./f",
    "../outside/secret",
    "a/../../outside/secret",
    "%2e%2e/outside/secret",
    "%2E%2E%2Foutside%2Fsecret",
    "..%2Foutside%2Fsecret",
    "a/%2e%2e/%2e%2e/outside/secret",
    "%2e",
    "%2F%2Fetc%2Fhostname",
    "x" * 256,
    "%C3%A4" * 128,  # 256 bytes, 128 characters
    "a/" + "x" * 256 + "/f",
    "BITS-Sessions",
    "bits-sessions/f",
    "a/BITS-SESSIONS/f",
    "BITS-Sessions/.closed/f",
    "%42ITS-Sessions/f",
    "BIT%C5%BF-Sessions/f",  # the long s folds to s
    "%EF%BC%A2ITS-Sessions/f",  # a full-width B is one in compatibility form
    "%FF",
    "a%C3",
    "%C0%AE%C0%AE/outside/secret",  # dots in overlong UTF-8
    "%ED%A0%80",  # half a surrogate pair
]


# What nginx refuses by itself: it looks for the location with NUL refused and dots resolved. All
# other names reach the server, as the client sent them.
REFUSED_BY_NGINX = {
    "%00": 400,
    "a%00b": 400,
    "..": 404,
    "../outside/secret": 404,
    "a/../../outside/secret": 404,
    "%2e%2e/outside/secret": 404,
    "%2E%2E%2Foutside%2Fsecret": 404,
    "..%2Foutside%2Fsecret": 404,
    "a/%2e%2e/%2e%2e/outside/secret": 404,
}


NOBODYS = "{01234567-89AB-CDEF-0123-456789ABCDEF}"


def test_a_hostile_name_is_refused(
    connection: WireSender, folder: Path, server: LiveServer
) -> None:
    alone = REFUSED_BY_NGINX if server.is_proxied else {}
    for name in HOSTILE:
        client = BitsClient(connection, f"/upload/{name}")
        created = client.create()
        assert created.status == alone.get(name, 400), name
        if name in alone:
            assert created.get("BITS-Packet-Type") is None
            continue
        client.session_id = NOBODYS
        for answer in (client.fragment(b"x", 0, 1), client.close(), client.cancel()):
            assert_refused(answer, 400, INVALID, NOBODYS)
    assert " ERROR " not in server.log
    assert server.log.count("refused with 400") == 4 * (len(HOSTILE) - len(alone)), (
        "a name forged a line"
    )
    assert [path.name for path in folder.iterdir()] == ["BITS-Sessions"]
    assert list((folder / "BITS-Sessions").glob("{*")) == []


UNUSUAL = {
    "%252e%252e": "%2e%2e",
    "%252F": "%2F",
    "...": "...",
    ".hidden": ".hidden",
    "a%20b%3F%23%26": "a b?#&",
    "%E2%82%AC%F0%9F%93%A6": "€\U0001f4e6",
    "x" * 255: "x" * 255,
    "%C3%A4" * 127: "ä" * 127,
    "deep/er/f": "deep/er/f",
    "BITS-Session": "BITS-Session",
    "-rf": "-rf",
    "%2D%2Dhelp": "--help",
}


def test_an_unusual_name_is_a_file_of_that_name(connection: WireSender, folder: Path) -> None:
    for name, file in UNUSUAL.items():
        BitsClient(connection, f"/upload/{name}").upload(b"content")
        assert (folder / file).read_bytes() == b"content"


def test_a_target_with_a_host_is_the_same_file(
    connection: WireSender, folder: Path, server: LiveServer
) -> None:
    BitsClient(connection, "http://elsewhere.example/upload/f").upload(b"content")
    assert (folder / "f").read_bytes() == b"content"
    absolute = BitsClient(connection, "http://elsewhere.example/upload/../outside/secret").create()
    if server.is_proxied:
        assert absolute.status == 404
    else:
        assert_refused(absolute, 400, INVALID)


class TestLinks:
    @pytest.fixture(autouse=True)
    def links(self, folder: Path, neighbourhood: Path) -> None:
        (folder / "inner").mkdir()
        (folder / "inner" / "there").write_bytes(b"old")
        (folder / "out").symlink_to(neighbourhood)
        (folder / "relative-out").symlink_to("../outside")
        (folder / "to-secret").symlink_to(neighbourhood / "secret")
        (folder / "to-new").symlink_to(neighbourhood / "new")
        (folder / "to-folder").symlink_to(neighbourhood / "folder")
        (folder / "loop").symlink_to("loop")
        (folder / "above").symlink_to("..")
        (folder / "root").symlink_to("/")
        (folder / "sessions").symlink_to("BITS-Sessions")
        (folder / "within").symlink_to("inner")
        (folder / "to-there").symlink_to("inner/there")
        (folder / "inner" / "up").symlink_to("../..")

    OUT = (
        "out/f",
        "out/secret",
        "out/new/f",
        "relative-out/f",
        "to-secret",
        "to-new",
        "to-folder",
        "to-folder/file",
        "loop",
        "loop/f",
        "above/outside/secret",
        "above/new",
        "root/etc/hostname",
        "root/tmp/f",
        "sessions/f",
        "sessions/new/f",
        "sessions/.closed/f",
        "inner/up/outside/secret",
        "within/up/outside/f",
    )

    def test_a_link_that_leads_out_is_refused(self, connection: WireSender) -> None:
        for name in self.OUT:
            answer = BitsClient(connection, f"/upload/{name}").create()
            assert answer.status == 400, name
            assert_refused(answer, 400, INVALID)

    def test_a_link_that_stays_inside_is_followed(
        self, connection: WireSender, folder: Path
    ) -> None:
        BitsClient(connection, "/upload/within/f").upload(b"content")
        assert (folder / "inner" / "f").read_bytes() == b"content"
        BitsClient(connection, "/upload/within/deep/f").upload(b"content")
        assert (folder / "inner" / "deep" / "f").read_bytes() == b"content"

    def test_a_link_as_the_last_segment_is_replaced_and_not_followed(
        self, connection: WireSender, folder: Path
    ) -> None:
        BitsClient(connection, "/upload/to-there").upload(b"new")
        assert not (folder / "to-there").is_symlink()
        assert (folder / "to-there").read_bytes() == b"new"
        assert (folder / "inner" / "there").read_bytes() == b"old"

    def test_a_link_that_appears_before_close_is_not_followed(
        self, connection: WireSender, folder: Path, neighbourhood: Path
    ) -> None:
        for name, target in (("late", neighbourhood / "secret"), ("later", neighbourhood)):
            client = BitsClient(connection, f"/upload/{name}")
            assert_success(client.create())
            assert_success(client.fragment(b"abc", 0, 3))
            (folder / name).symlink_to(target)
            assert_success(client.close())
            assert (folder / name).read_bytes() == b"abc"
            assert not (folder / name).is_symlink()

    def test_a_parent_that_becomes_a_link_before_close_is_refused_until_it_is_back(
        self, connection: WireSender, folder: Path, neighbourhood: Path
    ) -> None:
        client = BitsClient(connection, "/upload/inner/f")
        assert_success(client.create())
        assert_success(client.fragment(b"abc", 0, 3))
        (folder / "inner").rename(folder / "aside")
        (folder / "inner").symlink_to(neighbourhood)
        assert_refused(client.close(), 400, INVALID, client.session_id)
        (folder / "inner").unlink()
        (folder / "aside").rename(folder / "inner")
        assert_success(client.close())
        assert (folder / "inner" / "f").read_bytes() == b"abc"


def test_folders_and_links_swapped_during_close(
    server: LiveServer, tmp_path: Path, neighbourhood: Path, is_soak: bool
) -> None:
    """A thread makes the parent a link to the outside and a folder again, all the time."""
    parent, aside, link = (tmp_path / "strict" / name for name in ("swapped", "aside", "link"))
    parent.mkdir()
    link.symlink_to(neighbourhood / "folder")
    end = threading.Event()

    def swap() -> None:
        while not end.is_set():
            os.rename(parent, aside)
            os.rename(link, parent)
            os.rename(parent, link)
            os.rename(aside, parent)

    statuses: set[int] = set()
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        with server.sender() as sender:
            for number in range(3000):
                if number > (600 if is_soak else 60) and 200 in statuses:
                    break
                client = BitsClient(sender, f"/strict/swapped/{number}")
                with suppress(AssertionError):
                    client.create()
                if not client.session_id:
                    continue
                answer = client.fragment(b"abc", 0, 3)
                statuses.add(answer.status)
                statuses.add(client.close().status)
                client.cancel()
    finally:
        end.set()
        swapping.join()
    assert statuses <= {200, 400, 404}
    assert 200 in statuses
    assert {path.name for path in (neighbourhood / "folder").iterdir()} == {"file"}
    for path in parent.iterdir():
        assert path.read_bytes() == b"abc"


NO_SESSION_IDS = (
    ".closed",
    "../outside",
    "{../outside}",
    ".",
    "..",
    "/etc",
    "%7B01234567-89AB-CDEF-0123-456789ABCDEF%7D",
    "01234567-89AB-CDEF-0123-456789ABCDEF",
    "{0123456789ABCDEF0123456789ABCDEF}",
    "{01234567-89AB-CDEF-0123-456789ABCDE}",
    "{01234567-89AB-CDEF-0123-456789ABCDEF}/../x",
    "{{01234567-89AB-CDEF-0123-456789ABCDEF}}",
    "{01234567-89AB-CDEF-0123-456789ABCDEG}",
    "{urn:uuid:1234567-89AB-CDEF-0123-456789AB}",
    ".removed-{01234567-89AB-CDEF-0123-456789ABCDEF}",
    "x" * 1000,
    "\u00b2" * 38,
)


def test_a_session_id_of_a_wrong_form_is_no_session(connection: WireSender) -> None:
    client = BitsClient(connection)
    for session_id in NO_SESSION_IDS:
        client.session_id = session_id
        for answer in (client.fragment(b"x", 0, 1), client.close(), client.cancel()):
            assert_refused(answer, 500, UNKNOWN_SESSION, session_id)


def test_a_link_in_the_place_of_a_session_is_no_session(
    connection: WireSender, folder: Path, neighbourhood: Path
) -> None:
    client = BitsClient(connection)
    assert_success(client.ping())
    client.session_id = NOBODYS
    (folder / "BITS-Sessions" / client.session_id).symlink_to(neighbourhood)
    for answer in (client.fragment(b"x", 0, 1), client.close(), client.cancel()):
        assert_refused(answer, 500, UNKNOWN_SESSION, client.session_id)


def test_a_link_in_the_place_of_the_entity_is_not_followed(
    connection: WireSender, folder: Path, neighbourhood: Path
) -> None:
    client = BitsClient(connection)
    assert_success(client.create())
    request = folder / "BITS-Sessions" / client.session_id / "request"
    request.symlink_to(neighbourhood / "secret")
    assert_refused(client.fragment(b"x", 0, 1), 404, GONE, client.session_id)
    assert_success(client.cancel())
