"""Telling the server application of a complete request entity, once.

The rule of this file: the outcome is in the session's record before anybody hears of it. After a
success, and after a 403, it is repeated without another call; after another failure the next packet
calls again. Nobody holds the session's lock while the application works.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import quote

from bits_server.notification.interface import BackEndClient
from bits_server.protocol.errors import (
    ApplicationBroken,
    ApplicationFailed,
    ApplicationRefused,
    MalformedPacket,
)
from bits_server.protocol.notifications import (
    LONGEST_URL,
    NotificationRequest,
    NotificationResponse,
    with_query,
)
from bits_server.sessions.checksum import note_checksum
from bits_server.sessions.observer import SessionObserver
from bits_server.sessions.turns import Turns
from bits_server.settings import Durability, NotificationType, NotifyAt, VirtualDirectory
from bits_server.storage.interface import (
    HasLocalPaths,
    ReplyUnusable,
    SessionStore,
    StoredSession,
)
from bits_server.storage.record import NotificationOutcome, SessionRecord

LONGEST_ERROR = 2000  # characters in the record, which is read as a whole for each packet


class Notifier:
    """Notifies the server application of one virtual directory."""

    def __init__(
        self,
        directory: VirtualDirectory,
        store: SessionStore,
        client: BackEndClient,
        turns: Turns,
        observer: SessionObserver | None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``observer``: None for a command that says itself what it did.

        ``clock``: seconds since 1970. Raises TypeError where the store has no local paths.
        """
        self._directory = directory
        self._client = client
        self._turns = turns
        self._observer = observer
        self._clock = clock
        self._paths: HasLocalPaths | None = None
        if directory.notification_type is NotificationType.BY_REFERENCE:
            if not isinstance(store, HasLocalPaths):
                raise TypeError("notification by reference needs a store whose files have paths")
            self._paths = store

    def refuse_untellable(self, original_url: str) -> None:
        """Raise MalformedPacket where the query string makes the notification URL too long."""
        query = NotificationRequest("", original_url).query
        length = len(with_query(self._directory.absolute_notification_url, query))
        if length > LONGEST_URL:
            raise MalformedPacket(
                f"with the query string the notification URL has {length} characters, "
                f"allowed are {LONGEST_URL}"
            )

    def settle(self, session: StoredSession, *, can_reply: bool = True) -> NotificationOutcome:
        """The success that was reached already, or is now.

        ``can_reply``: the packet's Ack can carry BITS-Reply-URL. Raises ApplicationFailed as the
        client is to be told, ServiceUnavailable, EntityVanished, SessionNotFound.
        """
        known = session.record.notification
        if known is not None and known.is_final:
            return _repeated(known)
        with self._turns.turn(), session.notifying():
            with session.locked():  # and so to read what another connection has come to meanwhile
                latest = session.record.notification
            if latest is not None and (latest.is_final or latest != known):
                return _repeated(latest)
            return self._call(session, can_reply)

    def notify_again(self, session: StoredSession) -> NotificationOutcome:
        """Another call, whatever came of earlier ones: an operator wishes it.

        Raises ApplicationFailed, EntityVanished, SessionNotFound.
        """
        can_reply = self._directory.notify_at is not NotifyAt.CLOSE
        with session.notifying():
            with session.locked():
                pass  # to read what another connection has come to meanwhile
            session.open_request_entity().close()  # by reference nobody else would miss it
            return self._call(session, can_reply)

    def _call(self, session: StoredSession, can_reply: bool) -> NotificationOutcome:
        previous = session.record.notification
        outcome = NotificationOutcome(
            attempts=1 if previous is None else previous.attempts + 1,
            began=self._clock(),
            ended=0.0,
        )
        try:
            response = self._tell(session, can_reply)
            succeeded = replace(outcome, succeeded=True, status=response.status)
            outcome = self._with_wishes(succeeded, session, response, can_reply)
        except ApplicationFailed as error:
            status = error.application_status
            self._keep(
                session,
                replace(
                    outcome,
                    status=status,
                    told_status=error.status,
                    error=str(error)[:LONGEST_ERROR],
                ),
            )
            raise
        return self._keep(session, outcome)

    def _tell(self, session: StoredSession, can_reply: bool) -> NotificationResponse:
        """The call itself. What an earlier one left as its reply is not to be taken for its own."""
        if self._directory.durability is not Durability.NONE:
            session.make_durable()
        note_checksum(session, self._directory.checksum)
        session.discard_reply()
        record = session.record
        request = NotificationRequest(record.guid, record.original_url, sha256=record.sha256)
        if self._paths is not None:
            paths = self._paths.local_paths(record.session_id)
            request = replace(request, request_path=paths.request, response_path=paths.response)
            return self._client.notify(request, None, None)
        request = replace(request, entity_length=record.total or 0)
        with session.open_request_entity() as entity:
            if not can_reply:
                return self._client.notify(request, entity, None)
            with session.new_reply() as reply:
                response = self._client.notify(request, entity, reply.write)
        if response.body_length == 0:
            session.discard_reply()  # an empty body is none
        return response

    def _with_wishes(
        self,
        outcome: NotificationOutcome,
        session: StoredSession,
        response: NotificationResponse,
        can_reply: bool,
    ) -> NotificationOutcome:
        outcome = replace(outcome, copies_to_destination=response.copies_to_destination)
        if not can_reply:
            return outcome
        if response.static_response_url is not None:
            return replace(outcome, reply_url=response.static_response_url)
        try:
            reply = session.open_reply()
        except ReplyUnusable as error:
            raise _unusable(error, response.status) from error
        if reply is None:
            return outcome
        reply.file.close()
        return replace(outcome, has_reply=True, reply_url=self._reply_url(session.record))

    def _reply_url(self, record: SessionRecord) -> str:
        """Absolute where the settings know our name; clients resolve a path [wire]."""
        directory = self._directory
        prefix = directory.public_url or quote(directory.url)
        return f"{prefix.rstrip('/')}/BITS-Sessions/{quote(record.guid)}/response"

    def _keep(self, session: StoredSession, outcome: NotificationOutcome) -> NotificationOutcome:
        outcome = replace(outcome, ended=self._clock())
        with session.locked():
            session.save(replace(session.record, notification=outcome), lasting=True)
        if self._observer is not None:
            self._observer.notified(self._directory.url, session.record)
        return outcome


def _repeated(outcome: NotificationOutcome) -> NotificationOutcome:
    if outcome.succeeded:
        return outcome
    assert outcome.told_status is not None
    raise ApplicationRefused(
        f"{outcome.error} (told again, without another call)", outcome.told_status
    )


def _unusable(error: ReplyUnusable, status: int) -> ApplicationBroken:
    broken = ApplicationBroken(str(error))
    broken.application_status = status
    return broken
