"""``make fuzz``, or ``python -m tests.fuzz --seconds 600``: look for inputs that break something.

Half the time goes to the application in this process, once guided by coverage, where atheris is
installed; the rest to a real server over real connections, without and with nginx. What is found
is kept in the corpus, and replayed by the tests from then on.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.corpus import keep, seeds
from tests.fuzz.in_process import InProcess, in_process
from tests.fuzz.invariants import Finding
from tests.fuzz.mutations import mutate
from tests.fuzz.wire import serving

CHECK_EVERY = 500
BEFORE_MEASURING = 300  # inputs, so that all that is ever needed has been made


def main() -> None:
    """Ends with status 1 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, in all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--guided", metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.guided:
        from tests.fuzz.guided import run

        run(arguments.seconds, arguments.seed, Path(arguments.guided))
        return
    print(f"seed {arguments.seed}, {arguments.seconds:.0f} s, {len(seeds())} inputs to begin with")
    share = arguments.seconds / 4
    found = fuzz_guided(share, arguments.seed)
    found += fuzz_in_process(share, random.Random(f"{arguments.seed}/a"))
    for through_nginx in (False, True):
        chance = random.Random(f"{arguments.seed}/{through_nginx}")
        found += fuzz_wire(share, chance, through_nginx=through_nginx)
    for path in found:
        print(f"FOUND: {path}")
    sys.exit(1 if found else 0)


def fuzz_guided(seconds: float, seed: int) -> list[Path]:
    """In a process of its own, because the fuzzer ends the one that it runs in."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.fuzz", "--seconds", str(seconds)]
        command += ["--seed", str(seed), "--guided", folder]
        done = subprocess.run(command, capture_output=True, text=True)
        if "No module named 'atheris'" in done.stderr:
            print("by coverage: atheris is not installed; nothing was tried")
            return []
        lines = [line for line in done.stderr.splitlines() if line.startswith(("#", "Done"))]
        print(f"by coverage, in process: {lines[-1] if lines else done.stderr[-500:]}")
        crashes = sorted(Path(folder).glob("crash-*"))
        return [keep(path.read_bytes(), "guided") for path in crashes]


def fuzz_in_process(seconds: float, chance: random.Random) -> list[Path]:
    """By chance alone, quickly."""
    found: list[Path] = []
    inputs = requests = 0
    beginnings = list(seeds().values())
    with in_process() as target:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = mutate(beginnings, chance)
            inputs += 1
            try:
                requests += _feed(target, data, inputs)
            except Exception as error:
                found.append(_kept(data, "in-process", error))
    print(f"by chance, in process: {inputs} inputs, {requests} requests, {len(found)} found")
    return found


def _feed(target: InProcess, data: bytes, number: int) -> int:
    count = target.feed(data)
    if number % CHECK_EVERY == 0:
        target.site.check_outside()
    return count


def fuzz_wire(seconds: float, chance: random.Random, *, through_nginx: bool) -> list[Path]:
    """A real server: besides the answers its processes, descriptors, threads and memory."""
    what = "through nginx" if through_nginx else "real server"
    found: list[Path] = []
    inputs = answers = 0
    beginnings = list(seeds().values())
    with serving(through_nginx=through_nginx) as target:
        for _ in range(BEFORE_MEASURING):
            target.send(mutate(beginnings, chance), chance)
        before = target.resources()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = mutate(beginnings, chance)
            inputs += 1
            try:
                answers += target.send(data, chance)
                target.check_worker()
            except (Finding, OSError) as error:
                found.append(_kept(data, "wire", error))
        target.check_all()
        print(f"by chance, {what}: {inputs} inputs, {answers} answers, {len(found)} found")
        print(f"  its worker before: {before}\n  and after: {target.resources()}")
    return found


def _kept(data: bytes, what: str, error: Exception) -> Path:
    path = keep(data, what)
    print(f"{path.name}: {error!r}")
    return path


if __name__ == "__main__":
    main()
