"""What the server counts, in the text form of Prometheus."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.health import collect_stats
from sealyard.model.health import WorkspaceStats
from sealyard.server.http.listeners import is_loopback
from sealyard.server.http.request_log import RequestRecord

PATIENCE_SECONDS = 5.0
"""With an engine, while a scrape waits."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""

FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip"})
"""Headers that a proxy adds, beside all of X-Forwarded-…"""

log = logging.getLogger(__name__)


class Metrics:
    """Its own registry: two servers in a process do not count into each other."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter(
            "sealyard_requests", "Requests that were answered.", ("method", "path", "status", "tenant"), registry=own
        )
        self._seconds = Histogram(
            "sealyard_request_seconds",
            "Seconds until the answer began.",
            ("method", "path", "tenant"),
            registry=own,
            buckets=BUCKETS,
        )
        self._received = Counter(
            "sealyard_received_bytes", "Bytes of bodies that came in, uploads.", ("path", "tenant"), registry=own
        )
        self._sent = Counter(
            "sealyard_sent_bytes", "Bytes of bodies that went out, downloads.", ("path", "tenant"), registry=own
        )
        self._up = Gauge("sealyard_engine_up", "Whether the tenant's engine answers.", ("tenant",), registry=own)
        self._tasks = Gauge("sealyard_tasks", "Tasks by status.", ("status", "tenant"), registry=own)
        self._queued = Gauge("sealyard_queue_length", "Tasks that wait for a worker.", ("tenant",), registry=own)
        self._workers = Gauge("sealyard_workers", "Crypto workers that live.", ("tenant",), registry=own)
        self._webhooks = Gauge(
            "sealyard_webhook_messages", "What webhooks are to be told, or were not.", ("state", "tenant"), registry=own
        )
        Info("sealyard_build", "The version that runs.", registry=own).info({"version": version("sealyard")})

    def observe(self, exchange: RequestRecord) -> None:
        """Counts an exchange."""
        path, tenant = exchange.template, exchange.tenant
        self._requests.labels(exchange.method, path, str(exchange.status), tenant).inc()
        self._seconds.labels(exchange.method, path, tenant).observe(exchange.time_to_first_byte)
        if exchange.received:
            self._received.labels(path, tenant).inc(exchange.received)
        if exchange.sent:
            self._sent.labels(path, tenant).inc(exchange.sent)

    def text(self, figures: Mapping[str, WorkspaceStats | None]) -> bytes:
        """All of it, with the ``figures`` of each tenant; None for one whose engine does not answer."""
        for gauge in (self._up, self._tasks, self._queued, self._workers, self._webhooks):
            gauge.clear()  # An engine that does not answer has no figures of yesterday.
        for tenant, found in figures.items():
            self._up.labels(tenant).set(found is not None)
            if found is not None:
                self._update(tenant, found)
        return generate_latest(self._registry)

    def _update(self, tenant: str, figures: WorkspaceStats) -> None:
        for status, count in figures.tasks.items():
            self._tasks.labels(status, tenant).set(count)
        self._queued.labels(tenant).set(figures.queued)
        self._workers.labels(tenant).set(figures.workers)
        self._webhooks.labels("waiting", tenant).set(figures.pending_deliveries)
        self._webhooks.labels("dead", tenant).set(figures.dead_letters)


def metrics_handler(
    metrics: Metrics, tenants: Iterable[tuple[str, EngineHandle]], *, public: bool = False
) -> HTTPRouteHandler:
    """``GET /metrics``: for this machine, unless it is ``public``, for tenants and what they do are named."""
    hosts = dict(tenants)

    @get("/metrics", include_in_schema=False)
    async def scrape(request: Request[Any, Any, Any]) -> Response[bytes]:
        if not public and not _is_local_request(request):
            raise NotFoundException
        found = await asyncio.gather(*map(_figures, hosts.values()))
        text = metrics.text(dict(zip(hosts, found, strict=True)))
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return scrape


def _is_local_request(request: Request[Any, Any, Any]) -> bool:
    """Whether a process of this machine asks, for itself: through a proxy here the whole world has its address."""
    passed_on = any(name in FORWARDING_HEADERS or name.startswith("x-forwarded-") for name in request.headers)
    return not passed_on and request.client is not None and is_loopback(request.client.host)


async def _figures(host: EngineHandle) -> WorkspaceStats | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await host.run(collect_stats(host.engine.store, host.engine.scheduler, host.engine.bus))
    except Exception:
        # One that cannot be counted must not hide what the others count.
        log.exception("the engine of %s cannot be counted", host.folder)
        return None
