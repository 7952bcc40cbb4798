"""Test the crypto zone of a workspace with both clients: in this process and over HTTP."""

from __future__ import annotations

import socket

import pytest

from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError
from sealyard.model.hints import HintCode
from tests.support.client_kinds import ADMIN, ClientHarness, ClientKind, ContractSubjects
from tests.support.zone_examples import ZONE, give_zone


@pytest.fixture
def drained_hosts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give each workspace the zone ``ZONE``, and return the names of the hosts that are drained."""
    return give_zone(monkeypatch)


def test_workspace_without_zone_has_no_status(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        assert await admin.zone_status() is None
        with pytest.raises(ConflictError, match="no crypto zone"):
            await admin.drain_crypto_host("crypto-1")

    shared_harness.run(test)


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


@pytest.mark.parametrize("name", ["crypto-1[a]:1", "crypto-1"])
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


def test_unclear_host_is_not_drained(harness: ClientHarness, drained_hosts: list[str]) -> None:
    async def test(subjects: ContractSubjects) -> None:
        admin = await subjects.client_for(ADMIN)
        for name, error in (("other", NotFoundError), ("twin", ConflictError)):
            with pytest.raises(error, match=name) as caught:
                await admin.drain_crypto_host(name)
            assert caught.value.structured_hint.code == HintCode.LIST_CRYPTO_HOSTS
        assert drained_hosts == []

    harness.run(test)


def test_workspace_names_the_server(shared_harness: ClientHarness) -> None:
    async def test(subjects: ContractSubjects) -> None:
        info = await (await subjects.client_for(ADMIN)).workspace()
        assert info.server == (socket.gethostname() if shared_harness.way is ClientKind.SERVER else "")

    shared_harness.run(test)
