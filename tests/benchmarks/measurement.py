"""One run: a workload against one server, measured, and each byte that was stored compared."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.load import Generator, Job
from tests.benchmarks.processes import cpu_seconds, forget_peak, peak_bytes

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Workload:
    """Files of ``file_bytes``, so many over each connection."""

    connections: int
    files: int
    file_bytes: int
    fragment_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.connections * self.files * self.file_bytes

    @property
    def is_of_small_files(self) -> bool:
        return self.file_bytes == self.fragment_bytes

    @property
    def title(self) -> str:
        return f"{_size(self.fragment_bytes)}, {self.connections}"


def _size(count: int) -> str:
    return f"{count // MIB} MiB" if count >= MIB else f"{count // KIB} KiB"


def of_fragments(fragment_bytes: int, connections: int, total_bytes: int) -> Workload:
    """One large file over each connection, of two fragments or more."""
    fragments = max(2, total_bytes // connections // fragment_bytes)
    return Workload(connections, 1, fragments * fragment_bytes, fragment_bytes)


@dataclass(frozen=True)
class Run:
    """What was measured. ``latencies``: seconds of each fragment, or of each small file."""

    workload: Workload
    seconds: float
    cpu_seconds: float
    packets: int
    peak_bytes: int
    latencies: list[float]


@dataclass(frozen=True)
class Figures:
    """The medians of several runs; percentiles of all of them together."""

    megabytes_per_second: float
    cpu_per_gigabyte: float
    cpu_milliseconds_per_file: float
    packets_per_second: float
    files_per_second: float
    p50_milliseconds: float
    p99_milliseconds: float
    peak_megabytes: float

    @classmethod
    def of(cls, runs: Sequence[Run]) -> Figures:
        workload = runs[0].workload
        files = workload.connections * workload.files
        cpu = statistics.median(run.cpu_seconds for run in runs)
        seconds = statistics.median(run.seconds for run in runs)
        latencies = sorted(each for run in runs for each in run.latencies)
        return cls(
            megabytes_per_second=workload.total_bytes / 1e6 / seconds,
            cpu_per_gigabyte=cpu / (workload.total_bytes / 1e9),
            cpu_milliseconds_per_file=cpu * 1e3 / files,
            packets_per_second=statistics.median(run.packets / run.seconds for run in runs),
            files_per_second=files / seconds,
            p50_milliseconds=statistics.median(latencies) * 1e3,
            p99_milliseconds=latencies[len(latencies) * 99 // 100] * 1e3,
            peak_megabytes=max(run.peak_bytes for run in runs) / 1e6,
        )


class Bytes:
    """The source that everything is sent from, on disk; each MiB of it is different."""

    def __init__(self, path: Path, length: int) -> None:
        self.path = path
        block = bytearray(os.urandom(MIB))
        with open(path, "wb") as file:
            for number in range(-(-length // MIB)):
                block[:8] = number.to_bytes(8, "big")
                file.write(block)

    def touch_memory(self, length: int) -> None:
        """Write as much as a run will, and remove it.

        A virtual machine's host finds memory when it is first written to; on tmpfs that would be
        charged to whoever comes first.
        """
        scratch = self.path.with_name("touched")
        with open(self.path, "rb") as source, open(scratch, "wb", buffering=0) as file:
            while file.tell() < length:
                if not (block := source.read(MIB)):
                    source.seek(0)
                file.write(block)
        scratch.unlink()

    def refuse_other(self, stored: Path, start: int, length: int) -> None:
        """Raises ValueError where the file has not exactly these bytes of the source."""
        with open(stored, "rb") as file, open(self.path, "rb") as source:
            source.seek(start)
            if os.fstat(file.fileno()).st_size != length:
                raise ValueError(f"{stored.name} is of other length")
            while block := file.read(MIB):
                if block != source.read(len(block)):
                    raise ValueError(f"{stored.name} has other bytes")


def measure(contestant: Contestant, workload: Workload, source: Bytes, load: Generator) -> Run:
    """Raises ValueError or RuntimeError where anything is not as it must be."""
    source.touch_memory(workload.total_bytes)
    processes = contestant.processes()
    forget_peak(processes)
    before = cpu_seconds(processes)
    outcomes = load.run(
        [
            Job(
                kind=contestant.kind,
                address=contestant.address,
                source=str(source.path),
                name=f"file-{number}",
                files=workload.files,
                file_bytes=workload.file_bytes,
                fragment_bytes=workload.fragment_bytes,
            )
            for number in range(workload.connections)
        ]
    )
    used = cpu_seconds(processes) - before
    peak = peak_bytes(contestant.workers())
    if contestant.processes() != processes:
        raise RuntimeError(f"{contestant.name}: a process came or went during the run")
    if contestant.folder is not None:
        _verify(contestant.folder, contestant.kind, workload, source)
    return Run(
        workload=workload,
        seconds=max(each.end for each in outcomes) - min(each.begin for each in outcomes),
        cpu_seconds=used,
        packets=sum(each.packets for each in outcomes),
        peak_bytes=peak,
        latencies=[
            seconds
            for each in outcomes
            for seconds in (each.files if workload.is_of_small_files else each.fragments)
        ],
    )


def _verify(folder: Path, kind: str, workload: Workload, source: Bytes) -> None:
    """Compare every file that must have come, and remove it."""
    expected = 0
    for connection in range(workload.connections):
        for file in range(workload.files):
            for suffix, start, length in _stored(kind, workload):
                stored = folder / f"file-{connection}-{file}{suffix}"
                source.refuse_other(stored, start, length)
                stored.unlink()
                expected += 1
    left = [path.name for path in folder.glob("file-*")]
    if left or not expected:
        raise ValueError(f"{len(left)} files too many, like {left[:1]}")


def _stored(kind: str, workload: Workload) -> Iterable[tuple[str, int, int]]:
    if kind == "bits":
        yield "", 0, workload.file_bytes
        return
    for number, start in enumerate(range(0, workload.file_bytes, workload.fragment_bytes)):
        yield f".{number}", start, min(workload.fragment_bytes, workload.file_bytes - start)
