"""``make fuzz``, or ``python -m tests.fuzz --seconds 600``: look for inputs that break something.

Half the time goes to the application in this process, once guided by coverage, where atheris is
installed; the rest to a real server over real connections, without and with nginx. What is found
is kept in the corpus, and replayed by the tests from then on.
"""

from __future__ import annotations

import argparse
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.corpus import FOLDER, keep, seeds
from tests.fuzz.in_process import in_process
from tests.fuzz.invariants import THREADS, Finding
from tests.fuzz.mutations import mutate
from tests.fuzz.wire import Target, serving
from tests.support.resources import Resources

CHECK_EVERY = 500
BEFORE_MEASURING = 0.25  # of the time, so that all that is ever needed has been made
SENDERS = 4  # at once
MOST_MEGABYTES = 16  # by which a worker may grow: 13 in its first 6 000 inputs, 1 in 20 000 more
MOST_FOUND = 20  # then the same thing is found again and again

Found = list[Path]


def main() -> None:
    """Ends with status 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, {arguments.seconds:.0f} s, {len(seeds())} inputs to begin with")
    share = arguments.seconds / 4
    found = fuzz_guided(share, arguments.seed)
    found += fuzz_in_process(share, random.Random(f"{arguments.seed}/a"))
    for through_nginx in (False, True):
        found += fuzz_wire(share, f"{arguments.seed}/{through_nginx}", through_nginx=through_nginx)
    for path in found:
        print(f"FOUND: {path}")
    sys.exit(1 if found else 0)


def fuzz_guided(seconds: float, seed: int, keep_in: Path = FOLDER) -> Found:
    """In a process of its own, because the fuzzer ends the one that it runs in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz.guided", str(seconds), str(seed), folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if "No module named 'atheris'" in done.stderr:
            print("by coverage: atheris is not installed; nothing was tried")
            return []
        figures = dict(re.findall(r"^stat::(\w+): *([0-9]+)", done.stderr, re.M))
        print(
            f"by coverage, in process: {figures.get('number_of_executed_units', 0)} inputs, "
            f"{figures.get('new_units_added', 0)} of them reached something new"
        )
        is_blind = not int(figures.get("new_units_added", 0))
        if done.returncode == 0 and not is_blind:
            return []
        print(done.stderr[-3000:])
        # It calls them by what they are: crash, timeout, oom, leak.
        inputs = sorted(path for path in Path(folder).glob("*-*") if path.is_file())
        return [keep(path.read_bytes(), "guided", keep_in) for path in inputs] or [Path("guided")]


def fuzz_in_process(seconds: float, chance: random.Random, keep_in: Path = FOLDER) -> Found:
    """By chance alone, quickly."""
    found: Found = []
    inputs = requests = 0
    beginnings = list(seeds().values())
    with in_process() as target:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and len(found) < MOST_FOUND:
            data = mutate(beginnings, chance)
            inputs += 1
            try:
                requests += target.feed(data)
                if inputs % CHECK_EVERY == 0:
                    target.check_all()
            except Exception as error:
                found.append(_kept(data, "in-process", error, keep_in))
    print(f"by chance, in process: {inputs} inputs, {requests} requests, {len(found)} found")
    return found


class _Senders:
    """Several at once, each with its own chance."""

    def __init__(self, target: Target, seed: str, keep_in: Path) -> None:
        self._target, self._keep_in = target, keep_in
        self._chances = [random.Random(f"{seed}/{number}") for number in range(SENDERS)]
        self._beginnings = list(seeds().values())
        self._lock = threading.Lock()
        self.found: Found = []
        self.inputs = self.answers = 0

    def send(self, seconds: float) -> None:
        """For so long."""
        deadline = time.monotonic() + seconds

        def work(chance: random.Random) -> None:
            while time.monotonic() < deadline and len(self.found) < MOST_FOUND:
                self._send_one(mutate(self._beginnings, chance), chance)

        with ThreadPoolExecutor(SENDERS) as pool:
            list(pool.map(work, self._chances))

    def _send_one(self, data: bytes, chance: random.Random) -> None:
        answers = 0
        try:
            answers = self._target.send(data, chance)
            self._target.check_worker()
        except Exception as error:  # one of those that were sent at the same time, perhaps
            path = _kept(data, "wire", error, self._keep_in)
            with self._lock:
                self.found.append(path)
        with self._lock:
            self.inputs += 1
            self.answers += answers


def fuzz_wire(
    seconds: float,
    seed: str,
    *,
    through_nginx: bool,
    keep_in: Path = FOLDER,
    program: str = "",
) -> Found:
    """A real server: besides the answers its processes, descriptors, threads and memory.

    ``program``: as ``serving`` has it.
    """
    what = "through nginx" if through_nginx else "real server"
    with serving(through_nginx=through_nginx, program=program) as target:
        senders = _Senders(target, seed, keep_in)
        senders.send(seconds * BEFORE_MEASURING)
        try:
            before = target.resources()
            senders.send(seconds * (1 - BEFORE_MEASURING))
            target.check_all()
            after = target.resources()
            print(f"{what}: its worker before: {before}\n  and after: {after}")
            # nginx keeps up to 32 connections to it.
            _check_growth(before, after, THREADS + (32 if through_nginx else 0))
        except Exception as error:
            print(f"in the end: {error!r}")
            senders.found.append(Path(what))
        print(
            f"by chance, {what}: {senders.inputs} inputs, {senders.answers} answers, "
            f"{len(senders.found)} found"
        )
    return senders.found


def _check_growth(before: Resources, after: Resources, connections: int) -> None:
    """Raise Finding; ``before`` is that of a worker all of whose threads have been at work."""
    if after.megabytes > before.megabytes + MOST_MEGABYTES:
        raise Finding(f"its memory has grown: {before}, and then {after}")
    more = after.descriptors - before.descriptors
    if more > connections or after.threads > before.threads:
        raise Finding(f"it holds more than before: {before}, and then {after}")


def _kept(data: bytes, what: str, error: Exception, folder: Path) -> Path:
    path = keep(data, what, folder)
    print(f"{path.name}: {error!r}")
    return path


if __name__ == "__main__":
    main()
