"""A back-end client whose server application is a function of the test, in this process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import BinaryIO

from bits_server.notification.interface import Keep
from bits_server.protocol.notifications import NotificationRequest, NotificationResponse

Answer = Callable[[NotificationRequest, bytes], NotificationResponse]


def accept(_request: NotificationRequest, _entity: bytes) -> NotificationResponse:
    return NotificationResponse(200)


class Application:
    """``answer`` is asked each time; ``body`` is what it answers with. ``calls``: what it got."""

    def __init__(self) -> None:
        self.answer: Answer = accept
        self.body = b""
        self.calls: list[tuple[NotificationRequest, bytes]] = []

    def notify(
        self, request: NotificationRequest, entity: BinaryIO | None, keep: Keep | None
    ) -> NotificationResponse:
        content = b"" if entity is None else entity.read()
        assert len(content) == request.entity_length
        self.calls.append((request, content))
        response = self.answer(request, content)
        if keep is None or response.static_response_url is not None:
            return response
        for start in range(0, len(self.body), 1000):
            keep(self.body[start : start + 1000])
        return replace(response, body_length=len(self.body))
