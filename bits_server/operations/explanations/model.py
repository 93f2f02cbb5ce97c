"""What an explanation is made of, and what a Windows client does after an HTTP status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Speaker(Enum):
    """Who says a code."""

    SERVER = "This server"
    FRONT = "Something in front, or another server"
    APPLICATION = "The server application"
    WINDOWS = "Windows itself"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code means when ``speaker`` says it, and what to look at and change."""

    speaker: Speaker
    meaning: str
    remedy: str


def server(meaning: str, remedy: str) -> Meaning:
    """Said by this server."""
    return Meaning(Speaker.SERVER, meaning, remedy)


def front(meaning: str, remedy: str) -> Meaning:
    """Said by a proxy, a firewall, or a server that is not this one."""
    return Meaning(Speaker.FRONT, meaning, remedy)


def application(meaning: str, remedy: str) -> Meaning:
    """Said by the server application, and handed on."""
    return Meaning(Speaker.APPLICATION, meaning, remedy)


def windows(meaning: str, remedy: str) -> Meaning:
    """Said by the client's own machine; the server may know nothing of it."""
    return Meaning(Speaker.WINDOWS, meaning, remedy)


_STOPPING_3XX = {*range(300, 306), 307}
_PASSING_4XX = {408, 409}
_STOPPING_5XX = {501, 505}
_ASKS = "answers with a user name or a ticket, where it has one, and stops otherwise"
_TAKEN_OTHERWISE = {
    401: _ASKS,
    407: _ASKS,
    413: "sends less at a time, not below 5 KB, and goes on",
    416: "goes on at the byte that BITS-Received-Content-Range names",
}


def reaction_to(status: int) -> str:
    """What a Windows client does after this HTTP status, as the end of a sentence.

    By [SDK, Handling server application errors] and [MC-BUP] 3.1.5.2.4; empty where the status is
    no refusal.
    """
    if status < 300:
        return ""
    if status in _TAKEN_OTHERWISE:
        return _TAKEN_OTHERWISE[status]
    stops = (
        status in _STOPPING_3XX
        or (400 <= status < 500 and status not in _PASSING_4XX)
        or status in _STOPPING_5XX
    )
    if stops:
        return "stops with an error, until somebody resumes or cancels the job"
    return "tries again by itself after its retry delay, ten minutes by default"
