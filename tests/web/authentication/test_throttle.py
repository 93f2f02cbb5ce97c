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


def test_the_first_failures_are_free_and_each_further_one_costs_twice_as_much() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    waits = []
    for _ in range(FREE_FAILURES + 9):
        throttle.add(ADDRESS)
        waits.append(throttle.wait_seconds(ADDRESS))
    assert waits[: FREE_FAILURES - 1] == [0] * (FREE_FAILURES - 1)
    assert waits[FREE_FAILURES - 1 :] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_the_wait_ends_and_all_is_forgotten_after_ten_quiet_minutes() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    fail(throttle, 100)
    assert throttle.wait_seconds(ADDRESS) == LONGEST_WAIT_SECONDS
    clock.now += LONGEST_WAIT_SECONDS
    assert throttle.wait_seconds(ADDRESS) == 0
    assert throttle.add(ADDRESS) == 101
    clock.now += FORGOTTEN_AFTER_SECONDS + 1
    assert throttle.add(ADDRESS) == 1


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
    assert bool(throttle.wait_seconds(other)) is is_same


def test_an_ipv4_address_is_the_same_in_both_forms() -> None:
    throttle = Throttle(Clock())
    fail(throttle, 20, "::ffff:192.0.2.1")
    assert throttle.wait_seconds("192.0.2.1") > 0
    assert throttle.wait_seconds("192.0.2.2") == 0


def test_memory_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAXIMUM_ADDRESSES", 3)
    throttle = Throttle(Clock())
    for number in range(10):
        fail(throttle, 6, f"192.0.2.{number}")
    assert len(throttle._failures) == 3
    assert throttle.wait_seconds("192.0.2.9") > 0
    assert throttle.wait_seconds("192.0.2.0") == 0


@given(st.text(max_size=50), st.integers(1, 30))
def test_any_text_is_an_address(address: str, count: int) -> None:
    throttle = Throttle(Clock())
    fail(throttle, count, address)
    assert (throttle.wait_seconds(address) > 0) is (count >= FREE_FAILURES)
