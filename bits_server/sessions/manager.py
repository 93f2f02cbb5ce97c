"""What the server does with each packet: one public method for each [MC-BUP] 3.2.5.2.

The rule of this file: order of events only. Decisions are in ``rules``, bytes in the store; the
lock of a session is never held while a block is awaited from the network.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.protocol.states import ON_CLOSE, CloseAction
from bits_server.sessions import rules
from bits_server.sessions.observer import SessionObserver
from bits_server.settings import Durability, VirtualDirectory
from bits_server.storage.interface import DestinationPath, SessionStore, StoredSession
from bits_server.storage.record import ClosedRecord, SessionRecord


@dataclass(frozen=True, slots=True)
class Uploader:
    """Who sends the packets. ``user`` is empty for the anonymous."""

    user: str = ""
    client_address: str = ""


class SessionManager:
    """The sessions of one virtual directory."""

    def __init__(
        self,
        directory: VirtualDirectory,
        store: SessionStore,
        observer: SessionObserver,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``clock``: seconds since 1970."""
        self.directory = directory
        self._store = store
        self._observer = observer
        self._clock = clock

    def create_session(self, destination: DestinationPath, uploader: Uploader) -> SessionId:
        """[MC-BUP] 3.2.5.2.4. What would refuse the upload at its end refuses it here.

        Raises AccessDenied, MalformedPacket, PathNotFound.
        """
        self._refuse_occupied(destination)
        session_id = SessionId(uuid.uuid4())  # a cryptographic source: the id is a capability
        record = SessionRecord(
            guid=str(session_id),
            destination=str(destination),
            owner=uploader.user,
            client_address=uploader.client_address,
            created=self._clock(),
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
    ) -> int:
        """[MC-BUP] 3.2.5.2.6. Take the bytes that are new; return the next expected byte.

        ``blocks`` are the bytes that ``content_range`` names; it raises where there are more or
        fewer. Raises SessionNotFound, FragmentOutOfOrder, FragmentTooLarge, EntityTooLarge,
        MalformedPacket, and AccessDenied where the destination appeared meanwhile.
        """
        with closing(self._open(session_id, destination, uploader)) as session:
            received = self._receive(session, content_range, blocks)
            if content_range.ends_entity:
                self._refuse_occupied(destination)
            self._observer.fragment_received(
                self.directory.url, session.record, content_range, received
            )
            return received

    def close_session(
        self, session_id: SessionId, destination: DestinationPath, uploader: Uploader
    ) -> None:
        """[MC-BUP] 3.2.5.2.7. Put a complete file in its place; remove all of the session.

        Repeated after success it does nothing, for an hour. Raises SessionNotFound, AccessDenied,
        PathNotFound, EntityVanished, MalformedPacket; the session stays then.
        """
        try:
            with closing(self._open(session_id, destination, uploader)) as session:
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
            self._secure_fragment(session)
            return session.received_length()

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

    def _receive(
        self, session: StoredSession, content_range: ContentRange, blocks: Iterator[memoryview]
    ) -> int:
        rules.refuse_oversized(content_range, self.directory)
        if session.record.total is None:
            with session.locked():
                self._settle_total(session, content_range)
        assert session.record.total is not None
        rules.refuse_changed_total(content_range, session.record.total)
        received = session.received_length()
        rules.refuse_gap(content_range, received)
        if session.record.is_complete:
            for _ in blocks:  # to have read the body, and to have found it well formed
                pass
            return received
        at = content_range.first
        for block in blocks:
            received = session.append(block, at)
            at += len(block)
        if content_range.total == 0:
            received = session.append(b"", 0)  # the empty file has no block that would make it
        self._secure_fragment(session)
        if received == content_range.total:
            with session.locked():
                self._mark_complete(session)
        return received

    def _settle_total(self, session: StoredSession, content_range: ContentRange) -> None:
        """The first Fragment says how long the file is, before its first byte is kept."""
        if session.record.total is None:
            rules.refuse_gap(content_range, session.received_length())
            session.save(replace(session.record, total=content_range.total))

    def _mark_complete(self, session: StoredSession) -> None:
        if not session.record.is_complete:
            session.save(replace(session.record, is_complete=True))

    def _secure_fragment(self, session: StoredSession) -> None:
        """Before an Ack tells the next expected byte, where the settings ask for that."""
        if self.directory.durability is Durability.FRAGMENT and not session.record.is_complete:
            session.make_durable()

    def _finish(
        self, session: StoredSession, session_id: SessionId, destination: DestinationPath
    ) -> str:
        if session.record.total == session.received_length():
            self._mark_complete(session)  # the last Fragment died after its last byte
        action = ON_CLOSE[session.record.state]
        outcome = action.value
        if self._store.closed_record(session_id) is not None:
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
