"""What the server does with each packet: one public method for each [MC-BUP] 3.2.5.2.

The rule of this file: order of events only. Decisions are in ``rules``, bytes in the store, the
server application behind ``notifying``; the lock of a session is never held while the network is
waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import ON_CLOSE, ON_CLOSE_HANDED_OVER, CloseAction, SessionState
from bits_server.sessions import rules
from bits_server.sessions.checksum import note_checksum
from bits_server.sessions.notifying import Notifier
from bits_server.sessions.observer import SessionObserver
from bits_server.sessions.receiving import Receiver
from bits_server.settings import Checksum, NotifyAt, VirtualDirectory
from bits_server.storage.interface import (
    DestinationPath,
    Reply,
    ReplyUnusable,
    SessionStore,
    StoredSession,
)
from bits_server.storage.record import ClosedRecord, SessionRecord


@dataclass(frozen=True, slots=True)
class Uploader:
    """Who sends the packets. ``user`` is empty for the anonymous."""

    user: str = ""
    client_address: str = ""


@dataclass(frozen=True, slots=True)
class FragmentOutcome:
    """``received_length``: the next expected byte; ``reply_url``: where a reply is, if any."""

    received_length: int
    reply_url: str | None = None


class SessionManager:
    """The sessions of one virtual directory."""

    def __init__(
        self,
        directory: VirtualDirectory,
        store: SessionStore,
        observer: SessionObserver,
        clock: Callable[[], float] = time.time,
        notifier: Notifier | None = None,
    ) -> None:
        """``clock``: seconds since 1970. ``notifier``: None where there is no application."""
        self.directory = directory
        self._store = store
        self._observer = observer
        self._clock = clock
        self._notifier = notifier
        self._receiver = Receiver(directory, has_application=notifier is not None)

    def create_session(
        self, destination: DestinationPath, uploader: Uploader, original_url: str = ""
    ) -> SessionId:
        """[MC-BUP] 3.2.5.2.4. What would refuse the upload at its end refuses it here.

        ``original_url``: the destination URL as the client knows it. Raises AccessDenied,
        MalformedPacket, PathNotFound.
        """
        if self._notifier is None:
            self._refuse_occupied(destination)
        else:
            self._notifier.refuse_untellable(original_url)
            rules.refuse_impossible(self._store.examine(destination))
        session_id = SessionId.new()
        record = SessionRecord(
            guid=str(session_id),
            destination=str(destination),
            owner=uploader.user,
            client_address=uploader.client_address,
            created=self._clock(),
            original_url=original_url,
        )
        self._store.create(record)
        self._observer.session_created(self.directory.url, record)
        return session_id

    def receive_fragment(
        self,
        session_id: SessionId,
        content_range: ContentRange,
        destination: DestinationPath,
        uploader: Uploader,
        blocks: Iterator[memoryview],
        *,
        is_here: bool = False,
    ) -> FragmentOutcome:
        """[MC-BUP] 3.2.5.2.6. Take the bytes that are new; tell the application when all are there.

        ``blocks`` are the bytes that ``content_range`` names; it raises where there are more or
        fewer. ``is_here``: they need not be waited for. Raises SessionNotFound,
        FragmentOutOfOrder, FragmentTooLarge, EntityTooLarge, MalformedPacket, AccessDenied where
        the destination appeared meanwhile, and what ``Notifier.settle`` raises.
        """
        if is_here and content_range.is_whole and self._notifier is None:
            with self._store.locked(session_id) as session:
                rules.refuse_stranger(session.record, destination, uploader.user)
                received = self._receiver.receive_file(session, content_range, blocks)
            self._observer.fragment_received(
                self.directory.url, session.record, content_range, received
            )
            if session.record.is_complete:
                self._refuse_occupied(destination)
            return FragmentOutcome(received)
        with closing(self._open(session_id, destination, uploader)) as session:
            received = self._receiver.receive(session, content_range, blocks)
            self._observer.fragment_received(
                self.directory.url, session.record, content_range, received
            )
            return FragmentOutcome(received, self._finish_receiving(session, destination))

    def close_session(
        self, session_id: SessionId, destination: DestinationPath, uploader: Uploader
    ) -> None:
        """[MC-BUP] 3.2.5.2.7. Put a complete file in its place; remove all of the session.

        Repeated after success it does nothing, for an hour. Raises SessionNotFound, AccessDenied,
        PathNotFound, EntityVanished, MalformedPacket, and what ``Notifier.settle`` raises; the
        session stays then.
        """
        try:
            if self._notifier is None and self.directory.checksum is Checksum.NONE:
                with self._store.locked(session_id) as session:
                    rules.refuse_stranger(session.record, destination, uploader.user)
                    outcome = self._finish(session, session_id, destination)
            else:
                with closing(self._open(session_id, destination, uploader)) as session:
                    self._notify_before_close(session)
                    self._note_checksum(session)
                    with session.locked():
                        outcome = self._finish(session, session_id, destination)
            self._observer.closed(self.directory.url, session.record, outcome)
        except SessionNotFound:
            closed = self._store.closed_record(session_id)
            if closed is None:
                raise
            rules.refuse_stranger(closed, destination, uploader.user)

    def cancel_session(
        self, session_id: SessionId, destination: DestinationPath, uploader: Uploader
    ) -> None:
        """[MC-BUP] 3.2.5.2.8. Remove all of the session. Raises SessionNotFound."""
        with closing(self._open(session_id, destination, uploader)) as session:
            with session.locked():
                session.delete()
            self._observer.cancelled(self.directory.url, session.record)

    def received_length(
        self, session_id: SessionId, destination: DestinationPath, uploader: Uploader
    ) -> int:
        """The next expected byte, to be told with a refusal. Raises SessionNotFound."""
        with closing(self._open(session_id, destination, uploader)) as session:
            self._receiver.secure(session)
            return session.received_length()

    def open_reply(self, session_id: SessionId, uploader: Uploader) -> Reply:
        """The reply of the server application. Raises SessionNotFound where there is none."""
        with closing(self._store.open(session_id)) as session:
            rules.refuse_other_user(session.record, uploader.user)
            outcome = session.record.notification
            try:
                reply = session.open_reply() if outcome and outcome.has_reply else None
            except ReplyUnusable as error:
                raise SessionNotFound(str(error)) from error
        if reply is None:
            raise SessionNotFound("the session has no reply")
        return reply

    def _open(
        self, session_id: SessionId, destination: DestinationPath, uploader: Uploader
    ) -> StoredSession:
        session = self._store.open(session_id)
        try:
            rules.refuse_stranger(session.record, destination, uploader.user)
        except BaseException:
            session.close()
            raise
        return session

    def _finish_receiving(self, session: StoredSession, destination: DestinationPath) -> str | None:
        """What follows on the last byte, and again on each repetition; the URL of the reply."""
        if not session.record.is_complete:
            return None
        if self._notifier is None:
            self._refuse_occupied(destination)
            return None
        if self.directory.notify_at is NotifyAt.CLOSE:
            return None
        outcome = self._notifier.settle(session)
        if outcome.copies_to_destination:
            self._refuse_occupied(destination)
        return outcome.reply_url

    def _notify_before_close(self, session: StoredSession) -> None:
        """An application that was not told, or failed, is told now: its reply would be too late."""
        if self._notifier is None:
            return
        with session.locked():
            if _is_whole(session):
                self._receiver.mark_complete(session)
            state = _state(session)
        if state is SessionState.RECEIVING:
            return  # an incomplete upload is nobody's business
        if state is SessionState.OPENED:
            session.append(b"", 0)
        self._notifier.settle(session, can_reply=False)

    def _note_checksum(self, session: StoredSession) -> None:
        """Of what is about to be published."""
        if _is_whole(session) and not rules.is_handed_over(session.record):
            note_checksum(session, self.directory.checksum)

    def _finish(
        self, session: StoredSession, session_id: SessionId, destination: DestinationPath
    ) -> str:
        if _is_whole(session):
            self._receiver.mark_complete(session)  # the last Fragment died after its last byte
        is_handed_over = rules.is_handed_over(session.record)
        action = (ON_CLOSE_HANDED_OVER if is_handed_over else ON_CLOSE)[_state(session)]
        outcome = action.value
        closed = self._store.closed_record(session_id)
        if closed is not None and session.last_progress() <= closed.closed:  # no byte came since
            outcome = "finished a Close-Session that had been interrupted"
        elif action is CloseAction.PUBLISH:
            session.publish(destination, overwrite=self.directory.allow_overwrites)
        elif action is CloseAction.PUBLISH_EMPTY and not self._store.publish_empty(destination):
            outcome = "no Fragment came, and something has that name already: it stays as it is"
        session.delete(
            ClosedRecord(
                guid=str(session_id),
                destination=str(destination),
                owner=session.record.owner,
                closed=self._clock(),
            )
        )
        return outcome

    def _refuse_occupied(self, destination: DestinationPath) -> None:
        state = self._store.examine(destination)
        rules.refuse_occupied(state, may_overwrite=self.directory.allow_overwrites)


def _is_whole(session: StoredSession) -> bool:
    total = session.record.total
    return total is not None and total == session.received_length()


def _state(session: StoredSession) -> SessionState:
    """That of the record; but bytes of which a crash lost the length are no file."""
    state = session.record.state
    if state is SessionState.OPENED and session.received_length():
        return SessionState.RECEIVING
    return state
