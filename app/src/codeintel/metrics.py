"""Prometheus metrics with bounded labels."""

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from codeintel.certificate import CertificateDates
from codeintel.context import age_seconds
from codeintel.store import IndexInfo

MAX_REPOSITORIES = 100
"""Most repositories whose index has an age in the metrics."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

ROUTES = frozenset(
    {"/", "/api/livez", "/api/readyz", "/api/capz", "/api/sse", "/api/metrics", "/mcp"}
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The metrics of one application, in a registry of their own."""

    def __init__(self, certificate: CertificateDates | None = None) -> None:
        """Register everything at zero, and the dates of a certificate."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        if certificate is not None:
            self._registry.register(certificate)
        self.requests = Counter(
            "codeintel_http_requests",
            "Finished HTTP requests.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        # Not the duration: that of an event stream is as long as the client likes.
        self.first_byte = Histogram(
            "codeintel_http_time_to_first_byte_seconds",
            "Time from the request's head to the response's head.",
            ["route"],
            registry=self._registry,
        )
        self.open_streams = Gauge(
            "codeintel_http_open_streams",
            "Event streams that are being sent.",
            ["route"],
            registry=self._registry,
        )
        self.tool_calls = Counter(
            "codeintel_tool_calls",
            "Tool calls by outcome.",
            ["tool", "outcome"],
            registry=self._registry,
        )

        self.tool_seconds = Histogram(
            "codeintel_tool_duration_seconds",
            "Time that a tool took to answer.",
            ["tool"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.index_age = Gauge(
            "codeintel_index_age_seconds",
            "Time since an index was built.",
            ["repository"],
            registry=self._registry,
        )

    def render(self, indexes: Mapping[str, IndexInfo] | None = None) -> bytes:
        """Return everything in the Prometheus text format, with the ages of `indexes`."""
        self.index_age.clear()
        for name, info in islice((indexes or {}).items(), MAX_REPOSITORIES):
            self.index_age.labels(name).set(age_seconds(info))
        return generate_latest(self._registry)


class HttpMetrics:
    """ASGI middleware that counts and times requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Record the requests to `app` in `metrics`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve and record one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        metrics = self._metrics
        # Labels come from fixed sets: a client must not be able to create time series.
        path = scope["path"].rstrip("/") or "/"
        route = path if path in ROUTES else "other"
        method = scope["method"] if scope["method"] in METHODS else "other"
        started = time.perf_counter()
        status = 500  # what a server sends when the application sends nothing
        streaming = False

        async def observe(message: Message) -> None:
            nonlocal status, streaming
            if message["type"] == "http.response.start":
                status = message["status"]
                metrics.first_byte.labels(route).observe(time.perf_counter() - started)
                if not streaming and _is_event_stream(message):
                    streaming = True
                    metrics.open_streams.labels(route).inc()
            await send(message)

        try:
            await self._app(scope, receive, observe)
        finally:
            metrics.requests.labels(route, method, str(status)).inc()
            if streaming:
                metrics.open_streams.labels(route).dec()


def _is_event_stream(message: Message) -> bool:
    headers: Any = message.get("headers", ())
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in headers
    )
