"""Several observers as one: each is told of everything, as if it were alone."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from bits_server.sessions.observer import Observers, SessionObserver

CALLS = [name for name in vars(SessionObserver) if not name.startswith("_")]


class Listener:
    """Remembers every call with its arguments."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.mark.parametrize("name", CALLS)
def test_each_of_several_observers_is_told(name: str) -> None:
    first: Any = Listener()
    second: Any = Listener()
    parameters = list(inspect.signature(getattr(SessionObserver, name)).parameters)[1:]
    arguments = [object() for _ in parameters]
    getattr(Observers([first, second]), name)(*arguments)
    assert first.calls == second.calls == [(name, *arguments)]


def test_every_call_was_looked_at() -> None:
    assert {"session_created", "failed", "answered"} <= set(CALLS)
