"""What is tried, in which order, and what is told of it.

The rule of this file: what was begun is cleaned up, whatever happens. Unless it is asked for, the
last byte of a file is not sent: so no server application is told of it, and nothing is published.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import urljoin, urlsplit

from bits_server.operations.doctor.conversation import Answer, Conversation, NoAnswer
from bits_server.operations.doctor.findings import (
    PING,
    Finding,
    described,
    no_answer,
    note,
    ok,
    problem,
    refused,
)
from bits_server.operations.doctor.sending import Refused, Upload
from bits_server.operations.doctor.sizes import LARGE_BYTES, FragmentSizes, in_words
from bits_server.protocol import headers as names
from bits_server.protocol.errors import HResult

SMALL_BYTES = 5 << 10
SLOW_BYTES = 2 << 10
HEADER_SIZES = (40 << 10, 30 << 10, 16 << 10, 8 << 10, 4 << 10, 1 << 10)

Tell = Callable[[Finding], object]


@dataclass(frozen=True, slots=True)
class Plan:
    """``name``: of the files, None for names that nobody has. ``pause_seconds``: 0 for none."""

    completes: bool = False
    closes: bool = False
    name: str | None = None
    pause_seconds: float = 10.0


class Examination:
    """One examination of a server through whatever stands in front of it."""

    def __init__(self, conversation: Conversation, plan: Plan, tell: Tell) -> None:
        """``tell``: called with each finding as soon as there is one."""
        self._conversation = conversation
        self._plan = plan
        self._tell = tell
        self.published: list[str] = []  # names of files
        self.has_finished = False

    def run(self) -> None:
        """Try everything; stop where the rest would only say the same."""
        try:
            self._reach()
            self._try(self._long_header)
            self._small_file()
            self._try(self._large_file)
            if self._plan.pause_seconds:
                self._try(self._slow_file)
            self.has_finished = True
        except Refused as refusal:
            self._tell(refusal.finding)
        except NoAnswer as error:
            self._tell(no_answer(error, self._conversation.target, "afterwards"))
        finally:
            self._conversation.close()

    def _try(self, check: Callable[[], None]) -> None:
        """A check after which the others still make sense."""
        try:
            check()
        except Refused as refusal:
            self._tell(refusal.finding)

    def _reach(self) -> None:
        """[MC-BUP] Ping: the way, the method, the virtual directory."""
        target = self._conversation.target
        try:
            answer = self._ping()
        except NoAnswer as error:
            finding = no_answer(error, target, "BITS_POST")
            if error.is_connected and self._passes_overridden():
                self._tell(_blocked("the connection was cut"))
                return
            raise Refused(finding) from error
        if not answer.is_ack and answer.status not in (401, 407) and self._passes_overridden():
            self._tell(_blocked(described(answer)))
            return
        if answer.is_ack and answer.version < 11:
            self._tell(
                problem(
                    "the answer is HTTP/1.0, and BITS needs HTTP/1.1",
                    "Let what stands in front speak HTTP/1.1 to its clients.",
                )
            )
        if not answer.is_success:
            raise Refused(refused(answer, PING))
        self._tell(ok(f"BITS_POST passes, and a BITS server answers at {target.place} (Ping)"))

    def _passes_overridden(self) -> bool:
        self._conversation.is_overridden = True
        try:
            if self._ping().is_ack:
                return True
        except NoAnswer:
            pass
        self._conversation.is_overridden = False
        return False

    def _ping(self, *fields: tuple[str, str]) -> Answer:
        return self._conversation.packet("Ping", "", fields)

    def _long_header(self) -> None:
        """A Kerberos ticket with many groups makes a long Authorization."""
        own = {name.lower() for name, _ in self._conversation.target.fields}
        name = "X-Doctor-Padding" if "authorization" in own else "Authorization"
        wanted, *smaller = HEADER_SIZES
        answer = self._with_header(name, wanted)
        if _has_passed(answer):
            self._tell(ok(f"a header field {name} of {in_words(wanted)} passes"))
            return
        passing = next((each for each in smaller if _has_passed(self._with_header(name, each))), 0)
        if not passing and not (plain := self._ping()).is_success:
            raise Refused(refused(plain, PING))  # the header was not to blame
        said = "the connection was cut" if answer is None else described(answer)
        self._tell(
            problem(
                f"a header field {name} of {in_words(wanted)} does not pass: {said}; "
                + (f"{in_words(passing)} pass" if passing else "no shorter one does either"),
                "Kerberos needs up to 64 KiB. nginx: large_client_header_buffers 4 65k in its http "
                "block; gunicorn: start it with config/gunicorn.conf.py.",
            )
        )

    def _with_header(self, name: str, size: int) -> Answer | None:
        try:
            return self._ping((name, "Negotiate " + "A" * (size - len("Negotiate "))))
        except NoAnswer:
            return None

    def _small_file(self) -> None:
        with self._upload("small", SMALL_BYTES) as upload:
            created = upload.create()
            self._tell(ok("Create-Session is taken"))
            self._look_at_host_id(created)
            upload.send(upload.unsent)
            self._tell(ok(f"a Fragment of {in_words(upload.sent)} is taken"))
            self._finish(upload)
        if self._plan.closes:
            self._look_at_overwriting(upload.name)

    def _large_file(self) -> None:
        with self._upload("large", LARGE_BYTES) as upload:
            upload.create()
            FragmentSizes(upload, self._tell).find()
            if upload.unsent:
                return  # in such small pieces it would take too long
            self._finish(upload)

    def _slow_file(self) -> None:
        seconds = self._plan.pause_seconds
        with self._upload("slow", SLOW_BYTES) as upload:
            upload.create()
            try:
                upload.send(upload.unsent, lambda: time.sleep(seconds))
            except Refused as refusal:
                finding = refusal.finding
                raise Refused(
                    problem(
                        f"a client that is silent for {seconds:g} s in the middle of a Fragment "
                        f"is cut off. {finding.text}",
                        "Raise the time-out for request bodies in front (nginx: "
                        "client_body_timeout 60s, Apache: RequestReadTimeout): slow and lossy "
                        "lines have such pauses.",
                    )
                ) from refusal
            self._tell(ok(f"a pause of {seconds:g} s in the middle of a Fragment does no harm"))

    def _finish(self, upload: Upload) -> None:
        if not upload.is_completed:
            return
        self._tell(ok(f"the last byte of {upload.name} is taken"))
        if upload.reply_url is not None:
            self._fetch_reply(upload)
        if self._plan.closes:
            upload.close()
            self.published.append(upload.name)
            self._tell(ok(f"Close-Session is taken: {upload.name} is published"))

    def _fetch_reply(self, upload: Upload) -> None:
        assert upload.reply_url is not None
        target = self._conversation.target
        url = urljoin(target.url(upload.name), upload.reply_url)
        what = f"the reply at {url!a}"
        parts = urlsplit(url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            place = target.elsewhere(f"{parts.scheme}://{parts.netloc}")
        except ValueError as error:
            raise Refused(problem(f"{what} cannot be fetched: {error}", _REPLY_REMEDY)) from error
        is_here = (place.host, place.port) == (target.host, target.port)
        conversation = self._conversation if is_here else Conversation(place)
        try:
            answer = conversation.request("GET", path)
        except NoAnswer as error:
            finding = no_answer(error, place, what)
            raise Refused(replace(finding, remedy=_REPLY_REMEDY)) from error
        finally:
            if not is_here:
                conversation.close()
        if answer.status != 200:
            said = f"{what} cannot be fetched: {answer.status} from {place.place}"
            raise Refused(problem(said, _REPLY_REMEDY))
        self._tell(ok(f"{what} can be fetched, {in_words(answer.length)}"))

    def _look_at_host_id(self, created: Answer) -> None:
        """Clients leave for that host with their next packet."""
        host_id = created.get(names.BITS_HOST_ID)
        if not host_id:
            return
        target = self._conversation.target
        other = Conversation(target.elsewhere(f"{target.scheme}://{host_id}{target.path}"))
        try:
            answer = other.packet("Ping", "")
        except NoAnswer as error:
            finding = no_answer(error, other.target, "Ping")
        else:
            if answer.is_success:
                self._tell(ok(f"clients are sent on to {host_id} (host_id), which answers"))
                return
            finding = refused(answer, PING)
        finally:
            other.close()
        text = f"clients are sent on to {host_id} (host_id), and fail there. {finding.text}"
        self._tell(problem(text, "Correct host_id, or set it to an empty text. " + finding.remedy))

    def _look_at_overwriting(self, name: str) -> None:
        with Upload(self._conversation, name, 1, completes=False) as again:
            try:
                again.create()
            except Refused as refusal:
                if refusal.hresult != HResult.E_ACCESSDENIED:
                    raise
                self._tell(note("an existing file cannot be replaced: allow_overwrites is off"))
                return
        self._tell(note("an existing file can be replaced, or an application takes the files"))

    def _upload(self, kind: str, size: int) -> Upload:
        name = self._plan.name or f"bits-server-doctor-{kind}-{uuid.uuid4()}.bin"
        completes = self._plan.completes or self._plan.closes
        return Upload(self._conversation, name, size, completes=completes, tell=self._tell)


_REPLY_REMEDY = (
    "Clients that wait for a reply fail. See that what stands in front passes GET below the "
    "virtual directory, BITS-Sessions too; set public_url to what clients know; and look at the "
    "BITS-Static-Response-URL of the application."
)


def _has_passed(answer: Answer | None) -> bool:
    """Who asks for another Authorization has read this one."""
    return answer is not None and (answer.is_ack or answer.status == 401)


def _blocked(said: str) -> Finding:
    return problem(
        f"the method BITS_POST is blocked: {said}; POST with X-HTTP-Method-Override passes",
        "Windows clients send BITS_POST only: let the method pass in the proxy or firewall. What "
        "follows was tried with POST.",
    )
