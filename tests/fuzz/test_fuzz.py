"""Whatever arrives is answered by an Ack or an error of HTTP, and harms nothing.

What ``make fuzz`` has ever found is replayed here, and a sample of what it tries is tried.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import seeds
from tests.fuzz.in_process import InProcess, in_process
from tests.fuzz.invariants import Finding, check_answers
from tests.fuzz.mutations import BODIES, FIELDS, LINES, mutate
from tests.fuzz.wire import Target, serving

SMUGGLED_REQUEST = (
    b"BITS_POST /upload/smuggled HTTP/1.1\r\nHost: bits.test\r\n"
    b"BITS-Packet-Type: Create-Session\r\n"
    b"BITS-Supported-Protocols: {7df0354d-249b-430f-820d-3d2a9bef4931}\r\n"
    b"Content-Length: 0\r\n\r\n"
)


@pytest.fixture(scope="module")
def process() -> Iterator[InProcess]:
    with in_process() as target:
        yield target
        target.check_all()


@pytest.fixture(scope="module", params=[False, True], ids=["direct", "through nginx"])
def server(request: pytest.FixtureRequest) -> Iterator[Target]:
    with serving(through_nginx=request.param) as target:
        yield target


@pytest.mark.parametrize("name", seeds())
def test_the_corpus(process: InProcess, name: str) -> None:
    process.feed(seeds()[name])


def test_the_corpus_over_a_real_connection(server: Target, seeded: random.Random) -> None:
    for data in seeds().values():
        server.send(data, seeded)
    server.check_all()


def test_the_corpus_reaches_what_it_is_for(process: InProcess, server: Target) -> None:
    """An upload, a login and a reply succeed: else nothing behind them would be tried."""
    assert process.feed(seeds()["upload-whole.http"]) == 3
    for name, answers in (
        ("upload-whole.http", 3),
        ("fragment-logged-in.http", 1),
        ("reply-there.http", 2),
        ("create-by-proxy.http", 0 if server.is_proxied else 1),  # nginx lets no such field pass
        ("create-by-certificate.http", 0 if server.is_proxied else 1),
        ("upload-page.http", 1),
        ("upload-page-file.http", 1),
        ("sessions-page.http", 1),
        ("sessions-page-act.http", 1),
    ):
        raw = server.raw(seeds()[name])
        assert raw.count(b"HTTP/1.1 20") == answers, (name, raw)


def test_nobody_keeps_the_lines_of_the_log(
    process: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """Of 100 000 inputs they would be taken for memory that the server does not give back."""
    process.feed(b"BITS_POST /upload/f HTTP/1.1\r\nHost: bits.test\r\n\r\n")
    assert caplog.records == []


def test_changes_by_chance(process: InProcess, seeded: random.Random, is_soak: bool) -> None:
    beginnings = list(seeds().values())
    for _ in range(100_000 if is_soak else 3_000):
        data = mutate(beginnings, seeded)
        try:
            process.feed(data)
        except Exception:
            print(f"the input: {data!r}")
            raise


def test_changes_by_chance_cost_a_real_server_nothing(
    server: Target, seeded: random.Random, is_soak: bool
) -> None:
    """No worker, no descriptor, no thread, no memory."""
    beginnings = list(seeds().values())
    for _ in range(100):
        server.send(mutate(beginnings, seeded), seeded)
    before = server.resources()
    for _ in range(3_000 if is_soak else 200):
        server.send(mutate(beginnings, seeded), seeded)
    server.check_all()
    after = server.resources()
    assert after.descriptors <= before.descriptors + 8  # one for each thread, on its way
    assert after.threads <= before.threads + 8
    assert after.megabytes < before.megabytes + 24


HEADS = st.tuples(
    st.one_of(st.sampled_from(LINES), st.binary(max_size=60)),
    st.lists(st.one_of(st.sampled_from(FIELDS), st.binary(max_size=80)), max_size=12),
    st.one_of(st.sampled_from(BODIES), st.binary(max_size=300)),
)


@given(st.lists(HEADS, min_size=1, max_size=3), st.sampled_from([b"\r\n", b"\n"]))
@example([(b"", [], b"")], b"\r\n")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_lines(
    process: InProcess, requests: list[tuple[bytes, list[bytes], bytes]], end: bytes
) -> None:
    process.feed(b"".join(end.join([line, *fields, b"", body]) for line, fields, body in requests))


SMUGGLED = [name for name in seeds() if name.startswith("smuggled-")]


@pytest.mark.parametrize("name", SMUGGLED)
def test_a_request_in_the_body_of_another_is_none(server: Target, name: str) -> None:
    """Whoever reads the lengths in another way than we do must not find a request of his own."""
    data = seeds()[name]
    assert data.endswith(SMUGGLED_REQUEST)
    before = server.destinations().count("smuggled")
    assert server.raw(data).count(b"HTTP/1.1 ") <= 2
    assert server.destinations().count("smuggled") == before


def test_the_request_that_is_smuggled_would_be_seen(server: Target) -> None:
    before = server.destinations().count("smuggled")
    assert b"HTTP/1.1 200" in server.raw(SMUGGLED_REQUEST)
    assert server.destinations().count("smuggled") == before + 1


@pytest.mark.parametrize(
    "raw",
    [
        b"Traceback (most recent call last):",
        b"HTTP/1.1 200 OK\r\nA: b\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno field\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nbehind it",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ],
)
def test_what_is_no_answer_is_found(raw: bytes) -> None:
    with pytest.raises(Finding):
        check_answers(raw)
