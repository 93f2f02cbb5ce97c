"""What happens to sessions, counted for Prometheus.

The rule of this file: a label has few values, and the program knows them all: virtual directories,
packets, outcomes, statuses of HTTP. What a client made up gets no label of its own.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from http import HTTPStatus

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, values
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from bits_server.protocol.content_range import ContentRange
from bits_server.protocol.errors import BitsError, HResult
from bits_server.protocol.packets import PACKET_NAMES
from bits_server.sessions.cleanup_report import CleanupReport
from bits_server.sessions.observer import AnsweredPacket
from bits_server.storage.record import NotificationOutcome, SessionRecord

# One word, as Prometheus advises; promtool takes "bits_" for a unit.
PREFIX = "bitsserver_"
DIRECTORY = "virtual_directory"
NO_DIRECTORY = "none"  # of a packet whose URL is in no virtual directory; theirs start with a slash
UNKNOWN = "unknown"
OTHER = "other"
REPLY = "Reply"  # the download of one, which is no packet
PAGE = "Page"  # the upload page, or a file of it

ACK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60, 300)
NOTIFICATION_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)

_HRESULTS = frozenset(HResult)
_STATUSES = frozenset(status.value for status in HTTPStatus)
_NO_ANSWER = {502: "broken", 503: "unreachable", 504: "timed out"}


_shared_folder: str | None = None


def share_between_processes(folder: str, number: int) -> None:
    """Keep what is counted from now on in ``folder``, where the other processes find it.

    PROMETHEUS_MULTIPROC_DIR must name it too: the client library looks there. ``number``: another
    one for each process at a time. A process that takes the number of one that has ended goes on
    with its counts: none are lost, and there are no more files than there were processes at once.
    """
    global _shared_folder
    _shared_folder = folder
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def shared_folder() -> str | None:
    """Where processes share what they count; None for a process of its own."""
    return _shared_folder


class Metrics:
    """A SessionObserver that counts; made after ``share_between_processes``, if that is called."""

    def __init__(self, directories: Iterable[str]) -> None:
        """``directories``: the URLs of the virtual directories."""
        self._is_shared = values.ValueClass is not values.MutexValue
        # Shared values are read from the files of all processes, and not from this registry.
        self._registry = CollectorRegistry()
        self._packets = self._counter("packets", "Packets answered.", "packet", "outcome")
        self._errors = self._counter(
            "errors", "Packets and downloads of replies refused.", "packet", "status", "hresult"
        )
        self._bytes = self._counter(
            "received_bytes", "Bytes of Fragments received, also of those that were repeated."
        )
        self._acks = self._histogram(
            "ack_seconds",
            "Time from the head of a packet to its Ack, without the time in which the client sent "
            "its body, and with that of the server application.",
            ACK_BUCKETS,
            "packet",
        )
        self._opened = self._counter("opened_sessions", "Sessions opened.")
        self._ended = self._counter("ended_sessions", "Sessions that ended.", "outcome")
        self._notifications = self._histogram(
            "notification_seconds",
            "Time that the server application took.",
            NOTIFICATION_BUCKETS,
            "outcome",
        )
        self._cleanups = self._counter("cleanups", "Regular clean-ups.")
        self._removed = self._counter("cleanup_removed", "What clean-ups removed.", "what")
        self._not_removed = self._counter("cleanup_failures", "What they could not remove.")
        self._begin_at_zero(directories)

    def text(self, others: Iterable[Collector] = ()) -> bytes:
        """All of it, and what ``others`` collect, in Prometheus's text format 0.0.4."""
        registry = CollectorRegistry()
        if self._is_shared:
            registry.register(_OfAllProcesses())
        else:
            registry.register(self._registry)
        for other in others:
            registry.register(other)
        return generate_latest(registry)

    def session_created(self, directory: str, record: SessionRecord) -> None:
        self._opened.labels(directory).inc()

    def fragment_received(
        self, directory: str, record: SessionRecord, content_range: ContentRange, received: int
    ) -> None:
        """Counted when it is answered."""

    def notified(self, directory: str, record: SessionRecord) -> None:
        outcome = record.notification
        assert outcome is not None
        seconds = max(0.0, outcome.ended - outcome.began)
        self._notifications.labels(directory, _outcome_of(outcome)).observe(seconds)

    def closed(self, directory: str, record: SessionRecord, outcome: str) -> None:
        self._ended.labels(directory, "closed").inc()

    def cancelled(self, directory: str, record: SessionRecord) -> None:
        self._ended.labels(directory, "cancelled").inc()

    def expired(self, directory: str, record: SessionRecord) -> None:
        self._ended.labels(directory, "expired").inc()

    def cleaned_up(self, directory: str, report: CleanupReport) -> None:
        self._cleanups.labels(directory).inc()
        for what, count in (
            ("session", len(report.removed)),
            ("unreadable session", len(report.wrecks)),
            ("closed record", report.closed_records),
            ("remains of a crash", len(report.debris)),
        ):
            self._removed.labels(directory, what).inc(count)
        self._not_removed.labels(directory).inc(len(report.failures))

    def failed(
        self, directory: str, packet: str, session_id: str, destination: str, error: BitsError
    ) -> None:
        self._refused(directory, packet if packet in (REPLY, PAGE) else UNKNOWN, error)

    def answered(self, packet: AnsweredPacket) -> None:
        directory, name = packet.directory or NO_DIRECTORY, packet.packet or UNKNOWN
        outcome = "taken"
        if packet.error is not None:
            outcome = "refused"
            self._refused(directory, name, packet.error)
        self._packets.labels(directory, name, outcome).inc()
        self._acks.labels(directory, name).observe(packet.seconds)
        if packet.body_bytes:
            self._bytes.labels(directory).inc(packet.body_bytes)

    def _refused(self, directory: str, name: str, error: BitsError) -> None:
        status = str(error.status) if error.status in _STATUSES else OTHER
        self._errors.labels(directory, name, status, _hresult_of(error)).inc()

    def _begin_at_zero(self, directories: Iterable[str]) -> None:
        """What was counted once is found as an increase only where it was 0 before."""
        for directory in directories:
            for name in PACKET_NAMES.values():
                for outcome in ("taken", "refused"):
                    self._packets.labels(directory, name, outcome)
            for outcome in ("closed", "cancelled", "expired"):
                self._ended.labels(directory, outcome)
            for counter in (self._bytes, self._opened, self._cleanups, self._not_removed):
                counter.labels(directory)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"{PREFIX}{name}", text, (DIRECTORY, *labels), registry=self._registry)

    def _histogram(
        self, name: str, text: str, buckets: tuple[float, ...], *labels: str
    ) -> Histogram:
        return Histogram(
            f"{PREFIX}{name}",
            text,
            (DIRECTORY, *labels),
            buckets=buckets,
            registry=self._registry,
        )


def _outcome_of(outcome: NotificationOutcome) -> str:
    if outcome.succeeded:
        return "succeeded"
    if outcome.status is None:
        return _NO_ANSWER.get(outcome.told_status or 0, OTHER)
    return "unusable answer" if 200 <= outcome.status <= 299 else "refused"


def _hresult_of(error: BitsError) -> str:
    """As clients print it; those of an application's statuses as long as HTTP knows them."""
    if error.hresult is None:
        return "none"
    is_known = error.hresult in _HRESULTS or error.status in _STATUSES
    return f"0x{error.hresult:08X}" if is_known else OTHER


class _OfAllProcesses(MultiProcessCollector):
    """What the processes count together, but for one that makes its file at this moment.

    It is empty then for an instant, and would be no file of counters.
    """

    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        found = sorted(glob.glob(os.path.join(self._path, "*.db")))
        files = [file for file in found if os.path.getsize(file)]
        merged: Iterable[Metric] = self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]
        return merged
