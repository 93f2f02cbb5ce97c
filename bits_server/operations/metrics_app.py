"""What the closed address answers: ``/metrics``, ``/healthz`` and ``/readyz``, and nothing else.

The rule of this file: it takes no upload, and no body; what it says is for the administrator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from werkzeug.wrappers import Response

from bits_server.operations.census import UNREADABLE, Census
from bits_server.operations.health import Health, LookHangs
from bits_server.operations.metrics import DIRECTORY, PREFIX, Metrics
from bits_server.protocol.states import SessionState

STATES = (*(state.value for state in SessionState), UNREADABLE)


class MetricsApp:
    """The WSGI application of the closed address."""

    def __init__(
        self, metrics: Metrics, census: Census, health: Health, directories: Iterable[str]
    ) -> None:
        """``directories``: the URLs of the virtual directories."""
        self._metrics = metrics
        self._health = health
        self._gauges = _Gauges(census, health, directories)
        self._answers: dict[str, Callable[[], Response]] = {
            "/metrics": self._tell_metrics,
            "/healthz": lambda: Response("ok\n"),
            "/readyz": self._tell_readiness,
        }

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        answer = self._answers.get(environ.get("PATH_INFO", ""))
        if answer is None:
            response = Response(f"here are {', '.join(self._answers)}\n", status=404)
        elif environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            response = Response(status=405, headers={"Allow": "GET, HEAD"})
        else:
            response = answer()
        response.headers["Cache-Control"] = "no-store"
        return response(environ, start_response)

    def _tell_metrics(self) -> Response:
        text = self._metrics.text([self._gauges])
        return Response(text, content_type=CONTENT_TYPE_PLAIN_0_0_4)

    def _tell_readiness(self) -> Response:
        try:
            folders = self._health.look()
        except LookHangs as error:
            return Response(f"not ready: {error}\n", status=503)
        is_ready = not any(folder.problem for folder in folders)
        return Response("".join(f"{each}\n" for each in folders), status=200 if is_ready else 503)


class _Gauges(Collector):
    """What is looked up when somebody asks."""

    def __init__(self, census: Census, health: Health, directories: Iterable[str]) -> None:
        self._census = census
        self._health = health
        self._directories = tuple(directories)

    def collect(self) -> Iterator[Metric]:
        yield from self._sessions()
        yield from self._folders()

    def _sessions(self) -> Iterator[Metric]:
        sessions = _gauge("sessions", "Sessions there are, when they were last counted.", "state")
        counted = GaugeMetricFamily(
            f"{PREFIX}sessions_counted_timestamp_seconds",
            "When that was, in seconds since 1970; the more sessions, the more rarely.",
        )
        count = self._census.latest()
        if count is not None:
            counted.add_metric([], count.ended)
            for url in self._directories:
                for state in STATES if url in count.sessions else ():
                    sessions.add_metric([url, state], count.sessions[url].get(state, 0))
        yield sessions
        yield counted

    def _folders(self) -> Iterator[Metric]:
        ready = _gauge("ready", "Whether the virtual directory can take uploads: 1 or 0.")
        free = _gauge("free_bytes", "Space left for the server where the folder is.")
        try:
            folders = self._health.look()
        except LookHangs:
            folders = []
        for folder in folders:
            ready.add_metric([folder.url], 0 if folder.problem else 1)
            if folder.free_bytes is not None:
                free.add_metric([folder.url], folder.free_bytes)
        yield ready
        yield free


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{PREFIX}{name}", text, labels=(DIRECTORY, *labels))
