"""Prometheus metrics, on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip


class Metrics:
    """The service's metrics; one object a server, with a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._calls = Counter(
            "footfall_calls",
            "Calls that ended, by method and canonical code.",
            ("method", "code"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "footfall_call_seconds",
            "Time from a call's arrival to its end; streams are left out.",
            ("method",),
            buckets=_LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.gauge(
            "footfall_calls_in_flight",
            "Calls that have begun and not ended, streams included.",
            lambda: self.in_flight,
        )
        # Finding a labelled child costs more than counting in it.
        self._call_children: dict[tuple[str, grpc.StatusCode], Counter] = {}
        self._latency_children: dict[str, Histogram] = {}

    def started(self) -> None:
        """Count a call that has begun."""
        self.in_flight += 1
        if self.in_flight == 1:
            self._idle.clear()

    def ended(self, method: str, code: grpc.StatusCode, seconds: float | None) -> None:
        """Count a call that has ended, and its time if it has one worth comparing."""
        self.in_flight -= 1
        if not self.in_flight:
            self._idle.set()
        counter = self._call_children.get((method, code))
        if counter is None:
            counter = self._calls.labels(method, code.name)
            self._call_children[method, code] = counter
        counter.inc()
        if seconds is not None:
            histogram = self._latency_children.get(method)
            if histogram is None:
                histogram = self._latency.labels(method)
                self._latency_children[method] = histogram
            histogram.observe(seconds)

    async def idle(self) -> None:
        """Return when no call is in flight."""
        await self._idle.wait()

    def gauge(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Publish a number that is read when somebody asks."""
        self.registry.register(_Reading(lambda: GaugeMetricFamily(name, help_text, value=read())))

    def counter(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Publish a number that only grows and is read when somebody asks."""
        self.registry.register(_Reading(lambda: CounterMetricFamily(name, help_text, value=read())))

    @contextmanager
    def serve(self, host: str, port: int) -> Iterator[int]:
        """Serve the metrics over HTTP while the context lasts; give the port (0 picks one)."""
        server, thread = start_http_server(port, addr=host, registry=self.registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Reading(Collector):
    """A metric that is made when it is asked for."""

    def __init__(self, read: Callable[[], Metric]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        yield self._read()
