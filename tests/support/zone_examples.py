"""A crypto zone with hosts in several states, and workspaces that have it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from sealyard.model.worker_messages import RefusedMeasure
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus


def build_host(name: str = "crypto-1:1", hostname: str = "crypto-1", **fields: Any) -> CryptoHostStatus:
    defaults = {
        "version": "1.0",
        "slots": 2,
        "running_jobs": 1,
        "started_at": datetime(2030, 12, 1, 8, 30, tzinfo=UTC),
        "silent_seconds": 1.5,
    }
    return CryptoHostStatus(name=name, hostname=hostname, **{**defaults, **fields})


ZONE = ZoneStatus(
    name="plant",
    reachable=True,
    hosts=(
        build_host("crypto-1[a]:1", refused=(RefusedMeasure(name="seccomp", reason="not permitted"),)),
        build_host("twin:1", "twin", draining=True),
        build_host("twin:2", "twin", silent_seconds=75.0),
    ),
    queued=3,
    report_lag=0.25,
)


def give_zone(monkeypatch: pytest.MonkeyPatch, status: ZoneStatus = ZONE) -> list[str]:
    """Let the engines of this process report a zone, and return a list that receives the names of drained hosts."""
    names: list[str] = []

    async def zone_status(_bus: object) -> ZoneStatus:
        return status

    async def drain_host(_bus: object, name: str) -> None:
        names.append(name)

    monkeypatch.setattr("sealyard.jobs.pipe_bus.PipeBus.zone_status", zone_status)
    monkeypatch.setattr("sealyard.jobs.pipe_bus.PipeBus.drain_host", drain_host)
    return names
