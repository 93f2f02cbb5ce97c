"""The same target for atheris, which changes inputs by what of our code they reach."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["bits_server"]):
    from tests.fuzz.corpus import FOLDER, seeds
    from tests.fuzz.in_process import in_process
    from tests.fuzz.mutations import FIELDS

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

        options = [f"-max_total_time={seconds:.0f}", f"-seed={seed}", f"-dict={words}"]
        options += ["-max_len=20000", f"-artifact_prefix={folder}/", "-verbosity=1"]
        options += ["-print_final_stats=1", "-timeout=20", "-rss_limit_mb=4096"]
        atheris.Setup([sys.argv[0], *options, str(folder / "corpus"), str(FOLDER)], one_input)
        atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word
    )
