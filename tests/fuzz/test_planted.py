"""The fuzzer finds what is planted: else that it found nothing would say nothing."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bits_server.web.bits_post import BitsPost
from tests.fuzz.__main__ import fuzz_in_process, fuzz_wire

HOARD: list[bytes] = []


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One finding is enough, and comes soon."""
    monkeypatch.setattr("tests.fuzz.__main__.MOST_FOUND", 1)
    monkeypatch.setattr("tests.fuzz.in_process.WARM_AFTER", 100)
    monkeypatch.setattr("tests.fuzz.wire.PATIENCE_SECONDS", 3.0)
    yield
    HOARD.clear()


def leave_application() -> None:
    raise FileNotFoundError("planted")


def fail_unforeseen() -> None:
    raise ZeroDivisionError("planted")


def write_outside() -> None:
    (Path.cwd().parent / "planted").touch()


def climb() -> None:
    os.close(os.open("../planted", os.O_RDONLY))


def grow() -> None:
    HOARD.append(os.urandom(1 << 20))


@pytest.mark.parametrize(
    ("action", "place", "said"),
    [
        (leave_application, "answer", "FileNotFoundError('planted')"),
        (fail_unforeseen, "_carry_out", "an unforeseen failure"),
        (write_outside, "_carry_out", "touched outside"),
        (climb, "_carry_out", "touched outside"),
        (grow, "_carry_out", "memory has grown"),
    ],
)
def test_in_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    action: Callable[[], None],
    place: str,
    said: str,
) -> None:
    """``place``: in ``_carry_out`` all exceptions are answered, above it none is."""
    (tmp_path / "working").mkdir()
    (tmp_path / "planted").touch()
    monkeypatch.chdir(tmp_path / "working")
    plain = getattr(BitsPost, place)

    def changed(self: Any, *arguments: Any, **options: Any) -> Any:
        environ = next(each for each in arguments if isinstance(each, dict))
        if environ.get("HTTP_BITS_PACKET_TYPE") == "Close-Session":
            action()
        return plain(self, *arguments, **options)

    monkeypatch.setattr(BitsPost, place, changed)
    (found,) = fuzz_in_process(60, random.Random(1), tmp_path)
    assert found.parent == tmp_path
    assert said in capsys.readouterr().out


PROGRAM = """
import os, sys, threading
from bits_server.cli import main
from bits_server.web.bits_post import BitsPost
plain, hoard = BitsPost.answer, []
def changed(self, environ, *arguments, **options):
    if environ.get("HTTP_BITS_PACKET_TYPE") == "Close-Session":
        ACTION
    return plain(self, environ, *arguments, **options)
BitsPost.answer = changed
main()
"""


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("os._exit(1)", "the worker was lost"),
        ("threading.Event().wait(8)", "the server holds a connection"),
        ("raise OSError('planted')", "planted"),
        ("hoard.append(os.urandom(8 << 20))", "its memory has grown"),
        ("hoard.extend(os.open('/dev/null', 0) for _ in range(8))", "it holds more than before"),
        (
            "os.makedirs(os.path.join(os.path.dirname(sys.argv[-1]), 'planted'), exist_ok=True)",
            "beside the virtual directories there is {'planted'}",
        ),
    ],
)
def test_at_a_real_server(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, action: str, said: str
) -> None:
    program = PROGRAM.replace("ACTION", action)
    assert fuzz_wire(4, "1", through_nginx=False, keep_in=tmp_path, program=program)
    assert said in capsys.readouterr().out


WITHOUT_ATHERIS = """
import sys, types
from contextlib import contextmanager

@contextmanager
def instrument_imports(include):
    loaded = [name for name in sys.modules if name.startswith(tuple(include))]
    assert loaded == [], f"atheris could not look at {loaded}"
    yield
    print(*(name for name in sys.modules if name.startswith(tuple(include))))

sys.modules["atheris"] = types.SimpleNamespace(instrument_imports=instrument_imports)
import tests.fuzz.guided
"""


def test_the_guided_fuzzer_sees_what_inputs_reach() -> None:
    """What is imported before it looks is never seen, and all inputs are alike to it."""
    command = [sys.executable, "-c", WITHOUT_ATHERIS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    seen = done.stdout.split()
    assert {"bits_server.web.bits_post", "bits_server.app", "gunicorn.http.parser"} <= set(seen)
