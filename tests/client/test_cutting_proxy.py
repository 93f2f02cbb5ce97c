"""The cutting proxy itself: each plan is kept to the byte, and what is unharmed passes whole."""

from __future__ import annotations

import hashlib
import itertools
import random
import socket

import pytest

from tests.support.bits_client import BitsClient
from tests.support.cutting_proxy import CuttingProxy, Plan, random_plans
from tests.support.fake_iis import FakeIis
from tests.support.wire import WireSender

BODY = random.Random("cut").randbytes(300_000)


def test_without_a_plan_everything_passes() -> None:
    with FakeIis() as iis, CuttingProxy(iis.address) as proxy:
        with WireSender(proxy.address, timeout=10) as sender:
            BitsClient(sender).upload(BODY, 70_000)
        assert iis.files == {"/upload/f.bin": BODY}
        assert (proxy.connections, proxy.cuts) == (1, 0)


@pytest.mark.parametrize("is_reset", [False, True])
def test_a_connection_ends_after_so_many_bytes_from_the_client(is_reset: bool) -> None:
    iis = FakeIis()
    with iis, CuttingProxy(iis.address, [Plan(), Plan(sent=5000, is_reset=is_reset)]) as proxy:
        with WireSender(proxy.address, is_kept=False, timeout=10) as sender:
            client = BitsClient(sender)
            client.create()
            with pytest.raises(ConnectionResetError if is_reset else ConnectionError):
                client.fragment(BODY, 0, len(BODY))
            head = len(client.fragment_head(len(BODY)))
            (session,) = iis.sessions.values()
        assert proxy.cuts == 1
    assert abs(len(session.received) - (5000 - head)) < 50


def test_an_answer_is_lost_after_all_was_done() -> None:
    iis = FakeIis()
    with iis, CuttingProxy(iis.address, [Plan(answered=0)]) as proxy:
        with WireSender(proxy.address, timeout=10) as sender, pytest.raises(ConnectionError):
            BitsClient(sender).create()
        assert iis.kinds() == ["Create-Session"]
        assert proxy.cuts == 1


def test_a_stall_lasts_until_the_client_leaves() -> None:
    iis = FakeIis()
    with iis, CuttingProxy(iis.address, [Plan(sent=100, stalls=True)]) as proxy:
        with WireSender(proxy.address, timeout=0.2) as sender, pytest.raises(TimeoutError):
            BitsClient(sender).create()
        with WireSender(proxy.address, timeout=10) as sender:
            BitsClient(sender).upload(BODY)
        assert iis.files == {"/upload/f.bin": BODY}


def test_bytes_that_come_one_at_a_time_are_the_same_bytes() -> None:
    received = []
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        CuttingProxy(listener.getsockname(), [Plan(trickles=500)]) as proxy,
        socket.create_connection(proxy.address, 10) as sender,
    ):
        taken, _ = listener.accept()
        sender.sendall(BODY)
        sender.shutdown(socket.SHUT_WR)
        with taken:
            while block := taken.recv(1 << 20):
                received.append(block)
    assert len(received[0]) < 500
    assert hashlib.sha256(b"".join(received)).digest() == hashlib.sha256(BODY).digest()


def test_random_plans_are_the_same_for_the_same_seed() -> None:
    first, second = (random_plans(random.Random("seed"), 1 << 20) for _ in range(2))
    plans = list(itertools.islice(first, 200))
    assert plans == list(itertools.islice(second, 200))
    assert any(plan.is_reset for plan in plans)
    assert any(plan.answered is not None for plan in plans)
