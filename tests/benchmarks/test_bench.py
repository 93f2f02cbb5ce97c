"""The benchmark itself: a few megabytes through every server, and the report of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.benchmarks import other_servers
from tests.benchmarks.__main__ import main
from tests.benchmarks.contestants import BARE, BARE_GTHREAD, BEHIND, DIRECT, PUT, REFERENCE
from tests.benchmarks.measurement import MIB, Bytes, Figures, Run, Workload
from tests.benchmarks.other_servers import OtherServer
from tests.benchmarks.report import Goal
from tests.support.tools import require_tool


def test_a_quick_run_measures_every_server(tmp_path: Path) -> None:
    require_tool("nginx")
    results = tmp_path / "RESULTS.md"
    words = ["--quick", "--rounds", "1", "--sessions", "50"]
    main([*words, "--folder", str(tmp_path), "--output", str(results)])
    text = results.read_text()
    ours = (PUT, DIRECT, REFERENCE, BEHIND, BARE, BARE_GTHREAD)
    for name in (*ours, *other_servers.installed()):
        rows = re.findall(rf"^\| {name} \|(.*)\|$", text, re.M)
        assert len(rows) == 3, name
        for row in rows:
            assert all(float(figure) > 0 for figure in row.split("|")), row
    assert len(re.findall(r"^\|.* at (?:least|most) .*(?:met|missed\*\*) \|$", text, re.M)) == 8
    assert str(tmp_path) not in text
    assert {path.name for path in tmp_path.iterdir()} == {"RESULTS.md"}


def test_a_program_without_its_module_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "mod_webdav.so").touch()
    needs = {"whole": "/", "with it": f"{tmp_path}/*dav.so", "without": f"{tmp_path}/*dav.dll"}
    servers = {
        name: OtherServer("sh", lambda *_: [], has_workers=True, needs=needed)
        for name, needed in needs.items()
    }
    monkeypatch.setattr(other_servers, "OTHER_SERVERS", servers)
    assert other_servers.installed() == ["whole", "with it"]


def test_stored_bytes_that_are_not_those_sent_are_an_error(tmp_path: Path) -> None:
    source = Bytes(tmp_path / "source", 2 * MIB)
    sent = source.path.read_bytes()
    stored = tmp_path / "stored"
    stored.write_bytes(sent[5 : MIB + 10])
    source.refuse_other(stored, 5, MIB + 5)
    for wrong in (sent[5 : MIB + 9] + b"x", sent[5 : MIB + 9], sent[: MIB + 5]):
        stored.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"other (bytes|length)"):
            source.refuse_other(stored, 5, MIB + 5)


def test_figures_are_medians_of_the_runs() -> None:
    workload = Workload(connections=2, files=5, file_bytes=10_000_000, fragment_bytes=1_000_000)
    runs = [
        Run(workload, seconds, seconds / 2, packets=100, peak_bytes=20_000_000, latencies=[seconds])
        for seconds in (1.0, 50.0, 2.0)
    ]
    figures = Figures.of(runs)
    assert figures.megabytes_per_second == 50
    assert figures.cpu_per_gigabyte == 10
    assert figures.cpu_milliseconds_per_file == 100
    assert figures.packets_per_second == 50
    assert figures.files_per_second == 5
    assert figures.p50_milliseconds == 2000
    assert figures.p99_milliseconds == 50_000
    assert figures.peak_megabytes == 20


def test_a_goal_is_a_floor_or_a_ceiling() -> None:
    assert Goal("CPU", 1.3, 1.3).is_met
    assert not Goal("CPU", 1.31, 1.3).is_met
    assert Goal("speed", 0.9, 0.9, is_floor=True).is_met
    assert not Goal("speed", 0.89, 0.9, is_floor=True).is_met
