"""The bytes of a Fragment into the request entity, and what they settle [MC-BUP] 3.2.5.2.6.

The rule of this file: the first Fragment says how long the file is, and the record keeps that
before the first byte is kept, or under the same lock; it says complete after the last byte is. The
lock is never held while the network is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from bits_server.protocol.content_range import ContentRange
from bits_server.sessions import rules
from bits_server.settings import Durability, VirtualDirectory
from bits_server.storage.interface import StoredSession


class Receiver:
    """Takes in Fragments of one virtual directory."""

    def __init__(self, directory: VirtualDirectory, *, has_application: bool) -> None:
        self._directory = directory
        self._has_application = has_application

    def receive(
        self, session: StoredSession, content_range: ContentRange, blocks: Iterator[memoryview]
    ) -> int:
        """Block after block, as they come. Returns the next expected byte.

        Raises as ``SessionManager.receive_fragment``.
        """
        rules.refuse_oversized(content_range, self._directory)
        if session.record.total is None:
            with session.locked():
                self._settle_total(session, content_range)
        assert session.record.total is not None
        rules.refuse_changed_total(content_range, session.record.total)
        _refuse_gap(session, content_range)
        if session.record.is_complete:
            return _read_to_the_end(session, blocks)
        at = content_range.first
        for block in blocks:
            received = session.append(block, at)
            at += len(block)
        if content_range.total == 0:
            received = session.append(b"", 0)  # the empty file has no block that would make it
        is_last = received == content_range.total
        self.secure(session, is_last=is_last)  # outside the lock: it may take seconds
        if is_last:
            with session.locked():
                self._keep_complete(session)
        return received

    def receive_file(
        self, session: StoredSession, content_range: ContentRange, blocks: Iterator[memoryview]
    ) -> int:
        """The one Fragment of a file, whose bytes are all here: under the lock, and one save.

        A crash between its bytes and the record leaves bytes without a length; so does nothing
        else. Raises as ``SessionManager.receive_fragment``.
        """
        rules.refuse_oversized(content_range, self._directory)
        total = content_range.total
        if session.record.total is None:
            session.reserve(total)
        else:
            rules.refuse_changed_total(content_range, session.record.total)
            if session.record.is_complete:
                return _read_to_the_end(session, blocks)
        try:
            received = self._write(session, blocks)
        except Exception:
            if session.record.total is None:
                session.save(replace(session.record, total=total))
            raise
        record = replace(session.record, total=total, is_complete=received == total)
        if record != session.record:
            session.save(record)
        return received

    def mark_complete(self, session: StoredSession) -> None:
        """Every byte is there. Under the lock."""
        self.secure(session, is_last=True)
        self._keep_complete(session)

    def _keep_complete(self, session: StoredSession) -> None:
        if not session.record.is_complete:
            # An application may take the entity away: then nothing else says that it was here.
            session.save(replace(session.record, is_complete=True), lasting=self._has_application)

    def secure(self, session: StoredSession, *, is_last: bool = False) -> None:
        """Before an Ack tells the next expected byte, where the settings ask for that.

        And before the record says complete: that must not outlive the bytes.
        """
        wanting = (Durability.FRAGMENT, Durability.CLOSE) if is_last else (Durability.FRAGMENT,)
        if self._directory.durability in wanting and not session.record.is_complete:
            session.make_durable()

    def _settle_total(self, session: StoredSession, content_range: ContentRange) -> None:
        if session.record.total is None:
            _refuse_gap(session, content_range)
            session.reserve(content_range.total)
            session.save(replace(session.record, total=content_range.total))

    def _write(self, session: StoredSession, blocks: Iterator[memoryview]) -> int:
        at = received = 0
        for block in blocks:
            received = session.write(block, at)
            at += len(block)
        if not at:
            received = session.write(b"", 0)  # the empty file has no block that would make it
        self.secure(session, is_last=True)
        return received


def _refuse_gap(session: StoredSession, content_range: ContentRange) -> None:
    if content_range.first:  # the first Fragment leaves none, and need not look
        rules.refuse_gap(content_range, session.received_length())


def _read_to_the_end(session: StoredSession, blocks: Iterator[memoryview]) -> int:
    """Of a repeated Fragment, to find its body well formed."""
    for _ in blocks:
        pass
    return session.received_length()
