"""What the tests of the client share: files to upload, jobs, and a transfer that is watched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bits_server.client.bandwidth import RateLimiter
from bits_server.client.credentials import Credentials, KnownPasswords, Passwords
from bits_server.client.jobs import Job, JobType, Settings
from bits_server.client.local_file import describe
from bits_server.client.transfer import Transfer

JobMaker = Callable[..., Job]
Runner = Callable[..., Job]
Command = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = [sys.executable, "-m", "bits_server.client"]


class GivenPasswords:
    """The same everywhere, and what was asked for."""

    def __init__(self, server: Credentials | None = None, proxy: Credentials | None = None) -> None:
        self._server, self._proxy = server, proxy
        self.asked: list[str] = []

    def for_server(self, url: str) -> Credentials | None:
        self.asked.append(url)
        return self._server

    def for_proxy(self, url: str) -> Credentials | None:
        self.asked.append(url)
        return self._proxy


@pytest.fixture
def content() -> bytes:
    return os.urandom(300_000)


@pytest.fixture
def local_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "local.bin"
    path.write_bytes(content)
    return path


@pytest.fixture
def make_job(local_file: Path) -> JobMaker:
    """A job for the local file. ``settings``: those of Settings; the rest are those of Job."""

    def make(url: str, *, file: Path = local_file, **keys: Any) -> Job:
        names = Settings.__dataclass_fields__
        chosen = {name: keys.pop(name) for name in list(keys) if name in names}
        now = datetime.now(UTC)
        job = Job(
            id=f"{{{str(uuid4()).upper()}}}",
            name="test",
            type=JobType.UPLOAD_REPLY if "reply_path" in keys else JobType.UPLOAD,
            file=describe(str(file)),
            url=url,
            created=now,
            modified=now,
            settings=replace(Settings(proxy=""), **chosen),
        )
        return replace(job, **keys)

    return make


@pytest.fixture
def run() -> Runner:
    """One attempt at a job; what it saved is checked to be what it returned."""

    def run(
        job: Job,
        *,
        passwords: Passwords | None = None,
        stop: threading.Event | None = None,
        saved: list[Job] | None = None,
        **keys: Any,
    ) -> Job:
        kept: list[Job] = [] if saved is None else saved
        transfer = Transfer(
            job,
            save=kept.append,
            passwords=passwords or KnownPasswords(),
            limiter=RateLimiter(None),
            **keys,
        )
        done = transfer.run(stop or threading.Event())
        assert kept[-1] == done
        return done

    return run


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "BITS_CLIENT_STATE": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }


@pytest.fixture
def bits_client(environment: dict[str, str]) -> Command:
    def run(*arguments: object, **changes: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**environment, **changes},
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    return run
