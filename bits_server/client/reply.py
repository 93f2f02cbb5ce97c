"""The reply of the server application, as a file [MC-BUP] 3.1.5.1.8.

The rule of this file: it grows under a hidden name beside its place, goes on where it stopped as
long as the server says that it is the same, and gets its name when the job is completed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import requests

from bits_server.client.answers import Answer, failure_of
from bits_server.client.bandwidth import JobLimiter, Stop
from bits_server.client.errors import (
    BG_E_INSUFFICIENT_RANGE_SUPPORT,
    ERROR_WRITE_FAULT,
    Fatal,
    Transient,
)
from bits_server.client.jobs import ErrorContext
from bits_server.client.transport import Transport


def hidden_path(reply_path: str, job_id: str) -> Path:
    """Where the reply of a job grows."""
    path = Path(reply_path)
    return path.with_name(f".{path.name}.{job_id.strip('{}').lower()}.part")


def put_in_place(reply_path: str, job_id: str) -> None:
    """Give the whole reply its name. Raises OSError; the hidden file stays then."""
    hidden = hidden_path(reply_path, job_id)
    if not hidden.exists() and os.path.exists(reply_path):
        return  # it was done before, and the crash came after it
    os.replace(hidden, reply_path)
    folder = os.open(hidden.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# (bytes there, bytes in all or None, what says that it is the same reply)
Progress = Callable[[int, int | None, str | None], None]


def download(
    transport: Transport,
    url: str,
    path: Path,
    tag: str | None,
    *,
    limiter: JobLimiter,
    stop: Stop,
    progress: Progress,
) -> int:
    """Bring ``path`` up to the whole reply, and return its bytes.

    ``tag``: of what is there already. Raises Transient, Fatal, Stopped.
    """
    try:
        return _download(transport, url, path, tag, limiter, stop, progress)
    except OSError as error:
        raise Fatal(
            ERROR_WRITE_FAULT,
            f"the reply cannot be written to {path.parent}: {error.strerror}",
            context=ErrorContext.LOCAL_FILE,
        ) from None


def _download(
    transport: Transport,
    url: str,
    path: Path,
    tag: str | None,
    limiter: JobLimiter,
    stop: Stop,
    progress: Progress,
) -> int:
    there = path.stat().st_size if tag and path.exists() else 0
    fields = {"Range": f"bytes={there}-", "If-Range": tag} if there and tag else {}
    with transport.download(url, fields) as response:
        if response.status_code == 416 and _total_of(response) == there:
            return there
        if response.status_code == 416:
            path.unlink(missing_ok=True)
            raise Transient(
                BG_E_INSUFFICIENT_RANGE_SUPPORT,
                "the reply has become shorter: it is fetched anew",
                http_status=416,
            )
        if response.status_code not in (200, 206):
            raise failure_of(Answer(response.status_code, response.headers))
        first = _first_of(response) if response.status_code == 206 else 0
        if first > there:
            raise Fatal(
                BG_E_INSUFFICIENT_RANGE_SUPPORT, "the server sent another part of the reply"
            )
        total = _total_of(response)
        known = tag
        tag = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if first and tag is None:
            tag = known  # [RFC 9110] 15.3.7 lets it be left out of a part
        elif first and known != tag and known != response.headers.get("Last-Modified"):
            path.unlink()
            raise Transient(
                BG_E_INSUFFICIENT_RANGE_SUPPORT,
                "the server sent a part of another reply: it is fetched anew",
                http_status=206,
            )
        if tag and tag.startswith("W/"):
            tag = None  # it may be the same and have other bytes
        with open(path, "r+b" if first else "wb") as file:
            file.seek(first)
            file.truncate()
            at = first
            progress(at, total, tag)
            for block in transport.blocks_of(response):
                limiter.take(len(block), stop)
                file.write(block)
                file.flush()
                at += len(block)
                progress(at, total, tag)
            os.fsync(file.fileno())
    if total is not None and at != total:
        raise Transient(
            0x80072EFE, f"of the reply's {total} bytes {at} came", context=ErrorContext.REMOTE_FILE
        )
    return at


def _first_of(response: requests.Response) -> int:
    found = re.match(r"bytes ([0-9]+)-", response.headers.get("Content-Range", ""))
    if found is None:
        raise Fatal(BG_E_INSUFFICIENT_RANGE_SUPPORT, "a part of the reply came without its range")
    return int(found[1])


def _total_of(response: requests.Response) -> int | None:
    if response.status_code in (206, 416):
        found = re.search(r"/([0-9]+)$", response.headers.get("Content-Range", ""))
        return int(found[1]) if found else None
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None
