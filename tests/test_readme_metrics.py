"""What README says of metrics is so: their names, labels, the scrape and the alerts."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bits_server import Settings
from bits_server.app import create_apps
from bits_server.operations.metrics import PREFIX, Metrics
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.storage.record import NotificationOutcome
from tests.operations.exposition import Exposition
from tests.storage.stages import new_record
from tests.support.bits_client import BitsClient
from tests.support.tools import require_tool
from tests.support.wire import InProcessSender
from tests.test_readme import DIRECTORY, README, snippets


@pytest.fixture
def labels_of(folder: Path) -> dict[str, set[str]]:
    """The labels of each metric, in a server where everything has happened once."""
    uploads, closed = create_apps(Settings((replace(DIRECTORY, path=str(folder)),)), clean_up=False)
    client = BitsClient(InProcessSender(uploads))
    client.upload(b"content")
    assert client.create().status == 403
    BitsClient(InProcessSender(uploads), "/upload/g").create()
    told = [InProcessSender(closed).send("GET", "/metrics").body, _notified_and_cleaned().text()]
    found: dict[str, set[str]] = {}
    for family in (each for text in told for each in Exposition(text).families.values()):
        is_counter = family.type == "counter"
        name = family.name.removeprefix(PREFIX) + ("_total" if is_counter else "")
        for sample in family.samples:
            if not sample.name.endswith("_created"):
                found.setdefault(name, set()).update(sample.labels.keys() - {"le"})
    return found


def _notified_and_cleaned() -> Metrics:
    metrics = Metrics([])
    outcome = NotificationOutcome(1, 0.0, 1.0, succeeded=True, status=200)
    metrics.notified("/upload", replace(new_record(), notification=outcome))
    metrics.cleaned_up("/upload", CleanupReport())
    return metrics


def rows() -> Iterator[tuple[set[str], set[str]]]:
    """Of the table: the metrics and the labels of each row."""
    section = README[README.index("### Metrics and health") :]
    table = section[section.index("| metric, after `bitsserver_`") :].split("\n\n")[0]
    for row in table.splitlines()[2:]:
        names, labels, _ = row.strip("| ").split(" |", 2)
        yield set(names.split(", ")), set(re.findall(r"\w+", labels))


def test_every_metric_has_its_row_and_no_other(labels_of: dict[str, set[str]]) -> None:
    described = set().union(*(names for names, _ in rows()))
    assert described == {name for name in labels_of if not name.endswith("_created")}


def test_the_labels_of_each_row_are_those_it_has(labels_of: dict[str, set[str]]) -> None:
    for names, labels in rows():
        found = set().union(*(labels_of[name] for name in names)) - {"virtual_directory"}
        assert found == labels, names


def test_the_alerts_are_about_metrics_that_there_are(labels_of: dict[str, set[str]]) -> None:
    _, alerts = snippets("yaml")
    named = set(re.findall(rf"{PREFIX}(\w+)", alerts))
    assert len(named) == 3
    assert named <= labels_of.keys()


@pytest.mark.parametrize(("number", "kind"), [(0, "config"), (1, "rules")])
def test_prometheus_takes_the_snippets(tmp_path: Path, number: int, kind: str) -> None:
    file = tmp_path / "snippet.yml"
    file.write_text(snippets("yaml")[number])
    command = [require_tool("promtool"), "check", kind, str(file)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr
