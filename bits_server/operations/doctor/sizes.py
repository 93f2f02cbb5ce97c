"""How large a Fragment may be on this way."""

from __future__ import annotations

import time
from collections.abc import Callable

from bits_server.operations.doctor.findings import Finding, described, note, ok, problem
from bits_server.operations.doctor.sending import Refused, Upload

LARGE_BYTES = 13 << 20  # as much as a Windows client sends at a time
SIZES = tuple(1 << power for power in range(23, 11, -1))  # 8 MiB to 4 KiB; clients stop at 5 KB
WORTH_GOING_ON = 256 << 10  # with smaller ones the rest would take thousands of packets


class FragmentSizes:
    """Finds the size that passes, by uploading."""

    def __init__(self, upload: Upload, tell: Callable[[Finding], object]) -> None:
        self._upload = upload
        self._tell = tell

    def find(self) -> None:
        """Send the file, in one Fragment or in smaller ones. Raises Refused."""
        upload = self._upload
        size = upload.unsent
        began = time.monotonic()
        try:
            upload.send(size)
        except Refused as refusal:
            if not _is_about_the_size(refusal):
                raise
            self._find_smaller(size, refusal)
            return
        seconds = time.monotonic() - began
        rate = size / max(seconds, 0.001) / 1e6
        self._tell(ok(f"a Fragment of {in_words(size)} is taken ({rate:.1f} MB/s)"))

    def _find_smaller(self, size: int, refusal: Refused) -> None:
        for smaller in SIZES:
            try:
                self._upload.send(smaller)
            except Refused as again:
                if not _is_about_the_size(again):
                    raise
            else:
                self._tell(_too_large(size, refusal, f"{in_words(smaller)} pass"))
                self._send_rest(smaller)
                return
        raise Refused(_too_large(size, refusal, "not even 4 KiB pass"))

    def _send_rest(self, size: int) -> None:
        if size < WORTH_GOING_ON:
            return
        while self._upload.unsent:
            self._upload.send(min(size, self._upload.unsent))
        self._tell(ok(f"the rest is taken in Fragments of {in_words(size)}"))


def _is_about_the_size(refusal: Refused) -> bool:
    """413, and a connection that is cut in the middle of much."""
    return refusal.answer is None or refusal.answer.status == 413


def _too_large(size: int, refusal: Refused, passing: str) -> Finding:
    answer = refusal.answer
    said = "the connection was cut" if answer is None else described(answer)
    text = f"a Fragment of {in_words(size)} does not pass: {said}; {passing}"
    if answer is not None and answer.is_ack:
        remedy = "Windows clients send smaller ones; others need a larger maximum_fragment_size."
        return note(text, remedy)
    return problem(
        text,
        "Raise the limit in front (nginx: client_max_body_size 64m, IIS: maxAllowedContentLength). "
        "Windows clients try smaller ones meanwhile, which is slow.",
    )


def in_words(size: int) -> str:
    """Bytes, about."""
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor - 1:
            return f"{round(size / factor, 1):g} {unit}"
    return f"{size} bytes"
