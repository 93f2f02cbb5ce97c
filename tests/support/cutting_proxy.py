"""A TCP relay on a free port that treats each connection as its plan says.

The rule of this file: it knows nothing of HTTP, and every number that is not the test's comes from
the source of random numbers that it was given.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

BLOCK = 1 << 16
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Plan:
    """What happens to one connection; bytes are counted from its beginning.

    ``sent``: so many bytes from the client pass, and it ends when more come; ``answered``: the same
    of bytes to the client, so that 0 loses the first answer.
    ``stalls``: instead of ending, nothing passes any more until the client leaves.
    ``is_reset``: it ends with RST instead of FIN. ``trickles``: so many of the first bytes pass
    one at a time, in both directions.
    """

    sent: int | None = None
    answered: int | None = None
    stalls: bool = False
    is_reset: bool = False
    trickles: int = 0


UNHARMED = Plan()


def random_plans(seeded: random.Random, largest: int) -> Iterator[Plan]:
    """Without end: most connections end somewhere in the first ``largest`` bytes."""
    while True:
        count = int(2 ** seeded.uniform(0, largest.bit_length()))  # as often early as late
        if seeded.random() < 0.3:
            yield Plan(answered=seeded.randrange(600), is_reset=seeded.random() < 0.5)
        else:
            trickles = seeded.choice([0, 0, seeded.randrange(500)])
            yield Plan(sent=count, is_reset=seeded.random() < 0.5, trickles=trickles)


class CuttingProxy:
    """Relays to ``upstream``; the plans are used up, then every connection is unharmed.

    ``connections``: how many came; ``cuts``: how many of them did not end by themselves.
    """

    def __init__(self, upstream: tuple[str, int], plans: Iterable[Plan] = ()) -> None:
        self._upstream = upstream
        self._plans = iter(plans)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address: tuple[str, int] = self._listener.getsockname()
        self.url = f"http://127.0.0.1:{self.address[1]}"
        self._lock = threading.Lock()
        self._relays: list[_Relay] = []
        self._thread = threading.Thread(target=self._accept)
        self.connections = 0
        self.cuts = 0

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for relay in self._relays:
            relay.stop()
            relay.join()

    def heal(self) -> None:
        """From now on every new connection is unharmed."""
        with self._lock:
            self._plans = iter(())

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                plan = next(self._plans, UNHARMED)
                self.connections += 1
            try:
                server = socket.create_connection(self._upstream, 10)
            except OSError:
                client.close()  # as a relay before a dead server does
                continue
            relay = _Relay(self, client, server, plan)
            self._relays.append(relay)
            relay.start()

    def note_cut(self) -> None:
        with self._lock:
            self.cuts += 1


class _Relay:
    """One connection: a thread for each direction."""

    def __init__(
        self, owner: CuttingProxy, client: socket.socket, server: socket.socket, plan: Plan
    ) -> None:
        self._owner = owner
        self._sockets = (client, server)
        self._plan = plan
        self._has_stalled = threading.Event()
        self._is_cut = False
        self._lock = threading.Lock()
        for each in self._sockets:
            each.settimeout(None)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._left = 2
        self._threads = [
            threading.Thread(target=self._run, args=(client, server, plan.sent)),
            threading.Thread(target=self._run, args=(server, client, plan.answered)),
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def stop(self, how: int = socket.SHUT_RDWR) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(how)

    def _run(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        try:
            self._pass_on(source, target, limit)
        except OSError:
            self.stop()
        with self._lock:
            self._left -= 1
            is_last = not self._left
        if is_last:
            for each in self._sockets:
                each.close()

    def _pass_on(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        passed = 0
        while block := source.recv(1 if passed < self._plan.trickles else BLOCK):
            if self._has_stalled.is_set():
                continue  # taken, and not passed on
            allowed = len(block) if limit is None else limit - passed
            target.sendall(block[:allowed])
            passed += len(block)
            if allowed < len(block):
                self._end()
                if not self._plan.stalls:
                    return
        if not self._is_cut:
            target.shutdown(socket.SHUT_WR)
        elif self._plan.stalls:
            self.stop()  # the client has left

    def _end(self) -> None:
        with self._lock:
            is_first, self._is_cut = not self._is_cut, True
        if is_first:
            self._owner.note_cut()
        if self._plan.stalls:
            self._has_stalled.set()
        elif self._plan.is_reset:
            for each in self._sockets:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.stop(socket.SHUT_RD)  # ends the threads; the last of them closes, and resets
        else:
            self.stop()
