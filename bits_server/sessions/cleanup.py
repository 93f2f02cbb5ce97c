"""The clean-up: abandoned sessions, old closed records, and what crashes left, go away.

The rule of this file: decide here, remove in the store. A session is looked at again under its
lock before it goes, so that one that moves on meanwhile stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Protocol

from bits_server.protocol.errors import BitsError, SessionNotFound
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import SessionObserver
from bits_server.storage.interface import (
    Leftover,
    LeftoverKind,
    SessionStore,
    Sweep,
    Sweepable,
)
from bits_server.storage.record import CLOSED_RECORD_SECONDS

DEBRIS_SECONDS = 600.0  # whoever is removing it now gets the time to finish
PAUSE_EVERY = 64  # sessions looked at, then the threads that serve packets get their turn


class CleanableStore(SessionStore, Sweepable, Protocol):
    """A store that can be cleaned up."""


class Cleanup:
    """The clean-up of one virtual directory."""

    def __init__(
        self,
        directory: str,
        store: CleanableStore,
        observer: SessionObserver | None,
        *,
        session_timeout: float,
        clock: Callable[[], float] = time.time,
        pause: Callable[[], None] = lambda: None,
    ) -> None:
        """``directory``: its URL. ``session_timeout``: seconds without progress.

        ``clock``: seconds since 1970. ``pause``: called now and then.
        """
        self._directory = directory
        self._store = store
        self._observer = observer
        self._session_timeout = session_timeout
        self._clock = clock
        self._pause = pause

    def run(self, *, dry_run: bool = False) -> CleanupReport | None:
        """One clean-up; None where another process is at it, or there is nothing to clean."""
        with self._store.cleaning() as may_clean:
            if not may_clean:
                return None
            report = CleanupReport()
            self._sweep_sessions(report, dry_run=dry_run)
            self._sweep_leftovers(report, dry_run=dry_run)
            return report

    def run_if_due(self, interval: float) -> CleanupReport | None:
        """The regular clean-up: of sessions where the last one is ``interval`` seconds ago.

        Of what else there is at least every hour: a busy server closes many sessions.
        """
        due = {
            Sweep.SESSIONS: self._sweep_sessions,
            Sweep.LEFTOVERS: self._sweep_leftovers,
        }
        intervals = {
            Sweep.SESSIONS: interval,
            Sweep.LEFTOVERS: min(interval, CLOSED_RECORD_SECONDS),
        }
        if not any(self._is_due(what, intervals[what]) for what in Sweep):
            return None
        with self._store.cleaning() as may_clean:
            if not may_clean:
                return None
            report = CleanupReport()
            for what, sweep in due.items():
                if self._is_due(what, intervals[what]):  # still: nobody was faster
                    sweep(report, dry_run=False)
                    self._store.note_swept(what)
        if self._observer is not None:
            self._observer.cleaned_up(self._directory, report)
        return report

    def _is_due(self, what: Sweep, interval: float) -> bool:
        age = self._clock() - self._store.last_swept(what)
        return not 0 <= age < interval  # a time to come is that of a clock that was wrong

    def _sweep_sessions(self, report: CleanupReport, *, dry_run: bool) -> None:
        for session_id, last_progress in self._store.progress():
            report.found += 1
            if report.found % PAUSE_EVERY == 0:
                self._pause()
            if not self._is_expired(last_progress):
                continue
            try:
                self._remove_session(session_id, report, dry_run=dry_run)
            except (OSError, BitsError, ValueError, RecursionError) as error:
                # The last two: of what somebody wrote into session.json, or put into the folder.
                report.failures.append(f"{session_id}: {error}")

    def _remove_session(
        self, session_id: SessionId, report: CleanupReport, *, dry_run: bool
    ) -> None:
        try:
            session = self._store.open(session_id)
        except SessionNotFound:
            self._remove_wreck(session_id, report, dry_run=dry_run)
            return
        with closing(session):
            try:
                with session.locked():
                    if not self._is_expired(session.last_progress()):
                        return
                    if not dry_run:
                        session.delete()
            except SessionNotFound:
                return  # it ended meanwhile
            report.removed.append(session.record)
            if self._observer is not None and not dry_run:
                self._observer.expired(self._directory, session.record)

    def _remove_wreck(self, session_id: SessionId, report: CleanupReport, *, dry_run: bool) -> None:
        try:
            if not dry_run:
                self._store.remove_wreck(session_id)
        except FileNotFoundError:
            return  # not a wreck: it ended meanwhile
        report.wrecks.append(session_id)

    def _sweep_leftovers(self, report: CleanupReport, *, dry_run: bool) -> None:
        for leftover in self._store.leftovers():
            if leftover.kind is LeftoverKind.FOREIGN:
                report.foreign.append(leftover.name)
            elif self._clock() - leftover.since > _LEFTOVER_SECONDS[leftover.kind]:
                self._remove_leftover(leftover, report, dry_run=dry_run)

    def _remove_leftover(self, leftover: Leftover, report: CleanupReport, *, dry_run: bool) -> None:
        try:
            if not dry_run:
                self._store.remove_leftover(leftover)
        except OSError as error:
            report.failures.append(f"{leftover.name}: {error}")
            return
        if leftover.kind is LeftoverKind.CLOSED_RECORD:
            report.closed_records += 1
        else:
            report.debris.append(leftover.name)

    def _is_expired(self, last_progress: float) -> bool:
        return self._clock() - last_progress > self._session_timeout


_LEFTOVER_SECONDS = {
    LeftoverKind.CLOSED_RECORD: CLOSED_RECORD_SECONDS,
    LeftoverKind.DEBRIS: DEBRIS_SECONDS,
}
