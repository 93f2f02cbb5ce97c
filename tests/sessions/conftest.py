"""Each test of this room runs on every store there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sessions.recording import RecordingObserver
from tests.storage.stages import STAGES, StoreStage, nothing_left_behind


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreStage]:
    with nothing_left_behind(STAGES[request.param](tmp_path)) as stage:
        yield stage


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()
