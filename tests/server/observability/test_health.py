"""Tests of the health endpoints /healthz and /readyz."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sealyard.engine import health as engine_health
from sealyard.server.observability import health
from tests.support.clock import FakeClock
from tests.support.server_harness import GATEWAY, run_server

pytestmark = pytest.mark.anyio


async def test_running_server_is_alive_and_ready(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = harness.anonymous_client()
        assert (await http.get("/healthz")).json() == {"alive": True}
        response = await http.get("/readyz")
        assert response.status_code == 200
        assert response.json()["ready"] is True
        checks = {each["name"]: (each["passed"], each["failed"]) for each in response.json()["checks"]}
        assert checks == {
            "store": (1, 0),
            "worker": (1, 0),
            "encryption-key": (1, 0),
            "signing-key": (1, 0),
            "audit-key": (1, 0),
            "clock": (1, 0),
        }


async def test_expiring_certificate_is_counted_as_warning(folder: Path) -> None:
    clock = FakeClock()
    clock.move_to(datetime.now(UTC) + timedelta(days=20 * 365))
    async with run_server({"acme": folder}, clock=clock) as harness:
        response = await harness.anonymous_client().get("/readyz")
        assert response.status_code == 200
        warnings = {each["name"]: each["warnings"] for each in response.json()["checks"]}
        assert warnings == {"store": 0, "worker": 0, "clock": 0, "encryption-key": 0, "signing-key": 1, "audit-key": 0}
        assert "local:" not in response.text


async def test_expired_certificate_makes_server_unready(folder: Path) -> None:
    clock = FakeClock()
    clock.move_to(datetime.now(UTC) + timedelta(days=21 * 365))
    async with run_server({"acme": folder}, clock=clock) as harness:
        response = await harness.anonymous_client().get("/readyz")
        assert response.status_code == 503
        failed = [each["name"] for each in response.json()["checks"] if each["failed"]]
        assert failed == ["signing-key"]


async def test_missing_keys_are_reported_without_names(folder: Path) -> None:
    shutil.rmtree(folder / "keys" / "local")
    async with run_server({"acme": folder}) as harness:
        http = harness.anonymous_client()
        response = await http.get("/readyz")
        assert response.status_code == 503
        assert response.json()["ready"] is False
        failed = {each["name"]: each["failed"] for each in response.json()["checks"] if each["failed"]}
        assert failed == {"encryption-key": 1, "signing-key": 1}
        for secret in (GATEWAY, "acme", "local:", str(folder), "USER:"):
            assert secret not in response.text
        assert (await http.get("/healthz")).status_code == 200


async def test_unready_tenant_makes_server_unready(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    shutil.rmtree(other / "keys" / "local")
    async with run_server({"acme": folder, "umbrella": other}) as harness:
        response = await harness.anonymous_client().get("/readyz")
        assert response.status_code == 503
        checks = {each["name"]: (each["passed"], each["failed"]) for each in response.json()["checks"]}
        assert checks == {
            "store": (2, 0),
            "worker": (2, 0),
            "encryption-key": (1, 1),
            "signing-key": (1, 1),
            "audit-key": (2, 0),
            "clock": (2, 0),
        }


async def test_engine_timeout_makes_server_unready(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.0)
    async with run_server({"acme": folder}) as harness:
        response = await harness.anonymous_client().get("/readyz")
        assert response.status_code == 503
        assert response.json()["checks"] == [{"name": "engine", "passed": 0, "failed": 1, "warnings": 0}]


async def test_repeated_requests_use_cached_health(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = harness.anonymous_client()
        monitor = harness.engine.engine.health
        for _ in range(20):
            assert (await http.get("/readyz")).status_code == 200
        assert monitor._last_health is not None
        assert (await monitor.health()) is monitor._last_health
        assert engine_health.CACHE_SECONDS == 60
