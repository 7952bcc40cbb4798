"""Metrics in the Prometheus text format."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.health import collect_stats
from sealyard.model.health import COMMIT_BUCKETS, CommitTimes, WorkspaceStats
from sealyard.server.http.listeners import is_loopback
from sealyard.server.http.request_log import RequestRecord
from sealyard.server.observability.zone_metrics import ZoneMetrics

MEDIA_TYPE = "text/plain; version=0.0.4"
"""Media type of the Prometheus text format; the framework adds the charset."""

TIMEOUT = 5.0
"""Seconds to wait for the statistics of an engine."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of the latency histogram, in seconds."""

FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
"""Headers that proxies add to forwarded requests, besides X-Forwarded-*."""

log = logging.getLogger(__name__)


class Metrics:
    """The metrics of one server, in a separate registry, so that several servers can run in one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "sealyard_requests", "Finished requests.", ("method", "path", "status", "tenant"), registry=registry
        )
        self._latency = Histogram(
            "sealyard_request_seconds",
            "Seconds until the response started.",
            ("method", "path", "tenant"),
            registry=registry,
            buckets=BUCKETS,
        )
        self._received_bytes = Counter(
            "sealyard_received_bytes", "Bytes of received request bodies.", ("path", "tenant"), registry=registry
        )
        self._sent_bytes = Counter(
            "sealyard_sent_bytes", "Bytes of sent response bodies.", ("path", "tenant"), registry=registry
        )
        self._up = Gauge("sealyard_engine_up", "Whether the tenant's engine responds.", ("tenant",), registry=registry)
        self._tasks = Gauge("sealyard_tasks", "Tasks by status.", ("status", "tenant"), registry=registry)
        self._queue_length = Gauge(
            "sealyard_queue_length", "Tasks waiting for a worker.", ("tenant",), registry=registry
        )
        self._workers = Gauge("sealyard_workers", "Running crypto workers.", ("tenant",), registry=registry)
        self._webhooks = Gauge(
            "sealyard_webhook_messages",
            "Webhook messages, pending (waiting) or undeliverable (dead).",
            ("state", "tenant"),
            registry=registry,
        )
        self._notifications = Gauge(
            "sealyard_notifications",
            "Notifications of people, pending (waiting) or undeliverable (dead).",
            ("state", "tenant"),
            registry=registry,
        )
        self._failing_keys = Gauge(
            "sealyard_failing_keys", "Active keys that failed their last check.", ("tenant",), registry=registry
        )
        self._key_providers = Gauge(
            "sealyard_key_provider_up",
            "Whether the key provider passed its last check.",
            ("provider", "tenant"),
            registry=registry,
        )
        self._zones = ZoneMetrics(registry)
        self._commits = _CommitCollector()
        registry.register(self._commits)
        Info("sealyard_build", "Version of Sealyard.", registry=registry).info({"version": version("sealyard")})

    @property
    def registry(self) -> CollectorRegistry:
        return self._registry

    def observe(self, request: RequestRecord) -> None:
        """Add the status, latency and body sizes of a finished request to the metrics."""
        path, tenant = request.template, request.tenant
        self._requests.labels(request.method, path, str(request.status), tenant).inc()
        self._latency.labels(request.method, path, tenant).observe(request.time_to_first_byte)
        if request.received:
            self._received_bytes.labels(path, tenant).inc(request.received)
        if request.sent:
            self._sent_bytes.labels(path, tenant).inc(request.sent)

    def text(self, stats_by_tenant: Mapping[str, WorkspaceStats | None]) -> bytes:
        """Update the gauges of all tenants, and return all metrics in the Prometheus text format.

        ``stats_by_tenant``: the current statistics of each tenant's workspace; None if the engine does not respond.
        """
        for gauge in (
            self._up,
            self._tasks,
            self._queue_length,
            self._workers,
            self._webhooks,
            self._notifications,
            self._failing_keys,
            self._key_providers,
        ):
            gauge.clear()  # otherwise, an unresponsive engine's last values would remain
        self._zones.clear()
        self._commits.times_by_tenant = {
            tenant: stats.commits for tenant, stats in stats_by_tenant.items() if stats is not None
        }
        for tenant, stats in stats_by_tenant.items():
            self._up.labels(tenant).set(stats is not None)
            if stats is not None:
                self._update_gauges(tenant, stats)
        return generate_latest(self._registry)

    def _update_gauges(self, tenant: str, stats: WorkspaceStats) -> None:
        for status, count in stats.tasks.items():
            self._tasks.labels(status, tenant).set(count)
        self._queue_length.labels(tenant).set(stats.queued)
        self._workers.labels(tenant).set(stats.workers)
        self._webhooks.labels("waiting", tenant).set(stats.pending_deliveries)
        self._webhooks.labels("dead", tenant).set(stats.dead_letters)
        self._notifications.labels("waiting", tenant).set(stats.pending_notifications)
        self._notifications.labels("dead", tenant).set(stats.failed_notifications)
        self._failing_keys.labels(tenant).set(stats.failing_keys)
        for provider, is_up in stats.key_providers.items():
            self._key_providers.labels(provider, tenant).set(is_up)
        if stats.zone is not None:
            self._zones.update(tenant, stats.zone)


class _CommitCollector(Collector):
    """Exports the durations of the commits of each tenant as a histogram."""

    def __init__(self) -> None:
        self.times_by_tenant: Mapping[str, CommitTimes] = {}

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(
            "sealyard_commit_seconds", "Seconds that commits to the store took.", labels=("tenant",)
        )
        for tenant, times in self.times_by_tenant.items():
            bounds = (*map(str, COMMIT_BUCKETS), "+Inf")
            family.add_metric((tenant,), list(zip(bounds, accumulate(times.counts), strict=True)), times.seconds)
        yield family


def metrics_handler(
    metrics: Metrics, tenants: Iterable[tuple[str, EngineHandle]], *, public: bool = False
) -> HTTPRouteHandler:
    """Return the handler of ``GET /metrics``.

    Requests from other machines get 404 unless ``public`` is true: metrics disclose the names and activity of tenants.
    """

    @get("/metrics", include_in_schema=False)
    async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not public and not _is_local_request(request):
            raise NotFoundException
        engine_handles = dict(tenants)
        stats = await asyncio.gather(*map(_collect_stats, engine_handles.values()))
        text = metrics.text(dict(zip(engine_handles, stats, strict=True)))
        return Response(text, media_type=MEDIA_TYPE)

    return scrape


def _is_local_request(request: Request[Any, Any, Any]) -> bool:
    """Return whether the request comes from a process on this machine and was not forwarded by a proxy.

    The address alone is not sufficient: requests forwarded by a proxy on this machine also come from a local address.
    """
    is_forwarded = any(name in FORWARDING_HEADERS or name.startswith("x-forwarded-") for name in request.headers)
    return not is_forwarded and request.client is not None and is_loopback(request.client.host)


async def _collect_stats(engine_handle: EngineHandle) -> WorkspaceStats | None:
    engine = engine_handle.engine
    try:
        async with asyncio.timeout(TIMEOUT):
            return await engine_handle.run(
                collect_stats(engine.store, engine.scheduler, engine.bus, engine.provider_monitor)
            )
    except Exception:
        # A failing engine must not hide the metrics of the others.
        log.exception("cannot collect statistics of %s", engine_handle.folder)
        return None
