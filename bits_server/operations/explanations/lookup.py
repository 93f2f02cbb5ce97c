"""From a code, or its name, to everything that it can mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from bits_server.operations.explanations.codes import Code, read_code
from bits_server.operations.explanations.model import Meaning
from bits_server.operations.explanations.of_http import STATUSES
from bits_server.operations.explanations.of_this_server import REFUSALS
from bits_server.operations.explanations.of_windows import ALSO, WINDOWS
from bits_server.protocol.errors import (
    ERROR_TABLE,
    HTTP_STATUS_HRESULT,
    ApplicationFailed,
    ApplicationRefused,
    BitsError,
    HResult,
    hresult_name,
)


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of ``code``; nothing where ``meanings`` is empty.

    ``refusals``: the rows of our own table among them, with their meaning.
    """

    code: Code
    name: str
    refusals: tuple[tuple[type[BitsError], Meaning], ...]
    others: tuple[Meaning, ...]

    @property
    def is_known(self) -> bool:
        """Whether there is anything to say."""
        return bool(self.refusals or self.others)


def lookup(text: str) -> Explanation:
    """Explain a code in any of its forms. Raises NotACode for what is none, and no name."""
    code = _of_name(text.strip().upper()) or read_code(text)
    return Explanation(code, name_of(code.hresult), tuple(_refusals(code)), tuple(_others(code)))


def meaning_of_answer(status: int, hresult: int | None, *, is_application: bool) -> Meaning | None:
    """What an Ack with these means; None where no row of our table is answered so.

    ``is_application``: the context names the server application.
    """
    for row in ERROR_TABLE:
        is_theirs = issubclass(row, ApplicationFailed)
        if is_theirs == is_application and (row.status, row.hresult) == (status, hresult):
            return REFUSALS[row]
    return REFUSALS[ApplicationRefused] if is_application else None


def name_of(hresult: int) -> str:
    """The name in Microsoft's headers, empty where it is not known here."""
    if hresult in WINDOWS:
        return WINDOWS[hresult][0]
    if hresult in set(HResult) or Code(hresult).status is not None:
        return hresult_name(hresult)
    return ""


def _of_name(name: str) -> Code | None:
    if found := re.fullmatch(r"BG_E_HTTP_ERROR_([1-5][0-9]{2})", name):
        return Code(HTTP_STATUS_HRESULT + int(found[1]))
    names = {known: hresult for hresult, (known, _) in WINDOWS.items()}
    names |= {each.name: each.value for each in HResult}
    return Code(names[name]) if name in names else None


def _refusals(code: Code) -> Iterator[tuple[type[BitsError], Meaning]]:
    """The rows of our table that are answered so."""
    for row in ERROR_TABLE:
        is_it = row.status == code.status if code.is_status else row.hresult == code.hresult
        # An application may answer with any refusal, and its HRESULT is made of the status.
        is_any_status = row is ApplicationRefused and _may_come_from_application(code.status)
        # Those without an HRESULT are known to Windows by their status.
        is_bare = row.hresult is None and row.status == code.status
        if is_it or is_any_status or is_bare:
            yield row, REFUSALS[row]


def _may_come_from_application(status: int | None) -> bool:
    return status is not None and ApplicationRefused("", status).status == status


def _others(code: Code) -> Iterator[Meaning]:
    if code.status in STATUSES:
        yield STATUSES[code.status]
    if code.hresult in WINDOWS:
        yield WINDOWS[code.hresult][1]
    if code.hresult in ALSO:
        yield ALSO[code.hresult]
