"""What an operator does with the sessions of one virtual directory, beside the running server.

The rule of this file: the store's locks are the server's own, so that a session that is cancelled,
notified or extended here is so for every worker. An operator needs neither the user nor the
destination of a session.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

from bits_server.protocol.errors import SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.cleanup import CleanableStore
from bits_server.sessions.notifying import Notifier
from bits_server.settings import VirtualDirectory
from bits_server.storage.interface import HasLocalPaths, LocalPaths, SessionBroken, StoredSession
from bits_server.storage.record import ClosedRecord, NotificationOutcome, SessionRecord


class NotPossible(Exception):
    """A wish that cannot be granted; the message says why, and what can be done."""


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """One session as it was when looked at.

    ``record``: None for a wreck, and ``problem`` says why. ``received_length``: bytes.
    ``last_progress``: seconds since 1970.
    """

    directory: VirtualDirectory
    session_id: SessionId
    last_progress: float
    received_length: int = 0
    record: SessionRecord | None = None
    problem: str = ""


class Administration:
    """The sessions of one virtual directory, for its operator."""

    def __init__(
        self, directory: VirtualDirectory, store: CleanableStore, notifier: Notifier | None
    ) -> None:
        """``notifier``: None where there is no application."""
        self.directory = directory
        self._store = store
        self._notifier = notifier

    def look_at_all(self, *, idle_since: float | None = None) -> Iterator[SessionFacts]:
        """Every session, wrecks included, in no order; one is in memory at a time.

        ``idle_since``: only those without progress since then, seconds since 1970.
        """
        for session_id, last_progress in self._store.progress():
            if idle_since is not None and last_progress > idle_since:
                continue
            try:
                yield self._look_at(session_id, last_progress)
            except SessionNotFound:
                continue  # it ended meanwhile

    def look_at_changed(
        self, known: Mapping[SessionId, float]
    ) -> Iterator[tuple[SessionId, SessionFacts | None]]:
        """Every session; None for those that were last written to at the time that is ``known``,
        in seconds since 1970: they are not read.
        """
        for session_id, last_progress in self._store.progress():
            if known.get(session_id) == last_progress:
                yield session_id, None
                continue
            try:
                yield session_id, self._look_at(session_id, last_progress)
            except SessionNotFound:
                continue  # it ended meanwhile

    def look_at(self, session_id: SessionId) -> SessionFacts:
        """Raises SessionNotFound, for a wreck SessionBroken."""
        with closing(self._store.open(session_id)) as session:
            return self._facts_of(session, session_id, session.last_progress())

    def paths(self, session_id: SessionId) -> LocalPaths | None:
        """Where the files of a session are, in a store that has such."""
        if not isinstance(self._store, HasLocalPaths):
            return None
        return self._store.local_paths(session_id)

    def closed_record(self, session_id: SessionId) -> ClosedRecord | None:
        """What is known of a session that was closed within the hour."""
        return self._store.closed_record(session_id)

    def cancel(self, session_id: SessionId) -> SessionRecord:
        """As Cancel-Session does. Raises SessionNotFound."""
        with closing(self._store.open(session_id)) as session:
            with session.locked():
                session.delete()
            return session.record

    def extend(self, session_id: SessionId) -> SessionRecord:
        """The time without progress, after which the clean-up comes, starts anew.

        Raises SessionNotFound.
        """
        with closing(self._store.open(session_id)) as session:
            with session.locked():
                session.touch()
            return session.record

    def notify(self, session_id: SessionId) -> NotificationOutcome:
        """Call the server application, also where it has succeeded or refused for good.

        Waits for a call that is under way. Raises NotPossible, ApplicationFailed, EntityVanished,
        SessionNotFound.
        """
        with closing(self._store.open(session_id)) as session:
            if self._notifier is None:
                raise NotPossible(
                    f"{self.directory.url} has no server application: its notification_type is none"
                )
            self._refuse_incomplete(session)
            return self._notifier.notify_again(session)

    def _refuse_incomplete(self, session: StoredSession) -> None:
        with session.locked():
            record, received = session.record, session.received_length()
            if record.total is None:
                raise NotPossible("no Fragment has come yet: there is nothing to tell of")
            if received < record.total:
                raise NotPossible(f"{received} of {record.total} bytes have come: not all yet")
            if not record.is_complete:  # the last Fragment died after its last byte
                session.save(replace(record, is_complete=True), lasting=True)

    def _look_at(self, session_id: SessionId, last_progress: float) -> SessionFacts:
        try:
            with closing(self._store.open(session_id)) as session:
                return self._facts_of(session, session_id, last_progress)
        except (SessionBroken, OSError):
            # Half of one that is just being removed looks like a wreck; look again.
            try:
                return self.look_at(session_id)
            except (SessionBroken, OSError) as error:
                return SessionFacts(self.directory, session_id, last_progress, problem=str(error))

    def _facts_of(
        self, session: StoredSession, session_id: SessionId, last_progress: float
    ) -> SessionFacts:
        received = session.received_length()
        return SessionFacts(self.directory, session_id, last_progress, received, session.record)
