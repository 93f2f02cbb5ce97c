"""The texts by which people name a code, and what the bits of an HRESULT say.

The rule of this file: ``read_code`` takes whatever an event log, a script or a tool prints: hex
with and without 0x, decimal with its sign lost or kept, an HTTP status, or a number of Windows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bits_server.protocol.errors import HTTP_STATUS_HRESULT

WIN32 = 0x80070000  # what HRESULT_FROM_WIN32 puts before a Windows error number

_FACILITIES = {
    0x000: "FACILITY_NULL, common codes",
    0x001: "FACILITY_RPC, remote procedure calls",
    0x002: "FACILITY_DISPATCH, COM automation",
    0x003: "FACILITY_STORAGE",
    0x004: "FACILITY_ITF, the meaning depends on who says it",
    0x007: "FACILITY_WIN32, a Windows error number",
    0x009: "FACILITY_SECURITY",
    0x019: "FACILITY_HTTP, an HTTP status",
    0x020: "FACILITY_BACKGROUNDCOPY, BITS",
    0x024: "FACILITY_WINDOWSUPDATE",
}


class NotACode(ValueError):
    """The text is no code; the message says what would be one."""


@dataclass(frozen=True, slots=True)
class Code:
    """One code. ``status``: the HTTP status that it is, None for another HRESULT.

    ``is_status``: it was given as a status: the answer may have had any HRESULT, or none.
    """

    hresult: int
    is_status: bool = False

    @property
    def status(self) -> int | None:
        """Also for the HRESULT that BITS makes of an HTTP status."""
        status = self.hresult - HTTP_STATUS_HRESULT
        return status if 100 <= status <= 599 else None

    @property
    def signed(self) -> int:
        """As PowerShell and .NET print it."""
        return self.hresult - (1 << 32) if self.hresult >> 31 else self.hresult


def read_code(text: str) -> Code:
    """The code that ``text`` is, unless it is a name. Raises NotACode."""
    text = re.sub(r"(?i)^(?:http|error|code|status)\b[\s:=]*", "", text.strip()).strip()
    if found := re.fullmatch(r"(?i)0x([0-9a-f]{1,8})L?", text):
        return Code(int(found[1], 16))
    if re.fullmatch(r"(?i)[0-9a-f]{8}", text):
        return Code(int(text, 16))
    if re.fullmatch(r"-?[0-9]{1,10}", text):
        return _of_number(int(text))
    raise NotACode(
        f"{text[:60]!r} is no code: write it like 0x8020001F, -2145386465, BG_E_TOO_LARGE or 413"
    )


def _of_number(number: int) -> Code:
    if 100 <= number <= 599:
        return Code(HTTP_STATUS_HRESULT + number, is_status=True)
    if 0 < number < 1 << 16:
        return Code(WIN32 + number)
    if not -(1 << 31) <= number < 1 << 32:
        raise NotACode(f"{number} is no code: an HRESULT has 32 bits")
    return Code(number % (1 << 32))


def decoded(hresult: int) -> str:
    """What the parts of an HRESULT say, for a code that nobody explained."""
    facility = hresult >> 16 & 0x7FF
    kind = "a failure" if hresult >> 31 else "a success or a warning"
    name = _FACILITIES.get(facility, "a facility that is not known here")
    return f"{kind}; facility 0x{facility:03X} ({name}), code {hresult & 0xFFFF}"
