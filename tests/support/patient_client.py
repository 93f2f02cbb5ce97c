"""A client as Windows has it: it survives everything, and goes on where an Ack says."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

from tests.support.bits_client import BitsClient
from tests.support.wire import Answer, WireSender

TRIES = 400


class PatientClient:
    """Uploads ``content`` however often the server dies; checks that nothing acknowledged is lost.

    ``acknowledged``: the highest next expected byte that an Ack ever told. ``acks``: packets that
    were answered; ``repeats``: packets that had to be sent again.
    """

    def __init__(
        self, address: tuple[str, int], target: str, content: bytes, seed: random.Random
    ) -> None:
        self._sender = WireSender(address, timeout=30.0)
        self._client = BitsClient(self._sender, target)
        self.content = content
        self._random = seed
        self._pause = threading.Event()
        self.acknowledged = 0
        self.acks = 0
        self.repeats = 0

    def run(self) -> None:
        with self._sender:
            answer = self._insist(self._client.create)
            assert answer.status == 200, answer
            while self.acknowledged < len(self.content):
                self._send_fragment()
            answer = self._insist(self._client.close)
            assert answer.status == 200, (self._client.target, answer)

    def _send_fragment(self) -> None:
        first = self.acknowledged
        size = self._random.choice([1, 700, 5_120, 65_536, 300_000])
        body = self.content[first : first + size]
        answer = self._insist(lambda: self._client.fragment(body, first, len(self.content)))
        assert answer.status == 200, (self._client.target, answer)
        received = int(answer["BITS-Received-Content-Range"])
        assert received >= first + len(body), "bytes that were acknowledged are gone"
        self.acknowledged = received

    def _insist(self, send: Callable[[], Answer]) -> Answer:
        """Send the packet until it is answered; a connection that breaks is made anew."""
        for _ in range(TRIES):
            try:
                answer = send()
            except OSError:
                self.repeats += 1
                self._pause.wait(0.02)
                continue
            self.acks += 1
            return answer
        raise AssertionError("no answer after so many tries")
