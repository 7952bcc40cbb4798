"""Test that a server that takes over a workspace with a crypto zone continues the running jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
from tests.agent.test_end_to_end import LARGE, write_firmware
from tests.crash.cluster_process import ClusterServer
from tests.crash.cluster_storm import supervise
from tests.support.bus_database import create_bus_database
from tests.support.cluster import SERVICE, ClusterFiles
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres import PostgresServer, TestDatabase
from tests.support.postgres_fixtures import database, postgres_server
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, populate_test_workspace, wait_until
from tests.support.zone_harness import BUS_SERVICE, ZoneHarness

__all__ = ["bucket", "database", "ministack", "postgres_server"]


async def test_other_server_adopts_running_job(
    tmp_path: Path,
    postgres_server: PostgresServer,
    database: TestDatabase,
    bucket: TestBucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = ClusterFiles(tmp_path / "cluster", "yard")
    bus = create_bus_database(postgres_server)
    services = {SERVICE: database.connection_string, BUS_SERVICE: bus.engine}
    monkeypatch.setenv("PGSERVICEFILE", str(files.write_services("test", services)))
    zone = ZoneHarness(tmp_path, bus, bucket, database=f"service={SERVICE}", bus_string=f"service={BUS_SERVICE}")
    try:
        await (await zone.create()).start()
        tokens = await _populate(zone)
        servers = [ClusterServer(zone.paths.root, files, name, services) for name in ("one", "two")]
        async with supervise(servers[:1]), supervise(servers[1:]):
            await _check_takeover(zone, servers, tokens)
            for server in servers:
                await server.stop()
    finally:
        zone.close()


async def _populate(zone: ZoneHarness) -> dict[str, str]:
    """Add subjects and a device configuration; return the tokens of a developer and an owner."""
    async with zone.run_engine() as engine:
        await populate_test_workspace(engine)
        admin = engine.client(ADMIN)
        requests = {subject: TokenRequest(name="test", subject=subject) for subject in (DEV, OWNER)}
        return {subject: (await admin.create_token(request)).secret for subject, request in requests.items()}


async def _check_takeover(zone: ZoneHarness, servers: list[ClusterServer], tokens: dict[str, str]) -> None:
    """Kill the active server while a job is running; the other one finishes the task with the same attempt."""
    active, standby = servers

    def connect(subject: str) -> HttpClient:
        return HttpClient(Connection(Endpoint(url=standby.url, token=tokens[subject])), SystemClock())

    dev, owner = connect(DEV), connect(OWNER)
    file = await dev.upload(write_firmware(zone.root / "firmware.bin", LARGE))
    task = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file,)))
    await owner.decide(task.id, Verdict.APPROVED, digest=task.approval_digest)

    async def is_running() -> bool:
        return (await dev.task(task.id)).status is TaskStatus.RUNNING

    await wait_until(is_running, "the job is running")
    active.kill()
    done = await dev.wait(task.id)
    assert done.status is TaskStatus.DONE, done.reason
    assert done.fencing_token == 1
    for client in (dev, owner):
        await client.close()
