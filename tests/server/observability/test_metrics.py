"""What the server counts is what happened, by tenant, and nothing else can grow it."""

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
from tests.support.server_harness import ADMIN, DEV, open_workspace

EXCHANGE = RequestRecord(
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
FIGURES = WorkspaceStats(
    tasks={**dict.fromkeys(TaskStatus, 0), TaskStatus.WAITING: 7},
    queued=3,
    workers=2,
    pending_deliveries=5,
    dead_letters=1,
)
NONE_OF_ANY = WorkspaceStats(
    tasks=dict.fromkeys(TaskStatus, 0), queued=0, workers=0, pending_deliveries=0, dead_letters=0
)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: bytes | str) -> Samples:
    read = text if isinstance(text, str) else text.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(read)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[f"sealyard_{name}", frozenset(labels.items())]


def test_requests_are_counted_by_template_status_and_tenant() -> None:
    metrics = Metrics()
    for status in (200, 200, 404):
        metrics.observe(msgspec.structs.replace(EXCHANGE, status=status))
    metrics.observe(msgspec.structs.replace(EXCHANGE, tenant="umbrella"))
    found = samples(metrics.text({}))
    where = {"method": "GET", "path": EXCHANGE.template}
    assert value(found, "requests_total", status="200", tenant="acme", **where) == 2
    assert value(found, "requests_total", status="404", tenant="acme", **where) == 1
    assert value(found, "requests_total", status="200", tenant="umbrella", **where) == 1


def test_time_is_measured_until_the_answer_begins() -> None:
    metrics = Metrics()
    metrics.observe(EXCHANGE)
    found = samples(metrics.text({}))
    where = {"method": "GET", "path": EXCHANGE.template, "tenant": "acme"}
    assert value(found, "request_seconds_sum", **where) == EXCHANGE.time_to_first_byte
    assert value(found, "request_seconds_bucket", le="0.01", **where) == 0
    assert value(found, "request_seconds_bucket", le="0.025", **where) == 1


def test_bytes_are_summed_both_ways() -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.observe(EXCHANGE)
    found = samples(metrics.text({}))
    assert value(found, "received_bytes_total", path=EXCHANGE.template, tenant="acme") == 300
    assert value(found, "sent_bytes_total", path=EXCHANGE.template, tenant="acme") == 6000


def test_neither_paths_nor_ids_nor_people_become_labels() -> None:
    metrics = Metrics()
    for number in range(50):
        path, subject = f"/api/v1/task/{number}", f"USER:{number}"
        metrics.observe(msgspec.structs.replace(EXCHANGE, path=path, subject=subject, id=str(number)))
    text = metrics.text({}).decode()
    assert "USER:" not in text
    assert text.count("sealyard_requests_total{") == 1


def test_the_engines_figures_are_shown_by_tenant() -> None:
    found = samples(Metrics().text({"acme": FIGURES, "umbrella": None}))
    assert value(found, "tasks", status="WAITING", tenant="acme") == 7
    assert value(found, "tasks", status="DONE", tenant="acme") == 0
    assert value(found, "queue_length", tenant="acme") == 3
    assert value(found, "workers", tenant="acme") == 2
    assert value(found, "webhook_messages", state="waiting", tenant="acme") == 5
    assert value(found, "webhook_messages", state="dead", tenant="acme") == 1
    assert (value(found, "engine_up", tenant="acme"), value(found, "engine_up", tenant="umbrella")) == (1, 0)
    assert ("sealyard_workers", frozenset({("tenant", "umbrella")})) not in found


def test_figures_follow_the_engine() -> None:
    metrics = Metrics()
    metrics.text({"acme": FIGURES})
    found = samples(metrics.text({"acme": NONE_OF_ANY}))
    assert value(found, "tasks", status="WAITING", tenant="acme") == 0


def test_an_engine_that_is_gone_shows_no_figures_of_yesterday() -> None:
    metrics = Metrics()
    metrics.text({"acme": FIGURES})
    found = samples(metrics.text({"acme": None}))
    assert {name for name, labels in found if ("tenant", "acme") in labels} == {"sealyard_engine_up"}


def test_the_version_is_told() -> None:
    (info,) = [labels for name, labels in samples(Metrics().text({})) if name == "sealyard_build_info"]
    assert dict(info)["version"]


def test_two_servers_in_a_process_do_not_count_into_each_other() -> None:
    first, second = Metrics(), Metrics()
    first.observe(EXCHANGE)
    assert b"requests_total{" in first.text({})
    assert b"requests_total{" not in second.text({})
    assert not [each for each in REGISTRY.collect() if each.name.startswith("sealyard")]


@pytest.mark.anyio
async def test_a_real_server_shows_what_was_asked_of_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    service = await Server.open(ServerSettings(listen="127.0.0.1:0"), {"acme": await open_workspace(folder)})
    try:
        (host,) = (host for _, host in service.tenants)
        token = await host.client(ADMIN).create_token(TokenRequest(name="test", subject=DEV))
        async with httpx.AsyncClient(base_url=service.address) as calls:
            calls.headers["Authorization"] = f"Bearer {token.secret}"
            for _ in range(3):
                assert (await calls.get("/api/v1/task")).status_code == 200
            assert (await calls.get("/api/v1/task/none")).status_code == 404
            calls.headers["Authorization"] = "Bearer wrong"
            assert (await calls.get("/api/v1/task")).status_code == 401
            answer = await calls.get("/metrics")
            monkeypatch.setattr(metrics_module, "TIMEOUT", 0.0)
            late = await calls.get("/metrics")
    finally:
        await service.stop()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = samples(answer.text)
    assert value(found, "requests_total", method="GET", path="/api/v1/task", status="200", tenant="acme") == 3
    assert value(found, "requests_total", method="GET", path="/api/v1/task", status="401", tenant="") == 1
    assert value(found, "tasks", status="DONE", tenant="acme") == 0
    assert value(found, "engine_up", tenant="acme") == 1
    assert value(samples(late.text), "engine_up", tenant="acme") == 0
    assert token.secret not in answer.text


PROXIED = {
    "Forwarded": "for=203.0.113.7",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "203.0.113.7",
    "Via": "1.1 front",
}


@pytest.mark.anyio
@pytest.mark.parametrize("anywhere", [False, True])
async def test_what_a_proxy_on_this_machine_passes_on_is_not_from_this_machine(anywhere: bool) -> None:
    import httpx
    from litestar import Litestar

    app = Litestar([metrics_handler(Metrics(), (), public=anywhere)], openapi_config=None, logging_config=None)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 4711))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as calls:
        own = (await calls.get("/metrics")).status_code
        passed_on = {
            (await calls.get("/metrics", headers={name: value})).status_code for name, value in PROXIED.items()
        }
    assert (own, passed_on) == (200, {200 if anywhere else 404})
