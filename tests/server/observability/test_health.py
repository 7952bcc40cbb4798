"""Whoever watches over the server sees whether it can work, and nothing of what it works with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealyard.engine import health as readiness
from sealyard.server.observability import health
from tests.support.server_harness import GATEWAY, run_server

pytestmark = pytest.mark.anyio


async def test_a_server_that_runs_is_alive_and_ready(folder: Path) -> None:
    async with run_server({"acme": folder}) as yard:
        calls = yard.anonymous_client()
        assert (await calls.get("/healthz")).json() == {"alive": True}
        answer = await calls.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["ready"] is True
        checks = {each["name"]: (each["passed"], each["failed"]) for each in answer.json()["checks"]}
        assert checks == {"store": (1, 0), "worker": (1, 0), "encryption-key": (1, 0), "signing-key": (1, 0)}


async def test_lost_keys_make_it_unready_and_strangers_learn_no_names(folder: Path) -> None:
    shutil.rmtree(folder / "keys" / "local")
    async with run_server({"acme": folder}) as yard:
        calls = yard.anonymous_client()
        answer = await calls.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["ready"] is False
        failed = {each["name"]: each["failed"] for each in answer.json()["checks"] if each["failed"]}
        assert failed == {"encryption-key": 1, "signing-key": 1}
        for secret in (GATEWAY, "acme", "local:", str(folder), "USER:"):
            assert secret not in answer.text
        assert (await calls.get("/healthz")).status_code == 200


async def test_one_tenant_that_is_not_ready_makes_the_server_unready(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    shutil.rmtree(other / "keys" / "local")
    async with run_server({"acme": folder, "umbrella": other}) as yard:
        answer = await yard.anonymous_client().get("/readyz")
        assert answer.status_code == 503
        checks = {each["name"]: (each["passed"], each["failed"]) for each in answer.json()["checks"]}
        assert checks == {"store": (2, 0), "worker": (2, 0), "encryption-key": (1, 1), "signing-key": (1, 1)}


async def test_an_engine_that_does_not_answer_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "TIMEOUT", 0.0)
    async with run_server({"acme": folder}) as yard:
        answer = await yard.anonymous_client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"] == [{"name": "engine", "passed": 0, "failed": 1}]


async def test_whoever_asks_all_the_time_costs_one_check_a_minute(folder: Path) -> None:
    async with run_server({"acme": folder}) as yard:
        calls = yard.anonymous_client()
        first = yard.engine.engine.health
        for _ in range(20):
            assert (await calls.get("/readyz")).status_code == 200
        assert first._last_health is not None
        assert (await first.health()) is first._last_health
        assert readiness.CACHE_SECONDS.total_seconds() == 60
