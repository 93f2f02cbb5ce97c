"""At most half of the threads wait for applications, a few for their turn, and no more."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest

from bits_server.protocol.errors import ServiceUnavailable
from bits_server.sessions.turns import Turns
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("threads", "places"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (17, 8), (1024, 512)]
)
def test_half_of_the_threads_may_wait_and_never_none(threads: int, places: int) -> None:
    turns = Turns(threads, patience=0.0)
    with ExitStack() as taken:
        for _ in range(places):
            taken.enter_context(turns.turn())
        with pytest.raises(ServiceUnavailable) as caught, turns.turn():
            pytest.fail("there was no place left")
        assert caught.value.retry_after_seconds
    with turns.turn():
        pass


def test_who_waits_gets_the_place_that_becomes_free() -> None:
    turns = Turns(4, patience=60.0)
    has_turn = threading.Event()

    def wait() -> None:
        with turns.turn():
            has_turn.set()

    first, second = turns.turn(), turns.turn()
    first.__enter__()
    second.__enter__()
    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    assert not has_turn.wait(0.05)
    first.__exit__(None, None, None)
    assert has_turn.wait(10)
    thread.join(10)
    second.__exit__(None, None, None)


def test_no_more_than_a_quarter_of_the_threads_waits_for_a_turn() -> None:
    """The third has no patience to lose: it is refused at once, although two wait."""
    turns = Turns(8, patience=60.0)
    began = threading.Barrier(3)
    done = []

    def wait() -> None:
        began.wait(10)
        with turns.turn():
            done.append(True)

    with ExitStack() as taken:
        for _ in range(4):
            taken.enter_context(turns.turn())
        threads = [threading.Thread(target=wait, daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        began.wait(10)
        wait_until(lambda: turns._queue._value == 0)
        with pytest.raises(ServiceUnavailable), turns.turn():
            pytest.fail("there was no place left")
    for thread in threads:
        thread.join(10)
    assert done == [True, True]


def test_a_failure_gives_the_turn_back() -> None:
    turns = Turns(1, patience=0.0)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), turns.turn():
            raise ZeroDivisionError
