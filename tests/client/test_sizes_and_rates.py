"""Fragment sizes, limits of bandwidth, proxies, and addresses: what each may decide."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bits_server.client.addresses import is_usable, joined, origin_of
from bits_server.client.bandwidth import PIECE_BYTES, RateLimiter
from bits_server.client.credentials import Credentials
from bits_server.client.errors import Stopped
from bits_server.client.fragment_sizes import LARGEST_BYTES, SMALLEST_BYTES, FragmentSizes
from bits_server.client.jobs import JobState, Settings
from bits_server.client.proxies import login_in, proxy_for, without_login
from tests.client.conftest import JobMaker, Runner

URL = "https://files.example.test/upload/f.bin"

EVENTS = st.one_of(
    st.tuples(st.just("took"), st.floats(0.000001, 10_000)),
    st.tuples(st.just("broke"), st.just(0.0)),
    st.tuples(st.just("refused"), st.just(0.0)),
)


@given(st.integers(0, 1 << 40), st.lists(EVENTS, max_size=60))
def test_a_fragment_is_never_too_small_nor_larger_than_was_taken(
    limit: int, events: list[tuple[str, float]]
) -> None:
    sizes, most = FragmentSizes(limit), max(SMALLEST_BYTES, min(limit, LARGEST_BYTES))
    for what, seconds in events:
        size = sizes.size
        assert SMALLEST_BYTES <= size <= most
        if what == "took":
            sizes.took(size, seconds)
        elif what == "broke":
            sizes.broke()
        elif sizes.refused(size):
            most = min(most, size - 1)
        else:
            assert size == SMALLEST_BYTES


def test_a_quick_server_gets_the_largest_and_a_slow_one_small_fragments() -> None:
    sizes = FragmentSizes()
    for _ in range(5):
        sizes.took(sizes.size, 0.01)
    assert sizes.size == LARGEST_BYTES
    for _ in range(20):
        sizes.took(sizes.size, sizes.size / 10_000)
    assert 20_000 < sizes.size <= 80_000


class Patience:
    """A stop that waits in no time, and counts."""

    def __init__(self) -> None:
        self.waited = 0.0

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float | None = None) -> bool:
        self.waited += timeout or 0.0
        return False


@pytest.mark.parametrize(("own", "total"), [(1000, None), (None, 1000), (1000, 5000)])
def test_the_smaller_limit_holds(make_job: JobMaker, own: int | None, total: int | None) -> None:
    patience = Patience()
    shared = RateLimiter(total, clock=lambda: patience.waited)
    limiter = shared.for_job(make_job(URL, rate_limit=own))
    for _ in range(100):
        limiter.take(100, patience)
    assert patience.waited == pytest.approx(10.0, rel=0.05)


def test_two_jobs_share_the_limit_of_all(make_job: JobMaker) -> None:
    patience = Patience()
    shared = RateLimiter(1000, clock=lambda: patience.waited)
    first, second = (shared.for_job(make_job(URL)) for _ in range(2))
    for _ in range(50):
        first.take(100, patience)
        second.take(100, patience)
    assert patience.waited == pytest.approx(10.0, rel=0.05)


@pytest.mark.parametrize("rate", [1, 1000, 100_000, 10_000_000])
def test_a_limit_makes_nobody_silent_for_long(make_job: JobMaker, rate: int) -> None:
    """Nor a Fragment of hours: servers leave who sends nothing for a minute."""
    limiter = RateLimiter(rate).for_job(make_job(URL, rate_limit=20_000_000))
    assert limiter.rate == rate
    piece = limiter.piece(1 << 30)
    assert piece == 1 or piece / rate <= 0.25
    assert piece <= PIECE_BYTES
    sizes = FragmentSizes(rate=rate)
    assert sizes.size == SMALLEST_BYTES or sizes.size / rate <= 10
    assert sizes.size <= LARGEST_BYTES


def test_without_a_limit_the_largest_pieces_are_taken(make_job: JobMaker) -> None:
    assert RateLimiter(None).for_job(make_job(URL)).piece(1 << 30) == 1 << 30


def test_who_waits_for_bytes_stops_at_once(make_job: JobMaker) -> None:
    stop = threading.Event()
    limiter = RateLimiter(1).for_job(make_job(URL))
    threading.Timer(0.05, stop.set).start()
    with pytest.raises(Stopped):
        limiter.take(1_000_000, stop)
    with pytest.raises(Stopped):
        limiter.take(0, stop)


NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("settings", "proxy"),
    [
        (Settings(), "http://of-the-environment:1"),
        (Settings(no_proxy=("example.test",)), None),
        (Settings(proxy=""), None),
        (Settings(proxy="named:2"), "http://named:2"),
        (Settings(proxy="https://named:2"), "https://named:2"),
        (Settings(proxy="named:2", no_proxy=("other.test",)), "http://named:2"),
        (Settings(proxy="named:2", no_proxy=("example.test",)), None),
        (Settings(proxy="named:2", no_proxy=("*",)), None),
    ],
)
def test_which_proxy(
    bare_environment: pytest.MonkeyPatch, settings: Settings, proxy: str | None
) -> None:
    bare_environment.setenv("https_proxy", "http://of-the-environment:1")
    assert proxy_for(URL, settings) == proxy


def test_the_exceptions_of_the_environment_are_for_its_own_proxy(
    bare_environment: pytest.MonkeyPatch,
) -> None:
    bare_environment.setenv("https_proxy", "http://of-the-environment:1")
    bare_environment.setenv("no_proxy", "files.example.test")
    assert proxy_for(URL, Settings()) is None
    assert proxy_for(URL, Settings(proxy="named:2")) == "http://named:2"


def test_the_login_of_a_proxy_is_not_for_the_eyes() -> None:
    assert without_login("http://c%40rol:s%3Acret@proxy:3128") == "http://proxy:3128"
    assert without_login("http://proxy:3128") == "http://proxy:3128"


@given(st.text(max_size=60))
def test_what_a_server_names_is_a_usable_url_or_none(text: str) -> None:
    whole = joined(URL, text)
    if whole is not None:
        assert is_usable(whole)
        assert origin_of(whole)[0] in ("http", "https")


def test_the_same_origin_in_other_words() -> None:
    assert origin_of("HTTPS://Files.Example.test:443/x") == origin_of(URL)
    for other in ("http://files.example.test/x", "https://files.example.test:444/", "https://b/"):
        assert origin_of(other) != origin_of(URL)


def test_the_login_of_a_proxy_in_the_environment() -> None:
    assert login_in("http://c%40rol:s%3Acret@proxy:3128") == Credentials("c@rol", "s:cret")
    assert login_in("http://carol@proxy:3128") is None
    assert login_in("http://proxy:3128") is None


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks4"])
def test_a_proxy_that_speaks_no_http_is_told_as_such(
    bare_environment: pytest.MonkeyPatch, make_job: JobMaker, run: Runner, scheme: str
) -> None:
    bare_environment.setenv("all_proxy", f"{scheme}://carol:s3cret@127.0.0.1:9")
    done = run(make_job(URL, proxy=None))
    assert done.state is JobState.ERROR
    assert done.error is not None
    assert done.error.hresult == 0x80072EE6
    assert f"the proxy {scheme}://127.0.0.1:9 speaks {scheme}" in done.error.text
