"""One attempt at a job, from wherever it stands: the upload, the reply, and the end of the session.

The rule of this file: what must survive a crash is saved before it is relied upon; whatever the
network, the server or the file does ends as a state of the job and never as an exception.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bits_server.client import reply
from bits_server.client.bandwidth import RateLimiter, Stop
from bits_server.client.clock import SYSTEM_CLOCK, Clock
from bits_server.client.conversation import Conversation
from bits_server.client.credentials import Passwords
from bits_server.client.errors import (
    BG_E_INVALID_SERVER_RESPONSE,
    ConnectionBroken,
    Fatal,
    FragmentTooLarge,
    SessionLost,
    Stopped,
    TransferFailed,
    Transient,
)
from bits_server.client.failures import after_failure
from bits_server.client.fragment_sizes import FragmentSizes
from bits_server.client.headway import Headway
from bits_server.client.jobs import (
    ErrorContext,
    Job,
    JobState,
    JobType,
    Progress,
    SessionOnServer,
)
from bits_server.client.local_file import OpenFile
from bits_server.client.transport import Transport

SHOW_SECONDS = 0.2
SAVE_SECONDS = 1.0  # progress is written down so often at most
MOST_NEW_SESSIONS = 3  # in one attempt, without a byte more than before

Save = Callable[[Job], None]


class Transfer:
    """Works on one job. Not to be shared between threads."""

    def __init__(
        self,
        job: Job,
        *,
        save: Save,
        passwords: Passwords,
        limiter: RateLimiter,
        clock: Clock = SYSTEM_CLOCK,
        on_sent: Save | None = None,
    ) -> None:
        """``save`` is called with the job at each step that must survive a crash, and about once
        a second for its progress. ``limiter``: shared by all jobs. ``on_sent``: for the eyes, some
        times a second, with bytes that were sent and are not acknowledged yet. ``lines`` may be
        cut from another thread, to wait for no answer any more.
        """
        self.job = job
        self._save = save
        self._clock = clock
        self._limiter = limiter.for_job(job)
        self._transport = Transport(job.settings, passwords)
        self.lines = self._transport.lines
        self._conversation = Conversation(self._transport, job.url)
        self._sizes = FragmentSizes(job.settings.fragment_size_limit, self._limiter.rate)
        self._headway = Headway()
        self._on_sent = on_sent
        self._shown_at = self._saved_at = float("-inf")
        self._is_known_position = False

    def run(self, stop: Stop) -> Job:
        """To TRANSFERRED, ERROR, TRANSIENT_ERROR (with ``next_try``), or QUEUED once more where
        ``stop`` was set. Raises what ``save`` raises, and errors in the program.
        """
        with self._transport:
            try:
                self._attempt(stop)
            except Stopped:
                self._update(state=JobState.QUEUED)
            except TransferFailed as failure:
                if failure.is_transient and stop.is_set():  # the line was cut, or would have been
                    self._update(state=JobState.QUEUED)
                else:
                    self._fail(failure)
        return self.job

    def _attempt(self, stop: Stop) -> None:
        with OpenFile(self.job.file) as file:
            self._update(state=JobState.CONNECTING, error=None, next_try=None)
            sessions = best = 0
            while True:
                try:
                    self._greet(stop)
                    self._upload(file, stop)
                    self._fetch_reply(stop)
                    self._close()
                    return
                except SessionLost:
                    sessions = 0 if self.job.progress.transferred > best else sessions + 1
                    best = max(best, self.job.progress.transferred)
                    if sessions > MOST_NEW_SESSIONS:
                        raise Transient(
                            0x8020001F,
                            "the server forgets each session that it opens: see its log, and "
                            "whether several machines answer at this URL",
                            context=ErrorContext.REMOTE_FILE,
                        ) from None
                    self._forget_session()

    def _greet(self, stop: Stop) -> None:
        """Whoever goes on with an upload says hello first [MC-BUP] 3.1.4.3."""
        session = self.job.session
        if session is None:
            return
        until = session.host_id_until
        if until is not None and self._clock.now() >= until:
            session = replace(session, host_id=None, host_id_until=None)
            self._session_is(session)
        if stop.is_set():
            raise Stopped
        self._conversation.ping(session)

    def _upload(self, file: OpenFile, stop: Stop) -> None:
        if self.job.session is None:
            self._is_known_position = True
            session = self._conversation.create_session()
            self._session_is(session)
            if session.host_id:
                self._conversation.ping(session)
        self._update(state=JobState.TRANSFERRING)
        retried = False
        while not self._is_uploaded():
            if stop.is_set():
                raise Stopped
            file.check()
            before = self.job.progress.transferred
            try:
                self._send_next(file, stop)
                retried = False
            except FragmentTooLarge:
                pass
            except ConnectionBroken:
                # A kept connection may have been closed meanwhile, which says nothing. Anything
                # more is for the retry delay, unless bytes have come through.
                self._sizes.broke()
                self._is_known_position = False
                if retried and self.job.progress.transferred <= before:
                    raise
                retried = True
                if stop.is_set():
                    raise Stopped from None
                self._conversation.ping(self.job.session)

    def _send_next(self, file: OpenFile, stop: Stop) -> None:
        total = self.job.file.size
        first, size = self.job.progress.transferred, 0
        if not self._is_known_position and total:
            # The last byte alone: it is either the one that is wanted, or the answer says which.
            first, size = total - 1, 1
        else:
            size = min(self._sizes.size, total - first)
        session = self.job.session
        assert session is not None
        began = self._clock.monotonic()
        body = file.fragment(first, size, self._limiter, stop, self._sent)
        try:
            received, reply_url = self._conversation.fragment(
                session, first, size, total, body if size else None
            )
        except FragmentTooLarge:
            self._refused(size)
            raise
        except Fatal as failure:
            if size or failure.error.http_status != 400:
                raise
            received, reply_url = 0, None  # Close-Session alone will have to make the file
        if self._is_known_position and received == first + size:
            self._sizes.took(size, self._clock.monotonic() - began)
        self._is_known_position = True
        self._host_was_reached()
        self._received(received, reply_url, is_all=received == total)
        if received < total:
            self._headway.came(first, received)

    def _sent(self, at: int) -> None:
        now = self._clock.monotonic()
        if self._on_sent is None or now - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = now
        if self._is_known_position:
            progress = replace(self.job.progress, transferred=at)
            self._on_sent(replace(self.job, progress=progress))

    def _refused(self, size: int) -> None:
        if not self._sizes.refused(size):
            raise Fatal(
                0x8019019D,
                f"the server, or a proxy before it, takes not even {size} bytes at once",
                context=ErrorContext.REMOTE_FILE,
                http_status=413,
            )

    def _received(self, received: int, reply_url: str | None, *, is_all: bool) -> None:
        session = self.job.session
        assert session is not None
        if is_all:
            self._session_is(replace(session, reply_url=reply_url), is_saved=False)
        grows = received > self.job.progress.transferred
        progress = replace(
            self.job.progress, transferred=received, total=self.job.file.size, is_uploaded=is_all
        )
        self._progress(progress, grows=grows, is_saved=is_all)

    def _is_uploaded(self) -> bool:
        return self.job.progress.is_uploaded

    def _fetch_reply(self, stop: Stop) -> None:
        session = self.job.session
        assert session is not None
        if self.job.type is not JobType.UPLOAD_REPLY or self.job.reply_path is None:
            return
        if session.reply_url is None:
            raise Fatal(
                BG_E_INVALID_SERVER_RESPONSE,
                "the server named no reply that can be fetched: no application answers there, or "
                "it was meant to be a plain upload",
                context=ErrorContext.REMOTE_APPLICATION,
            )

        def progress(there: int, total: int | None, tag: str | None) -> None:
            session = self.job.session
            assert session is not None
            if tag != session.reply_tag:
                self._session_is(replace(session, reply_tag=tag))
            changed = replace(self.job.progress, reply_transferred=there, reply_total=total)
            self._progress(changed, grows=there > self.job.progress.reply_transferred)

        size = reply.download(
            self._transport,
            session.reply_url,
            reply.hidden_path(self.job.reply_path, self.job.id),
            session.reply_tag,
            limiter=self._limiter,
            stop=stop,
            progress=progress,
        )
        changed = replace(self.job.progress, reply_transferred=size, reply_total=size)
        self._progress(changed, grows=True, is_saved=True)

    def _close(self) -> None:
        assert self.job.session is not None
        self._conversation.close_session(self.job.session)
        self._update(
            state=JobState.TRANSFERRED, session=None, transferred_at=self._clock.now(), error=None
        )

    def _forget_session(self) -> None:
        self._update(session=None, progress=Progress(total=self.job.file.size))

    def _host_was_reached(self) -> None:
        session = self.job.session
        if session is not None and session.host_id_until is not None:
            self._session_is(replace(session, host_id_until=None))

    def _session_is(self, session: SessionOnServer, *, is_saved: bool = True) -> None:
        if is_saved:
            self._update(session=session)
        else:
            self.job = self.job.changed(self._clock.now(), session=session)

    def _progress(self, progress: Progress, *, grows: bool, is_saved: bool = False) -> None:
        now = self._clock.now()
        since = None if grows else self.job.failing_since
        self.job = self.job.changed(now, progress=progress, failing_since=since)
        if is_saved or self._clock.monotonic() - self._saved_at >= SAVE_SECONDS:
            self._write_down()

    def _update(self, **changes: object) -> None:
        self.job = self.job.changed(self._clock.now(), **changes)
        self._write_down()

    def _write_down(self) -> None:
        self._saved_at = self._clock.monotonic()
        self._save(self.job)

    def _fail(self, failure: TransferFailed) -> None:
        self._update(**after_failure(self.job, failure, self._clock.now()))
