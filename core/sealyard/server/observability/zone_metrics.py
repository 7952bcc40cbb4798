"""Metrics of crypto zones."""

from __future__ import annotations

from collections import Counter

from prometheus_client import CollectorRegistry, Gauge

from sealyard.model.zone_format import HostState, host_state
from sealyard.model.zone_status import ZoneStatus


class ZoneMetrics:
    """The gauges of the crypto zones of all tenants."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("zone", "tenant")
        self._up = Gauge(
            "sealyard_zone_up", "Whether the bus database of the crypto zone can be used.", labels, registry=registry
        )
        self._hosts = Gauge(
            "sealyard_zone_hosts", "Hosts of the crypto zone by state.", ("state", *labels), registry=registry
        )
        self._workers = Gauge(
            "sealyard_zone_workers", "Crypto workers on the hosts of the zone.", labels, registry=registry
        )
        self._running_jobs = Gauge(
            "sealyard_zone_running_jobs", "Jobs that the hosts of the zone execute.", labels, registry=registry
        )
        self._queued_tasks = Gauge(
            "sealyard_zone_queued_tasks", "Tasks that wait for a host of the zone.", labels, registry=registry
        )
        self._report_lag = Gauge(
            "sealyard_zone_report_lag_seconds",
            "Age of the oldest report of the zone that the engine has not handled.",
            labels,
            registry=registry,
        )

    def clear(self) -> None:
        """Remove the values of all zones: an unresponsive engine's last values would remain otherwise."""
        for gauge in (
            self._up,
            self._hosts,
            self._workers,
            self._running_jobs,
            self._queued_tasks,
            self._report_lag,
        ):
            gauge.clear()

    def update(self, tenant: str, status: ZoneStatus) -> None:
        """Set the values of a tenant's zone. Only its reachability is known if its bus database cannot be used."""
        labels = (status.name, tenant)
        self._up.labels(*labels).set(status.reachable)
        if not status.reachable:
            return
        hosts = Counter(map(host_state, status.hosts))
        for state in HostState:
            self._hosts.labels(state, *labels).set(hosts[state])
        self._workers.labels(*labels).set(sum(host.slots for host in status.hosts))
        self._running_jobs.labels(*labels).set(sum(host.running_jobs for host in status.hosts))
        self._queued_tasks.labels(*labels).set(status.queued)
        self._report_lag.labels(*labels).set(status.report_lag)
