"""Whether the answers to Fragments lead anywhere.

The rule of this file: a server may send the client back, but not for ever on the same spot.
"""

from __future__ import annotations

from bits_server.client.errors import BG_E_INVALID_SERVER_RESPONSE, Transient
from bits_server.client.jobs import ErrorContext

MOST_IN_VAIN = 5


class Headway:
    """Of one attempt."""

    def __init__(self) -> None:
        self._furthest = -1
        self._in_vain = 0

    def came(self, first: int, received: int) -> None:
        """A Fragment from ``first`` on was answered with ``received`` as the next byte.

        Raises Transient where nothing of it was taken, for the ``MOST_IN_VAIN``-th time without a
        byte more than ever before.
        """
        if received > self._furthest:
            self._furthest, self._in_vain = received, 0
        elif received <= first:
            self._in_vain += 1
            if self._in_vain >= MOST_IN_VAIN:
                raise Transient(
                    BG_E_INVALID_SERVER_RESPONSE,
                    f"the server asks for byte {received} again and again: see its log",
                    context=ErrorContext.REMOTE_FILE,
                )
