"""One upload of an examination: its packets, each of which must be taken, and its end."""

from __future__ import annotations

from collections.abc import Callable

from bits_server.operations.doctor.conversation import Answer, Conversation, NoAnswer
from bits_server.operations.doctor.findings import Finding, no_answer, note, problem, refused
from bits_server.protocol import headers as names
from bits_server.protocol.packets import UPLOAD_PROTOCOL


class Refused(Exception):
    """A packet was not taken. ``answer``: None where there was none."""

    def __init__(self, finding: Finding, answer: Answer | None = None) -> None:
        super().__init__(finding.text)
        self.finding = finding
        self.answer = answer

    @property
    def hresult(self) -> int | None:
        """Of the answer, if there was one."""
        return None if self.answer is None else self.answer.hresult


class Upload:
    """A file of zeros; the session is cancelled when the context is left, unless it was closed."""

    def __init__(
        self,
        conversation: Conversation,
        name: str,
        total: int,
        *,
        completes: bool,
        tell: Callable[[Finding], object] = lambda _finding: None,
    ) -> None:
        """``completes``: also its last byte is sent."""
        self._conversation = conversation
        self.name = name
        self.total = total
        self.sent = 0
        self._most = 0  # bytes that can have come
        self.reply_url: str | None = None
        self._last = total if completes else total - 1
        self._session_id: str | None = None
        self._tell = tell

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session_id is None:
            return
        try:
            answer = self._packet("Cancel-Session")
            finding = None if answer.is_success else refused(answer, "Cancel-Session")
        except NoAnswer as error:
            finding = no_answer(error, self._conversation.target, "Cancel-Session")
        if finding is not None:
            self._tell(
                note(
                    f"the session {self._session_id} was not cancelled. {finding.text}",
                    f"The clean-up removes it; earlier: bits-server sessions cancel "
                    f"'{self._session_id}'",
                )
            )

    @property
    def unsent(self) -> int:
        """Bytes that are to be sent."""
        return self._last - self.sent

    @property
    def is_completed(self) -> bool:
        """Whether every byte was sent, the last one too."""
        return self.sent == self.total

    def create(self) -> Answer:
        """Raises Refused, NoAnswer."""
        fields = [(names.BITS_SUPPORTED_PROTOCOLS, UPLOAD_PROTOCOL)]
        answer = self._taken("Create-Session", self._packet("Create-Session", fields))
        self._session_id = answer.get(names.BITS_SESSION_ID)
        if not self._session_id:
            raise Refused(
                problem(
                    "Create-Session: the Ack names no session",
                    "Let what stands in front pass the header fields BITS-* of answers.",
                )
            )
        return answer

    def send(self, size: int, before_second_half: Callable[[], object] | None = None) -> Answer:
        """The next Fragment. Raises Refused, also where there was no answer."""
        self._most = max(self._most, self.sent + size)
        content_range = f"bytes {self.sent}-{self.sent + size - 1}/{self.total}"
        fields = [(names.CONTENT_RANGE, content_range)]
        what = f"a Fragment of {size} bytes"
        try:
            answer = self._packet("Fragment", fields, bytes(size), before_second_half)
        except NoAnswer as error:
            raise Refused(no_answer(error, self._conversation.target, what)) from error
        self._taken(what, answer)
        received = answer.get(names.BITS_RECEIVED_CONTENT_RANGE) or ""
        # More may have come, of an earlier Fragment that was cut.
        is_right = received.isdecimal() and self.sent + size <= int(received) <= self._most
        if not is_right:
            raise Refused(
                problem(
                    f"{what} from {self.sent} on: the server says that it has {received!a} bytes",
                    "Something in front changes bodies or header fields, or sends them to "
                    "servers with different folders.",
                ),
                answer,
            )
        self.sent = int(received)
        if self.is_completed:
            self.reply_url = answer.get(names.BITS_REPLY_URL)
        return answer

    def close(self) -> None:
        """Publish the file. Raises Refused, NoAnswer."""
        self._taken("Close-Session", self._packet("Close-Session"))
        self._session_id = None

    def _taken(self, what: str, answer: Answer) -> Answer:
        if not answer.is_success:
            raise Refused(refused(answer, what), answer)
        return answer

    def _packet(
        self,
        kind: str,
        fields: list[tuple[str, str]] | None = None,
        body: bytes = b"",
        before_second_half: Callable[[], object] | None = None,
    ) -> Answer:
        named = [] if self._session_id is None else [(names.BITS_SESSION_ID, self._session_id)]
        return self._conversation.packet(
            kind, self.name, [*named, *(fields or [])], body, before_second_half
        )
