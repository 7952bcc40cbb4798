"""Tests of the metrics of crypto zones."""

from __future__ import annotations

import msgspec

from sealyard.model.zone_format import HostState
from sealyard.model.zone_status import ZoneStatus
from sealyard.server.observability.metrics import Metrics
from tests.server.observability.test_metrics import EMPTY_STATS, parse_samples, sample_value
from tests.support.zone_examples import ZONE

LABELS = {"zone": "plant", "tenant": "acme"}


def test_zone_metrics_count_hosts_by_state() -> None:
    samples = parse_samples(Metrics().text({"acme": msgspec.structs.replace(EMPTY_STATS, zone=ZONE)}))
    hosts = {state: sample_value(samples, "zone_hosts", state=state, **LABELS) for state in HostState}
    assert hosts == {HostState.READY: 1, HostState.BUSY: 0, HostState.DRAINING: 1, HostState.NO_CONTACT: 1}
    names = ("zone_up", "zone_workers", "zone_running_jobs", "zone_queued_tasks", "zone_report_lag_seconds")
    assert [sample_value(samples, name, **LABELS) for name in names] == [1, 6, 3, 3, 0.25]


def test_unreachable_zone_has_only_its_reachability() -> None:
    metrics = Metrics()
    metrics.text({"acme": msgspec.structs.replace(EMPTY_STATS, zone=ZONE)})
    lost = msgspec.structs.replace(EMPTY_STATS, zone=ZoneStatus(name="plant", reachable=False))
    samples = parse_samples(metrics.text({"acme": lost}))
    assert {name: value for (name, _), value in samples.items() if "zone" in name} == {"sealyard_zone_up": 0}


def test_workspace_without_zone_has_no_zone_metrics() -> None:
    samples = parse_samples(Metrics().text({"acme": EMPTY_STATS}))
    assert not any("zone" in name for name, _ in samples)
