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
    were answered; ``repeats``: packets that had to be sent again, for a broken connection or for
    one of the statuses ``passing``.
    """

    def __init__(
        self,
        address: tuple[str, int],
        target: str,
        content: bytes,
        seed: random.Random,
        passing: tuple[int, ...] = (),
    ) -> None:
        self._passing = passing
        self._sender = WireSender(address, timeout=30.0)
        self._client = BitsClient(self._sender, target)
        self.content = content
        self._random = seed
        self._has_given_up = threading.Event()
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

    def give_up(self) -> None:
        """Try nothing again from now on."""
        self._has_given_up.set()

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
                is_answered = answer.status not in self._passing
            except OSError:
                is_answered = False
            if not is_answered:
                self.repeats += 1
                if self._has_given_up.wait(0.02):
                    break
                continue
            self.acks += 1
            return answer
        raise AssertionError("no answer after so many tries")


class uploads:  # noqa: N801  # reads as a statement: with uploads(clients)
    """All the clients at once, each in a thread; ``failures``: what they raised."""

    def __init__(self, clients: list[PatientClient]) -> None:
        self._clients = clients
        self._threads = [threading.Thread(target=self._run, args=(each,)) for each in clients]
        self.failures: list[BaseException] = []

    def __enter__(self) -> uploads:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for client in self._clients:
                client.give_up()
        for thread in self._threads:
            thread.join()

    def is_alive(self) -> bool:
        """Wait a little; whether somebody is still at it."""
        for thread in self._threads:
            thread.join(0.0005)
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, client: PatientClient) -> None:
        try:
            client.run()
        except BaseException as error:
            self.failures.append(error)
