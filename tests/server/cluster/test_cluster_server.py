"""Test servers of one workspace in this process: forwarding, fencing, readiness and metrics."""

from __future__ import annotations

import asyncio
import logging
import time

import httpx
import pytest

from sealyard.client.sharing.socket import is_listening
from sealyard.client.sharing.workspace import connect_to_holder
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import KeyStoreLockedError
from sealyard.server.cluster import shared_folder
from sealyard.server.cluster.member import MemberState
from tests.support.cluster_harness import (
    LEASE_SECONDS,
    ClusterNode,
    ClusterWorkspace,
    connect,
    get_checks,
    metrics_of,
    run_nodes,
    signing_request,
)
from tests.support.server_harness import DEV, wait_until

pytestmark = pytest.mark.anyio


# ---- forwarding


async def test_standby_forwards_requests(nodes: list[ClusterNode]) -> None:
    _, second = nodes
    async with second.http_client() as http:
        response = await http.get("/api/v1/workspace")
        assert (response.status_code, response.json()["subject"]) == (200, DEV)
        assert len(response.headers.get_list("x-request-id")) == 1
        assert len(response.headers.get_list("date")) == 1
    async with second.http_client(None) as http:
        response = await http.get("/api/v1/workspace")
        assert response.status_code == 401
        assert f'resource_metadata="{second.base}/' in response.headers["www-authenticate"]


async def test_only_active_server_authenticates_and_listens_on_socket(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    assert (first.engine is not None, second.engine is not None) == (True, False)
    assert list(second.server.tenants) == []
    assert is_listening(first.paths.root)
    client = connect_to_holder(first.paths.root, DEV)
    assert (await client.workspace()).subject == DEV
    await client.close()


async def test_events_pass_through_standby_at_once(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    async with second.http_client() as http, http.stream("GET", "/api/v1/events") as stream:
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("id: ")
        assert await anext(lines) == "event: Cursor"
        dev = connect(first)
        task = await dev.create_signing(signing_request(1))
        async with asyncio.timeout(5):
            while task.id not in await anext(lines):
                pass
        await dev.close()


# ---- no active server


async def test_requests_wait_for_active_server(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    second.open_error = KeyStoreLockedError("The key store is locked.")
    await first.stop()
    async with second.http_client() as http:
        waiting = asyncio.create_task(http.get("/api/v1/workspace"))
        await wait_until(lambda: _has_failed(second), "the takeover fails")
        second.open_error = None
        assert (await waiting).status_code == 200


async def test_request_without_active_server_is_rejected(
    nodes: list[ClusterNode], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = nodes
    second.open_error = KeyStoreLockedError("The key store is locked.")
    await first.stop()
    async with second.http_client() as http:
        start = time.monotonic()
        response = await http.get("/api/v1/workspace")
    assert time.monotonic() > start + LEASE_SECONDS
    assert (response.status_code, response.json()["code"]) == (503, "taking-over")
    assert response.headers["Retry-After"] == "1"
    status, checks = await get_checks(second)
    assert status == 503
    assert checks["takeover"] == checks["active-server"] == 1
    # The reason is logged once, although takeovers are tried again and again.
    failures = [record for record in caplog.records if "cannot take over" in record.message]
    assert len(failures) == 1


async def _has_failed(node: ClusterNode) -> bool:
    _, checks = await get_checks(node)
    return checks.get("takeover") == 1


# ---- fencing and folders


async def test_fenced_server_becomes_standby_again(nodes: list[ClusterNode], workspace: ClusterWorkspace) -> None:
    first, second = nodes
    second.open_error = KeyStoreLockedError("Only the first server can open it.")
    term = workspace.read_term()
    # As if a third server had taken over and stopped at once.
    workspace.database.execute("UPDATE sealyard.workspace SET term = term + 1, lease_until = '-infinity'")
    await wait_until(lambda: _has_term(workspace, term + 2), "the first server opens the workspace again")
    await first.wait_for(MemberState.ACTIVE)
    async with second.http_client() as http:
        assert (await http.get("/api/v1/workspace")).status_code == 200


async def _has_term(workspace: ClusterWorkspace, term: int) -> bool:
    return workspace.read_term() == term


async def test_standby_with_another_folder_never_takes_over(
    workspace: ClusterWorkspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shared_folder, "TOLERANCE_SECONDS", 0.5)
    async with run_nodes(workspace, "first") as (first,):
        second = ClusterNode(workspace, "second", workspace.copy_folder(workspace.folder, "copy"))
        try:
            await second.start()
            await wait_until(lambda: _has_other_folder(second), "the folder is compared")
            await first.stop()
            term = workspace.read_term()
            # A server with the folder takes over as soon as it reads that the lease is free.
            await wait_until(lambda: _has_free_lease(second), "the second server reads the lease")
            assert workspace.read_term() == term
            assert second.server.state is MemberState.STANDBY
            assert (await get_checks(second))[0] == 503
            assert any("must have another folder" in record.message for record in caplog.records)
        finally:
            await second.close()
    assert WorkspaceLock.holder(workspace.folder / "lock") is None


async def _has_other_folder(node: ClusterNode) -> bool:
    _, checks = await get_checks(node)
    return checks.get("shared-folder") == 1


async def _has_free_lease(node: ClusterNode) -> bool:
    async with node.http_client(None) as http:
        return metrics_of((await http.get("/metrics")).text)["sealyard_cluster_lease_remaining_seconds"] == 0


# ---- monitoring


async def test_readiness_by_role(nodes: list[ClusterNode], caplog: pytest.LogCaptureFixture) -> None:
    first, second = nodes
    caplog.set_level(logging.WARNING)
    caplog.clear()
    assert (await get_checks(first))[0] == (await get_checks(first, "/readyz?active"))[0] == 200
    assert await get_checks(second) == (200, {"active-server": 0, "shared-folder": 0, "takeover": 0})
    assert await get_checks(second, "/readyz?active") == (503, {"active": 1})
    assert not caplog.records
    async with second.http_client(None) as http:
        assert (await http.get("/healthz")).json() == {"alive": True}


async def test_metrics_of_cluster(nodes: list[ClusterNode]) -> None:
    first, second = nodes
    async with first.http_client(None) as active, second.http_client() as standby:
        await standby.get("/api/v1/workspace")
        first_metrics = metrics_of((await active.get("/metrics")).text)
        second_metrics = metrics_of((await standby.get("/metrics")).text)
    assert first_metrics["sealyard_cluster_active"] == first_metrics["sealyard_cluster_takeovers_total"] == 1
    assert second_metrics["sealyard_cluster_active"] == second_metrics["sealyard_cluster_takeovers_total"] == 0
    assert first_metrics["sealyard_cluster_lease_term"] == second_metrics["sealyard_cluster_lease_term"] > 0
    assert 0 < second_metrics["sealyard_cluster_lease_remaining_seconds"] <= LEASE_SECONDS
    assert second_metrics['sealyard_cluster_forwarded_requests_total{outcome="finished"}'] == 1
    assert second_metrics["sealyard_cluster_forward_seconds_count"] == 1
    assert 'sealyard_engine_up{tenant="yard"}' in first_metrics
    assert 'sealyard_engine_up{tenant="yard"}' not in second_metrics


async def test_internal_listener_requires_certificate(nodes: list[ClusterNode]) -> None:
    first, _ = nodes
    async with httpx.AsyncClient(verify=False) as http:
        with pytest.raises(httpx.HTTPError):
            await http.get(f"{first.cluster.url}/healthz")
