"""What a back-end client must offer; ``http_client`` is the one there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Protocol

from bits_server.protocol.notifications import NotificationRequest, NotificationResponse

Keep = Callable[[bytes], object]  # takes a block of the answer's body, or raises OSError


class BackEndClient(Protocol):
    """Speaks to the server application of one virtual directory [MC-BUP] 3.3."""

    def notify(
        self, request: NotificationRequest, entity: BinaryIO | None, keep: Keep | None
    ) -> NotificationResponse:
        """Tell it once, and return its success.

        ``entity``: sent as the body, ``request.entity_length`` bytes of it. ``keep``: is given the
        body of the answer, block by block, unless that has a BITS-Static-Response-URL; None: it is
        thrown away. Raises ApplicationFailed, one of its kinds.
        """
