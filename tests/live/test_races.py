"""Two at once: whatever the order, the file is whole and every packet has an Ack of the table."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.bits_client import BitsClient, assert_refused, assert_success
from tests.support.live_server import LiveServer
from tests.support.wire import Answer, WireSender

SESSION_NOT_FOUND = "0x8020001F"
SIZES = (65_536, 1_000_000, 5_000_000)


def at_once(actions: Iterable[Callable[[], Any]]) -> list[Any]:
    """Start all together; their results in the order given. The first exception is raised."""
    tasks = list(actions)
    barrier = threading.Barrier(len(tasks))
    results: list[Any] = [None] * len(tasks)

    def run(number: int) -> None:
        barrier.wait()
        try:
            results[number] = tasks[number]()
        except BaseException as error:
            results[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def send_from_the_start(client: BitsClient, content: bytes, size: int) -> None:
    """All fragments, whatever the server has already."""
    for start in range(0, len(content), size):
        answer = client.fragment(content[start : start + size], start, len(content))
        assert_success(answer)
        received = int(answer["BITS-Received-Content-Range"])
        assert received >= min(start + size, len(content))


def same_session(server: LiveServer, client: BitsClient) -> BitsClient:
    """The same upload on a connection of its own."""
    other = BitsClient(WireSender(server.address), client.target)
    other.session_id = client.session_id
    return other


def opened(server: LiveServer, target: str) -> BitsClient:
    client = BitsClient(WireSender(server.address), target)
    assert_success(client.create())
    return client


def hang_up(*clients: BitsClient) -> None:
    for client in clients:
        assert isinstance(client.sender, WireSender)
        client.sender.close()


def sessions_of(folder: Path) -> list[Path]:
    return list((folder / "BITS-Sessions").glob("{*"))


def test_the_same_fragments_on_two_connections_at_once(
    live_server: LiveServer, folder: Path, seeded: random.Random, is_soak: bool
) -> None:
    """As of a client that timed out and came again while its first connection still sends."""
    for number in range(100 if is_soak else 8):
        content = seeded.randbytes(seeded.randrange(1, 4_000_000))
        first = opened(live_server, f"/upload/{number}")
        second = same_session(live_server, first)
        at_once(
            [
                partial(send_from_the_start, each, content, seeded.choice(SIZES))
                for each in (first, second)
            ]
        )
        closed = at_once([first.close, second.close])
        assert [answer.status for answer in closed] == [200, 200]
        assert (folder / str(number)).read_bytes() == content
        hang_up(first, second)
    assert sessions_of(folder) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_sessions_that_close_on_one_destination_at_once(
    folder: Path, tmp_path: Path, seeded: random.Random, overwrite: bool, is_soak: bool
) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'[[virtual_directory]]\nurl = "/upload"\npath = "{folder}"\n'
        f"allow_overwrites = {str(overwrite).lower()}\n"
    )
    options = ["--settings", str(settings)]
    with LiveServer(options=options, log_file=tmp_path / "server.log") as server:
        for number in range(50 if is_soak else 5):
            clients = [opened(server, f"/upload/{number}") for _ in range(4)]
            contents = [seeded.randbytes(200_000) for _ in clients]
            for client, content in zip(clients, contents, strict=True):
                assert_success(client.fragment(content, 0, len(content)))
            answers: list[Answer] = at_once([client.close for client in clients])
            found = (folder / str(number)).read_bytes()
            assert found in contents
            if overwrite:
                assert [answer.status for answer in answers] == [200] * 4
            else:
                assert sorted(answer.status for answer in answers) == [200, 403, 403, 403]
                winner = [answer.status for answer in answers].index(200)
                assert found == contents[winner]
                for position, client in enumerate(clients):
                    if position != winner:  # the session stays until its client gives up
                        assert_refused(client.close(), 403, "0x80070005", client.session_id)
                        assert_success(client.cancel())
            hang_up(*clients)
            assert sessions_of(folder) == []
            assert [path.name for path in folder.glob(".*")] == []


@pytest.mark.parametrize("ending", ["cancel", "close", "clean-up"])
def test_a_session_that_ends_while_a_fragment_is_being_written(
    live_server: LiveServer, folder: Path, seeded: random.Random, ending: str, is_soak: bool
) -> None:
    """The Fragment is taken, or the session is not found; nothing of it stays behind."""
    content = seeded.randbytes(12_000_000)
    statuses = set()
    for number in range(40 if is_soak else 6):
        first = opened(live_server, f"/upload/{number}")
        second = same_session(live_server, first)
        assert_success(first.fragment(content[:1000], 0, len(content) + 1))

        def end(second: BitsClient = second) -> Answer | None:
            if ending == "clean-up":
                command = ["cleanup", str(folder), "--older-than", "0s"]
                subprocess.run([sys.executable, "-m", "bits_server", *command], check=True)
                return None
            return second.cancel() if ending == "cancel" else second.close()

        def send(first: BitsClient = first) -> Answer:
            return first.fragment(content[1000:], 1000, len(content) + 1)

        answer, ended = at_once([send, end])
        statuses.add(answer.status)
        if answer.status == 200:
            assert answer["BITS-Received-Content-Range"] == str(len(content))
        else:
            assert_refused(answer, 500, SESSION_NOT_FOUND, first.session_id)
        if ended is not None:
            assert_success(ended)
        hang_up(first, second)
    subprocess.run(
        [sys.executable, "-m", "bits_server", "cleanup", str(folder), "--older-than", "0s"],
        check=True,
    )
    assert sessions_of(folder) == []
    assert list((folder / "BITS-Sessions").glob(".removed-*")) == []
    assert statuses <= {200, 500}
    assert " ERROR " not in live_server.log


def test_half_a_fragment_and_then_silence_does_not_keep_others_from_going_on(
    live_server: LiveServer, folder: Path, seeded: random.Random
) -> None:
    content = seeded.randbytes(3 << 20)
    client = opened(live_server, "/upload/f.bin")
    half = content[: len(content) // 2]
    head = client.fragment_head(len(content))
    with live_server.sender() as silent:
        connection = silent.connect()
        connection.sendall(head + half)
        for start in range(0, len(content), 1_000_000):
            body = content[start : start + 1_000_000]
            assert_success(client.fragment(body, start, len(content)))
        connection.sendall(content[len(half) :])  # and the rest after all: nothing is new of it
        late = silent.read_answer()
        assert_success(late)
        assert late["BITS-Received-Content-Range"] == str(len(content))
    assert_success(client.close())
    hang_up(client)
    assert (folder / "f.bin").read_bytes() == content


def test_sixteen_sessions_at_once(
    live_server: LiveServer, folder: Path, seeded: random.Random
) -> None:
    contents = {f"f{number}": seeded.randbytes(2_000_000 + number) for number in range(16)}

    def upload(name: str) -> None:
        client = opened(live_server, f"/upload/{name}")
        client.send_all(contents[name], 300_000)
        assert_success(client.close())
        hang_up(client)

    at_once([partial(upload, name) for name in contents])
    for name, content in contents.items():
        assert (folder / name).read_bytes() == content
    assert sessions_of(folder) == []
