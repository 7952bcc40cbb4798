"""Metrics of a server that is one of several."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sealyard.server.observability.metrics import BUCKETS


class ClusterMetrics:
    """Metrics of lease, takeovers and forwarding, added to those of the server."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._active = Gauge("sealyard_cluster_active", "Whether this server is the active one.", registry=registry)
        self._term = Gauge("sealyard_cluster_lease_term", "Term of the lease in the database.", registry=registry)
        self._remaining = Gauge(
            "sealyard_cluster_lease_remaining_seconds",
            "Seconds until the lease of the active server expires, unless it is renewed.",
            registry=registry,
        )
        self._takeovers = Counter(
            "sealyard_cluster_takeovers", "How often this server became the active one.", registry=registry
        )
        self._forwarded = Counter(
            "sealyard_cluster_forwarded_requests",
            "Requests forwarded to the active server.",
            ("outcome",),
            registry=registry,
        )
        self._latency = Histogram(
            "sealyard_cluster_forward_seconds",
            "Seconds until the active server started its response.",
            registry=registry,
            buckets=BUCKETS,
        )

    def watch(
        self, is_active: Callable[[], bool], term: Callable[[], int], remaining_seconds: Callable[[], float]
    ) -> None:
        """Take the values of the gauges from these functions."""
        self._active.set_function(is_active)
        self._term.set_function(term)
        self._remaining.set_function(remaining_seconds)

    def count_takeover(self) -> None:
        self._takeovers.inc()

    def count_forwarded(self, outcome: str) -> None:
        self._forwarded.labels(outcome).inc()

    def observe_latency(self, seconds: float) -> None:
        self._latency.observe(seconds)
