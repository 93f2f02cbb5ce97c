"""kill -9 at any moment: what was acknowledged is there, what is seen is whole, uploads go on."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

from tests.conftest import Tell
from tests.support.bits_client import BitsClient, assert_success
from tests.support.live_server import LiveServer
from tests.support.patient_client import PatientClient, uploads

# What nginx answers while the server is dead; a client takes it for passing.
BAD_GATEWAY = 502
DYING = [sys.executable, "-m", "tests.support.dying_server"]


class Watcher:
    """Looks at destinations all the time: absent, or whole, and then for good."""

    def __init__(self, wanted: dict[Path, bytes]) -> None:
        self._digests = {path: hashlib.sha256(body).digest() for path, body in wanted.items()}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        assert not self.wrong
        assert self.looks > 0

    def _look(self) -> None:
        whole: set[Path] = set()
        while not self._end.wait(0.001):
            for path, digest in self._digests.items():
                self.looks += 1
                try:
                    found = path.stat().st_size if path in whole else path.read_bytes()
                except FileNotFoundError:
                    if path in whole:
                        self.wrong.append(f"{path} went away")
                    continue
                if isinstance(found, bytes):
                    if hashlib.sha256(found).digest() != digest:
                        self.wrong.append(f"{path} was seen with {len(found)} bytes")
                    whole.add(path)


def assert_nothing_is_left(folder: Path) -> None:
    """But sessions whose first Ack was lost: no client knows them, the clean-up finds them."""
    for session in (folder / "BITS-Sessions").glob("{*"):
        assert not (session / "request").exists(), session
    assert list(folder.glob(".*.publishing")) == []


def test_a_server_killed_at_random_moments_loses_nothing(
    live_server: LiveServer, folder: Path, seeded: random.Random, is_soak: bool, tell: Tell
) -> None:
    """Rounds of four uploads; the server dies and comes back until the kills are used up."""
    kills = 200 if is_soak else 15
    left, round_number, repeats = kills, 0, 0
    passing = (BAD_GATEWAY,) if live_server.is_proxied else ()
    while left > 0:
        round_number += 1
        names = [f"{round_number}-{number}" for number in range(4)]
        bodies = [seeded.randbytes(seeded.randrange(1, 5_000_000)) for _ in names]
        wanted = {folder / name: body for name, body in zip(names, bodies, strict=True)}
        clients = [
            PatientClient(live_server.address, f"/upload/{name}", body, seeded, passing)
            for name, body in zip(names, bodies, strict=True)
        ]
        with Watcher(wanted), uploads(clients) as running:
            while left > 0 and wait_for_progress(clients, running, seeded):
                live_server.kill()
                left -= 1
                live_server.start()
        assert not running.failures, running.failures
        for path, body in wanted.items():
            assert path.read_bytes() == body
        assert_nothing_is_left(folder)
        repeats += sum(client.repeats for client in clients)
    assert repeats > 0, "no kill ever met a packet"
    tell(f"{kills} kills, {round_number} rounds of 4 uploads, {repeats} packets sent again")


def wait_for_progress(
    clients: list[PatientClient], running: uploads, seeded: random.Random
) -> bool:
    """Until some more packets are acknowledged; whether anybody is still at it."""
    goal = sum(client.acks for client in clients) + seeded.randrange(1, 40)
    while running.is_alive():
        if sum(client.acks for client in clients) >= goal:
            return True
    return False


def upload_to_a_dying_server(
    folder: Path, log_file: Path, name: str, content: bytes, step: int, side: str
) -> tuple[int, bool]:
    """One upload; where the server kills itself another takes its place.

    Returns how many steps were done on disk by the first one, and whether it died.
    """
    marks = log_file.with_name(f"marks-{name}")
    serve = ["serve", "--bind", "fd://{fd}", "--workers", "1", str(folder)]
    command = [*DYING, str(step), side, str(marks), *serve]
    has_died = False
    with LiveServer(folder, command=command, log_file=log_file) as server:
        client = PatientClient(server.address, f"/upload/{name}", content, random.Random(1))
        with Watcher({folder / name: content}), uploads([client]) as running:
            while running.is_alive() and not has_died:
                has_died = server.has_died()
            if has_died:
                server.start_anew()
        assert not running.failures, (name, running.failures)
    assert (folder / name).read_bytes() == content
    assert_nothing_is_left(folder)
    return marks.stat().st_size, has_died


def test_a_server_killed_between_any_two_steps_on_disk_loses_nothing(
    folder: Path, tmp_path: Path, seeded: random.Random, is_soak: bool, tell: Tell
) -> None:
    """The Ack that was on its way is lost each time; the packet is sent again to a new server."""
    log_file = tmp_path / "server.log"
    content = seeded.randbytes(100_000)
    count, has_died = upload_to_a_dying_server(folder, log_file, "counted", content, 0, "before")
    assert not has_died
    assert count > 10
    points = [(step, side) for step in range(1, count + 1) for side in ("before", "after")]
    deaths = 0
    for step, side in points if is_soak else seeded.sample(points, 6):
        name = f"{step}-{side}"
        _, has_died = upload_to_a_dying_server(folder, log_file, name, content, step, side)
        deaths += has_died
    assert deaths > 0
    tell(f"{deaths} deaths before or after one of {count} steps on disk")


def test_a_clean_up_killed_between_any_two_steps_can_be_repeated(
    folder: Path, tmp_path: Path, seeded: random.Random, is_soak: bool
) -> None:
    sessions = folder / "BITS-Sessions"
    arguments = ["cleanup", str(folder), "--older-than", "1d"]
    deaths = 0
    with LiveServer(folder, log_file=tmp_path / "server.log") as server:
        for step in range(1, 6) if is_soak else seeded.sample(range(1, 6), 3):
            with server.sender() as sender:
                expired, alive = BitsClient(sender), BitsClient(sender, "/upload/alive")
                for client in (expired, alive):
                    assert_success(client.create())
                    assert_success(client.fragment(b"abc", 0, 9))
                for part in (sessions / expired.session_id).iterdir():
                    os.utime(part, (0, 0))
                marks = str(tmp_path / f"clean-{step}")
                died = subprocess.run(
                    [*DYING, str(step), "after", marks, *arguments],
                    start_new_session=True,
                    capture_output=True,
                )
                assert died.returncode in (0, -9), died.stderr
                deaths += died.returncode == -9
                again = [sys.executable, "-m", "bits_server", *arguments]
                subprocess.run(again, capture_output=True, check=True)
                assert [path.name for path in sessions.glob("{*")] == [alive.session_id]
                assert_success(alive.fragment(b"defghi", 3, 9))
                assert_success(alive.cancel())
    assert deaths > 0
