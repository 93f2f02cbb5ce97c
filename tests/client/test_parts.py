"""The small parts of the client: sizes of Fragments, limits, schemes, proxies, time limits."""

from __future__ import annotations

import io
import socket
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.client.bandwidth import BURST_SECONDS, PIECE_BYTES, RateLimiter
from bits_server.client.conversation import Conversation
from bits_server.client.credentials import KnownPasswords
from bits_server.client.errors import ConnectionBroken, Stopped, is_transient_status
from bits_server.client.fragment_sizes import (
    FIRST_BYTES,
    LARGEST_BYTES,
    SMALLEST_BYTES,
    FragmentSizes,
)
from bits_server.client.jobs import Job, JobType, LocalFile, Settings
from bits_server.client.login import offered
from bits_server.client.proxies import proxy_for, without_login
from bits_server.client.transport import TimeLimits, Transport
from tests.support.cutting_proxy import CuttingProxy, Plan
from tests.support.fake_iis import FakeIis


class TestFragmentSizes:
    @given(
        st.integers(1, 1 << 40),
        st.lists(st.one_of(st.none(), st.booleans(), st.floats(0, 1000)), max_size=60),
    )
    def test_whatever_happens_it_stays_within_its_bounds(
        self, limit: int, events: list[bool | float | None]
    ) -> None:
        sizes = FragmentSizes(limit)
        largest = max(SMALLEST_BYTES, min(limit, LARGEST_BYTES))
        for event in events:
            before = sizes.size
            assert SMALLEST_BYTES <= before <= largest
            if event is None:
                sizes.broke()
            elif isinstance(event, bool):
                refused = sizes.refused(before)
                assert refused == (before > SMALLEST_BYTES)
                assert sizes.size < before or not refused
                if refused:
                    largest = min(largest, max(SMALLEST_BYTES, before // 2))
            else:
                sizes.took(before, event)

    def test_a_quick_line_gets_larger_ones_and_a_slow_one_smaller(self) -> None:
        sizes = FragmentSizes()
        assert sizes.size == FIRST_BYTES
        for _ in range(5):
            sizes.took(sizes.size, 0.1)
        assert sizes.size == LARGEST_BYTES
        sizes.took(sizes.size, 130.0)
        assert sizes.size == 400_000, "four seconds' worth"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def a_job(rate: int | None = None) -> Job:
    now = datetime.now(UTC)
    job = Job("{A}", "a", JobType.UPLOAD, LocalFile("/f", 1, 1), "http://h", now, now)
    return replace(job, settings=Settings(rate_limit=rate))


class Waits:
    """A stop event that nobody sets, and that only adds up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = 0.0

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self.seconds += timeout or 0.0
        self._clock.now += timeout or 0.0
        return False


class TestBandwidth:
    @given(st.integers(1, 10**7), st.lists(st.integers(1, PIECE_BYTES), min_size=1, max_size=50))
    def test_no_more_than_the_rate_goes_out(self, rate: int, pieces: list[int]) -> None:
        clock = Clock()
        waits = Waits(clock)
        limiter = RateLimiter(rate, clock=clock).for_job(a_job())
        for piece in pieces:
            limiter.take(piece, waits)
        assert waits.seconds >= sum(pieces) / rate - BURST_SECONDS - 1e-6
        assert waits.seconds <= sum(pieces) / rate + 1e-6

    def test_the_smaller_of_both_limits_counts(self) -> None:
        clock = Clock()
        waits = Waits(clock)
        shared = RateLimiter(1_000_000, clock=clock)
        shared.for_job(a_job(rate=1000)).take(2000, waits)
        assert 1.5 <= waits.seconds <= 2.0

    def test_who_is_told_to_stop_waits_no_longer(self) -> None:
        stop = threading.Event()
        limiter = RateLimiter(1).for_job(a_job())
        stop.set()
        with pytest.raises(Stopped):
            limiter.take(1 << 30, stop)


@pytest.mark.parametrize(
    ("values", "schemes"),
    [
        (["Negotiate"], ["negotiate"]),
        (["Negotiate", 'Basic realm="x"'], ["negotiate", "basic"]),
        (['Digest realm="a, Basic b", nonce="x", qop="auth"'], ["digest"]),
        (['Negotiate, Basic realm="x"'], ["negotiate", "basic"]),
        (['Basic realm="x", Digest nonce="y"'], ["basic", "digest"]),
        ([""], []),
    ],
)
def test_the_schemes_that_are_offered(values: list[str], schemes: list[str]) -> None:
    assert [each for each in offered(values) if each in ("negotiate", "digest", "basic")] == schemes


class TestProxies:
    @pytest.fixture(autouse=True)
    def environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        monkeypatch.setenv("http_proxy", "http://plain:3128")
        monkeypatch.setenv("https_proxy", "http://tls:3128")
        monkeypatch.setenv("no_proxy", "inside.example,10.0.0.0/8")

    @pytest.mark.parametrize(
        ("url", "settings", "proxy"),
        [
            ("http://h.example/f", Settings(), "http://plain:3128"),
            ("https://h.example/f", Settings(), "http://tls:3128"),
            ("https://a.inside.example/f", Settings(), None),
            ("http://10.1.2.3/f", Settings(), None),
            ("https://h.example/f", Settings(proxy=""), None),
            ("https://h.example/f", Settings(proxy="http://own:1"), "http://own:1"),
            ("https://h.example/f", Settings(proxy="own:1"), "http://own:1"),
            ("https://a.inside.example/f", Settings(proxy="http://own:1"), "http://own:1"),
            (
                "https://h.example/f",
                Settings(proxy="http://own:1", no_proxy=("other", ".example")),
                None,
            ),
        ],
    )
    def test_which_one_is_taken(self, url: str, settings: Settings, proxy: str | None) -> None:
        assert proxy_for(url, settings) == proxy

    def test_a_password_in_the_environment_is_not_shown(self) -> None:
        assert without_login("http://user:secret@own:1") == "http://own:1"


def test_a_line_that_stalls_is_left_after_a_while() -> None:
    """In the request, and in the answer."""
    for plan in (Plan(sent=100, stalls=True), Plan(answered=20, stalls=True)):
        with FakeIis() as iis, CuttingProxy(iis.address, [plan]) as proxy:
            limits = TimeLimits(0.5, 0.5, 0.5)
            with Transport(Settings(proxy=""), KnownPasswords(), limits=limits) as transport:
                conversation = Conversation(transport, f"{proxy.url}/upload/f")
                with pytest.raises(ConnectionBroken) as caught:
                    conversation.create_session()
                assert caught.value.error.hresult == 0x80072EE2
                assert conversation.create_session().session_id


class _Sized(io.BytesIO):
    def __len__(self) -> int:
        return len(self.getbuffer())


def test_a_server_that_does_not_read_is_left_after_a_while() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/f"
        limits = TimeLimits(connecting=20.0, sending=0.3, answer=20.0)
        with Transport(Settings(proxy=""), KnownPasswords(), limits=limits) as transport:
            began = time.monotonic()
            with pytest.raises(ConnectionBroken) as caught:
                transport.send("BITS_POST", url, {}, _Sized(bytes(50_000_000)))
        assert caught.value.error.hresult == 0x80072EE2
        assert time.monotonic() - began < 15


def test_statuses_that_pass_by_themselves() -> None:
    transient = {status for status in range(300, 600) if is_transient_status(status)}
    assert transient & set(range(300, 500)) == {306, *range(308, 400), 408, 409}
    assert set(range(500, 600)) - transient == {501, 505}
