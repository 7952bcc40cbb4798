"""Tests of the Prometheus metrics: request counters, workspace statistics and access from proxies."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from sealyard.model.credentials import TokenRequest
from sealyard.model.health import WorkspaceStats
from sealyard.model.tasks import TaskStatus
from sealyard.server.http.request_log import RequestRecord
from sealyard.server.observability import metrics as metrics_module
from sealyard.server.observability.metrics import Metrics, metrics_handler
from sealyard.server.server import Server
from sealyard.server.settings import ServerSettings
from sealyard.storage.commit_times import CommitTimer
from tests.support.limits import TIMEOUT
from tests.support.server_harness import ADMIN, DEV, open_workspace

RECORD = RequestRecord(
    id="r1",
    method="GET",
    template="/api/v1/task/{task_id}",
    path="/api/v1/task/ab12",
    status=200,
    time_to_first_byte=0.02,
    seconds=5.0,
    received=100,
    sent=2000,
    tenant="acme",
    subject="USER:anna",
)
STATS = WorkspaceStats(
    tasks={**dict.fromkeys(TaskStatus, 0), TaskStatus.WAITING: 7},
    queued=3,
    workers=2,
    pending_deliveries=5,
    dead_letters=1,
    pending_notifications=4,
    failed_notifications=6,
    failing_keys=2,
    key_providers={"seal": False, "corp": True},
)
EMPTY_STATS = WorkspaceStats(
    tasks=dict.fromkeys(TaskStatus, 0),
    queued=0,
    workers=0,
    pending_deliveries=0,
    dead_letters=0,
    pending_notifications=0,
    failed_notifications=0,
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse_samples(text: bytes | str) -> Samples:
    content = text if isinstance(text, str) else text.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(content)
        for sample in family.samples
    }


def sample_value(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"sealyard_{name}", frozenset(labels.items())]


def test_requests_are_counted_by_path_status_tenant() -> None:
    metrics = Metrics()
    for status in (200, 200, 404):
        metrics.observe(msgspec.structs.replace(RECORD, status=status))
    metrics.observe(msgspec.structs.replace(RECORD, tenant="umbrella"))
    samples = parse_samples(metrics.text({}))
    request_labels = {"method": "GET", "path": RECORD.template}
    assert sample_value(samples, "requests_total", status="200", tenant="acme", **request_labels) == 2
    assert sample_value(samples, "requests_total", status="404", tenant="acme", **request_labels) == 1
    assert sample_value(samples, "requests_total", status="200", tenant="umbrella", **request_labels) == 1


def test_request_seconds_measure_time_to_first_byte() -> None:
    metrics = Metrics()
    metrics.observe(RECORD)
    samples = parse_samples(metrics.text({}))
    request_labels = {"method": "GET", "path": RECORD.template, "tenant": "acme"}
    assert sample_value(samples, "request_seconds_sum", **request_labels) == RECORD.time_to_first_byte
    assert sample_value(samples, "request_seconds_bucket", le="0.01", **request_labels) == 0
    assert sample_value(samples, "request_seconds_bucket", le="0.025", **request_labels) == 1


def test_received_and_sent_bytes_are_summed() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.observe(RECORD)
    samples = parse_samples(metrics.text({}))
    assert sample_value(samples, "received_bytes_total", path=RECORD.template, tenant="acme") == 300
    assert sample_value(samples, "sent_bytes_total", path=RECORD.template, tenant="acme") == 6000


def test_commit_seconds_are_a_histogram() -> None:
    timer = CommitTimer()
    for seconds in (0.001, 0.0011, 0.02, 99.0):
        timer.record(seconds)
    stats = msgspec.structs.replace(STATS, commits=timer.times)
    samples = parse_samples(Metrics().text({"acme": stats, "umbrella": None}))
    buckets = [
        sample_value(samples, "commit_seconds_bucket", le=le, tenant="acme") for le in ("0.001", "0.025", "60.0")
    ]
    assert buckets == [1, 3, 3]
    assert sample_value(samples, "commit_seconds_count", tenant="acme") == 4
    assert sample_value(samples, "commit_seconds_sum", tenant="acme") == pytest.approx(99.0221)


def test_labels_contain_no_ids_or_subjects() -> None:
    metrics = Metrics()
    for number in range(50):
        path, subject = f"/api/v1/task/{number}", f"USER:{number}"
        metrics.observe(msgspec.structs.replace(RECORD, path=path, subject=subject, id=str(number)))
    text = metrics.text({}).decode()
    assert "USER:" not in text
    assert text.count("sealyard_requests_total{") == 1


def test_workspace_stats_are_labelled_by_tenant() -> None:
    samples = parse_samples(Metrics().text({"acme": STATS, "umbrella": None}))
    assert sample_value(samples, "tasks", status="WAITING", tenant="acme") == 7
    assert sample_value(samples, "tasks", status="DONE", tenant="acme") == 0
    assert sample_value(samples, "queue_length", tenant="acme") == 3
    assert sample_value(samples, "workers", tenant="acme") == 2
    assert sample_value(samples, "webhook_messages", state="waiting", tenant="acme") == 5
    assert sample_value(samples, "webhook_messages", state="dead", tenant="acme") == 1
    assert sample_value(samples, "notifications", state="waiting", tenant="acme") == 4
    assert sample_value(samples, "notifications", state="dead", tenant="acme") == 6
    assert sample_value(samples, "failing_keys", tenant="acme") == 2
    assert sample_value(samples, "key_provider_up", provider="seal", tenant="acme") == 0
    assert sample_value(samples, "key_provider_up", provider="corp", tenant="acme") == 1
    assert (
        sample_value(samples, "engine_up", tenant="acme"),
        sample_value(samples, "engine_up", tenant="umbrella"),
    ) == (1, 0)
    assert ("sealyard_workers", frozenset({("tenant", "umbrella")})) not in samples


def test_workspace_stats_replace_earlier_values() -> None:
    metrics = Metrics()
    metrics.text({"acme": STATS})
    samples = parse_samples(metrics.text({"acme": EMPTY_STATS}))
    assert sample_value(samples, "tasks", status="WAITING", tenant="acme") == 0


def test_unavailable_engine_drops_stale_stats() -> None:
    metrics = Metrics()
    metrics.text({"acme": STATS})
    samples = parse_samples(metrics.text({"acme": None}))
    assert {name for name, labels in samples if ("tenant", "acme") in labels} == {"sealyard_engine_up"}


def test_build_info_has_version() -> None:
    (info,) = [labels for name, labels in parse_samples(Metrics().text({})) if name == "sealyard_build_info"]
    assert dict(info)["version"]


def test_metrics_of_two_servers_are_separate() -> None:
    first, second = Metrics(), Metrics()
    first.observe(RECORD)
    assert b"requests_total{" in first.text({})
    assert b"requests_total{" not in second.text({})
    assert not [each for each in REGISTRY.collect() if each.name.startswith("sealyard")]


@pytest.mark.anyio
async def test_running_server_exposes_request_and_engine_metrics(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    server = await Server.open(ServerSettings(listen="127.0.0.1:0"), {"acme": await open_workspace(folder)})
    try:
        (host,) = (host for _, host in server.tenants)
        token = await host.client(ADMIN).create_token(TokenRequest(name="test", subject=DEV))
        async with httpx.AsyncClient(base_url=server.address, timeout=TIMEOUT) as http:
            http.headers["Authorization"] = f"Bearer {token.secret}"
            for _ in range(3):
                assert (await http.get("/api/v1/task")).status_code == 200
            assert (await http.get("/api/v1/task/none")).status_code == 404
            http.headers["Authorization"] = "Bearer wrong"
            assert (await http.get("/api/v1/task")).status_code == 401
            response = await http.get("/metrics")
            monkeypatch.setattr(metrics_module, "TIMEOUT", 0.0)
            timed_out = await http.get("/metrics")
    finally:
        await server.stop()
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    samples = parse_samples(response.text)
    assert sample_value(samples, "requests_total", method="GET", path="/api/v1/task", status="200", tenant="acme") == 3
    assert sample_value(samples, "requests_total", method="GET", path="/api/v1/task", status="401", tenant="") == 1
    assert sample_value(samples, "tasks", status="DONE", tenant="acme") == 0
    assert sample_value(samples, "engine_up", tenant="acme") == 1
    assert sample_value(parse_samples(timed_out.text), "engine_up", tenant="acme") == 0
    assert token.secret not in response.text


PROXIED = {
    "Forwarded": "for=203.0.113.7",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "203.0.113.7",
    "Via": "1.1 front",
}


@pytest.mark.anyio
@pytest.mark.parametrize("is_public", [False, True])
async def test_metrics_via_proxy_are_hidden_unless_public(is_public: bool) -> None:
    import httpx
    from litestar import Litestar

    app = Litestar([metrics_handler(Metrics(), (), public=is_public)], openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        direct = (await http.get("/metrics")).status_code
        proxied = {(await http.get("/metrics", headers={name: header})).status_code for name, header in PROXIED.items()}
    assert (direct, proxied) == (200, {200 if is_public else 404})
