"""Test the crypto zone of a workspace with both clients: in this process and over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError
from sealyard.model.hints import HintCode
from sealyard.model.worker_messages import RefusedMeasure
from sealyard.model.zone_status import CryptoHostStatus, ZoneStatus
from tests.support.client_kinds import ADMIN, ClientHarness, ContractSubjects

STARTED_AT = datetime(2030, 12, 1, 8, 30, tzinfo=UTC)


def build_host(name: str, hostname: str) -> CryptoHostStatus:
    refused = (RefusedMeasure(name="seccomp", reason="not permitted"),)
    return CryptoHostStatus(
        name=name,
        hostname=hostname,
        version="1.0",
        slots=2,
        running_jobs=1,
        started_at=STARTED_AT,
        silent_seconds=1.5,
        refused=refused,
    )


ZONE = ZoneStatus(
    name="plant",
    reachable=True,
    hosts=(build_host("crypto-1/[a]:1", "crypto-1"), build_host("twin:1", "twin"), build_host("twin:2", "twin")),
    queued=3,
    report_lag=0.25,
)


@pytest.fixture
def drained_hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give each workspace the zone ``ZONE``, and return the names of the hosts that are drained."""
    names: list[str] = []

    async def zone_status(_bus: object) -> ZoneStatus:
        return ZONE

    async def drain_host(_bus: object, name: str) -> None:
        names.append(name)

    monkeypatch.setattr("sealyard.jobs.pipe_bus.PipeBus.zone_status", zone_status)
    monkeypatch.setattr("sealyard.jobs.pipe_bus.PipeBus.drain_host", drain_host)
    return names


def test_workspace_without_zone_has_no_status(harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        assert await admin.zone_status() is None
        with pytest.raises(ConflictError, match="no crypto zone"):
            await admin.drain_crypto_host("crypto-1")

    harness.run(test)


def test_key_viewers_see_the_zone(harness: ClientHarness, drained_hosts: list[str]) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin, dev, owner = await subjects.all_clients()
        assert await admin.zone_status() == ZONE
        for client in (dev, owner):
            with pytest.raises(PermissionDeniedError):
                await client.zone_status()
            with pytest.raises(PermissionDeniedError):
                await client.drain_crypto_host("crypto-1")
        assert drained_hosts == []

    harness.run(test)


@pytest.mark.parametrize("name", ["crypto-1/[a]:1", "crypto-1"])
def test_administrator_drains_a_host(harness: ClientHarness, drained_hosts: list[str], name: str) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        assert await admin.drain_crypto_host(name) == ZONE.hosts[0]
        assert drained_hosts == [ZONE.hosts[0].name]
        entry = (await admin.audit(AuditFilter(resource_type="WORKSPACE", change=AuditAction.UPDATED))).entries[0]
        assert entry.author == ADMIN
        assert entry.message == "crypto host crypto-1 asked to finish its jobs and exit"
        assert entry.new_value == {"zone": "plant", "cryptoHost": ZONE.hosts[0].name, "draining": True}

    harness.run(test)


@pytest.mark.parametrize(("name", "error"), [("other", NotFoundError), ("twin", ConflictError)])
def test_unclear_host_is_not_drained(
    harness: ClientHarness, drained_hosts: list[str], name: str, error: type[ConflictError | NotFoundError]
) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        with pytest.raises(error, match=name) as caught:
            await admin.drain_crypto_host(name)
        assert caught.value.structured_hint.code == HintCode.LIST_CRYPTO_HOSTS
        assert drained_hosts == []

    harness.run(test)
