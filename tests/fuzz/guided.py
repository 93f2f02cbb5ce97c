"""``python -m tests.fuzz.guided SECONDS SEED FOLDER``: the target in process for atheris.

It changes inputs by what of our code and of gunicorn's parser they reach. The rule of this file:
nothing of these may be imported before atheris can look at it; so this is a program of its own.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bits_server", "gunicorn.http"]):
    from tests.fuzz.corpus import FOLDER, seeds
    from tests.fuzz.in_process import in_process
    from tests.fuzz.mutations import FIELDS, mutate

CHECK_EVERY = 500


def run(seconds: float, seed: int, folder: Path) -> None:
    """Never returns: the fuzzer ends the process. What breaks something goes to ``folder``."""
    words = folder / "dictionary"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in FIELDS))
    (folder / "corpus").mkdir()
    for name, data in seeds().items():
        (folder / "corpus" / name).write_bytes(data)
    with in_process() as target:
        count = 0

        def one_input(data: bytes) -> None:
            nonlocal count
            count += 1
            target.feed(data)
            if count % CHECK_EVERY == 0:
                target.site.check_outside()

        def change(data: bytes, most: int, number: int) -> bytes:
            chance = random.Random(number)
            if chance.random() < 0.5:
                return bytes(atheris.Mutate(data, most))
            return mutate([data], chance)[:most]

        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-dict={words}"]
        options += ["-max_len=20000", f"-artifact_prefix={folder}/", "-verbosity=1"]
        options += [
            "-print_final_stats=1",
            "-timeout=20",
            "-rss_limit_mb=4096",
            "-use_value_profile=1",
        ]
        folders = [str(folder / "corpus"), str(FOLDER)]
        atheris.Setup([sys.argv[0], *options, *folders], one_input, custom_mutator=change)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word
    )


if __name__ == "__main__":
    run(float(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
