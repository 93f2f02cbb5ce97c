"""Who guesses is slowed down, nobody is locked out, and memory has a limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.web.authentication import throttle as module
from bits_server.web.authentication.throttle import (
    FORGOTTEN_AFTER_SECONDS,
    FREE_FAILURES,
    LONGEST_WAIT_SECONDS,
    Throttle,
)
from tests.web.authentication.stages import Clock

ADDRESS = "192.0.2.1"


def fail(throttle: Throttle, count: int, address: str = ADDRESS) -> None:
    for _ in range(count):
        throttle.add(address)


def wait(throttle: Throttle, address: str = ADDRESS) -> float:
    with throttle.turn(address) as seconds:
        return seconds


def test_the_first_failures_are_free_and_each_further_one_costs_twice_as_much() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(FREE_FAILURES + 9):
        throttle.add(ADDRESS)
        waits.append(wait(throttle))
    assert waits[: FREE_FAILURES - 1] == [0] * (FREE_FAILURES - 1)
    assert waits[FREE_FAILURES - 1 :] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_the_wait_ends_and_all_is_forgotten_after_ten_quiet_minutes() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    fail(throttle, 100)
    assert wait(throttle) == LONGEST_WAIT_SECONDS
    clock.now += LONGEST_WAIT_SECONDS
    assert wait(throttle) == 0
    assert throttle.add(ADDRESS) == 101
    clock.now += FORGOTTEN_AFTER_SECONDS + 1
    assert throttle.add(ADDRESS) == 1


def test_thousands_of_failures_cost_a_minute_each_and_no_more() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    for count in range(1, 5000):
        assert throttle.add(ADDRESS) == count
        assert wait(throttle) <= LONGEST_WAIT_SECONDS
    clock.now += LONGEST_WAIT_SECONDS
    assert wait(throttle) == 0


class TestTurn:
    def test_guesses_of_a_slow_address_are_looked_at_one_by_one(self) -> None:
        """A wait is for all who come at once, or it would let one through for each thread."""
        clock = Clock()
        throttle = Throttle(clock)
        fail(throttle, FREE_FAILURES + 3)
        clock.now += LONGEST_WAIT_SECONDS
        with throttle.turn(ADDRESS) as seconds:
            assert seconds == 0
            assert [wait(throttle) for _ in range(3)] == [8, 8, 8]
            assert wait(throttle, "192.0.2.2") == 0
            throttle.add(ADDRESS)
        assert wait(throttle) == 16

    def test_who_was_right_leaves_his_turn_to_the_next(self) -> None:
        clock = Clock()
        throttle = Throttle(clock)
        fail(throttle, FREE_FAILURES)
        clock.now += LONGEST_WAIT_SECONDS
        assert [wait(throttle) for _ in range(3)] == [0, 0, 0]
        with pytest.raises(RuntimeError), throttle.turn(ADDRESS):
            raise RuntimeError
        assert wait(throttle) == 0

    @pytest.mark.parametrize(("count", "quiet_seconds"), [(4, 0), (9, FORGOTTEN_AFTER_SECONDS + 1)])
    def test_of_an_address_that_is_not_slow_all_have_their_turn(
        self, count: int, quiet_seconds: float
    ) -> None:
        clock = Clock()
        throttle = Throttle(clock)
        fail(throttle, count)
        clock.now += quiet_seconds
        with throttle.turn(ADDRESS) as first, throttle.turn(ADDRESS) as second:
            assert first == second == 0


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ("2001:db8:1:2::9", True),
        ("2001:db8:1:3::1", False),
        ("::1", False),
        ("192.0.2.1", False),
    ],
)
def test_an_ipv6_network_is_one(other: str, is_same: bool) -> None:
    throttle = Throttle(Clock())
    fail(throttle, 20, "2001:db8:1:2::1")
    assert bool(wait(throttle, other)) is is_same


def test_an_ipv4_address_is_the_same_in_both_forms() -> None:
    throttle = Throttle(Clock())
    fail(throttle, 20, "::ffff:192.0.2.1")
    assert wait(throttle, "192.0.2.1") > 0
    assert wait(throttle, "192.0.2.2") == 0


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_ADDRESSES", 3)
    throttle = Throttle(Clock())
    for number in range(10):
        fail(throttle, 6, f"192.0.2.{number}")
    assert len(throttle._failures) == 3
    assert wait(throttle, "192.0.2.9") > 0
    assert wait(throttle, "192.0.2.0") == 0


@given(st.text(max_size=50), st.integers(1, 30))
def test_any_text_is_an_address(address: str, count: int) -> None:
    throttle = Throttle(Clock())
    fail(throttle, count, address)
    assert (wait(throttle, address) > 0) is (count >= FREE_FAILURES)
