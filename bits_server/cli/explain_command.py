"""``bits-server explain``: what a code means, who says it, what to do."""

from __future__ import annotations

import textwrap

import click

from bits_server.operations.explanations import (
    Explanation,
    Meaning,
    NotACode,
    decoded,
    lookup,
    reaction_to,
)
from bits_server.protocol.errors import ApplicationRefused, BitsError, SessionNotFound

WIDTH = 96


@click.command(
    # A code may be negative.
    context_settings={"ignore_unknown_options": True},
    epilog="Ends with status 0, 1 for a code that is not known, 2 for what is no code.",
)
@click.argument("code")
def explain(code: str) -> None:
    """Say what CODE means, who says it, and what to change.

    CODE is an HRESULT in any form, its name, or an HTTP status: 0x8020001F, -2145386465,
    BG_E_SESSION_NOT_FOUND, 413.
    """
    try:
        explanation = lookup(code)
    except NotACode as error:
        raise click.BadParameter(str(error), param_hint="CODE") from error
    click.echo(_text(explanation))
    if not explanation.is_known:
        raise SystemExit(1)


def _text(explanation: Explanation) -> str:
    lines = [_heading(explanation)]
    for row, meaning in explanation.refusals:
        lines += ["", *_described(meaning, _as_answered(row, explanation))]
    for meaning in explanation.others:
        lines += ["", *_described(meaning, "")]
    if not explanation.is_known:
        parts = decoded(explanation.code.hresult)
        lines += ["", *_wrapped(f"Not explained here. Its parts say: {parts}.", "")]
        if explanation.code.hresult >> 16 == 0x8007:
            number = explanation.code.hresult & 0xFFFF
            lines.append(f"On a Windows machine 'net helpmsg {number}' has its text.")
    lines += _reactions(explanation)
    return "\n".join(lines)


def _reactions(explanation: Explanation) -> list[str]:
    """What the client does; not where the HRESULT decides and the status does not."""
    statuses = [explanation.code.status] if explanation.code.status else []
    if not statuses:
        statuses = [row.status for row, _ in explanation.refusals if row is not SessionNotFound]
    lines = []
    for status in dict.fromkeys(statuses):
        if reaction := reaction_to(status):
            lines += ["", *_wrapped(f"After HTTP {status} a Windows client {reaction}.", "")]
    return lines


def _heading(explanation: Explanation) -> str:
    code = explanation.code
    parts = [f"0x{code.hresult:08X}", explanation.name, str(code.signed)]
    if code.status is not None:
        parts.insert(0, f"HTTP {code.status}")
    return "  ".join(part for part in parts if part)


def _as_answered(row: type[BitsError], explanation: Explanation) -> str:
    """With which status and HRESULT this server gives this answer."""
    if row is ApplicationRefused:
        return " (context 0x7)"
    hresult = "no HRESULT" if row.hresult is None else f"0x{row.hresult:08X}"
    said = hresult if explanation.code.is_status else f"HTTP {row.status}"
    return f" ({said}, context 0x{row.context:X})" if row.hresult is not None else f" ({said})"


def _described(meaning: Meaning, as_answered: str) -> list[str]:
    return [
        f"{meaning.speaker.value}{as_answered}:",
        *_wrapped(meaning.meaning, "  "),
        *_wrapped("-> " + meaning.remedy, "  "),
    ]


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + ("   " if text.startswith("-> ") else ""),
        break_on_hyphens=False,
        break_long_words=False,
    )
