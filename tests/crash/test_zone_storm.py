"""Test that a workspace with a crypto zone survives the loss of each of its parts, without lost or doubled work.

``SEALYARD_CRASH_SEED`` sets the random seed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.keys.master_key import open_master_key
from sealyard.model.tasks import Task
from sealyard.model.workspace import KeyStore
from sealyard.storage.postgres.audit import PgAuditReader
from sealyard.storage.postgres.connection import Database
from sealyard.storage.s3 import artifacts
from tests.crash.chaos_workspace import ADMINISTRATOR, populate_test_workspace
from tests.crash.client_workload import ClientWorkload
from tests.crash.cluster_process import ClusterServer
from tests.crash.cluster_storm import listen_for_database, run_storm, supervise, write_firmware
from tests.crash.crypto_host_process import CryptoHostProcess
from tests.crash.invariants import InvariantCheck, load_tasks
from tests.crash.workspace_process import PASSPHRASE
from tests.crash.zone_storm import ZoneConnections, ZoneStorm, move_to_small_disk
from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, BusDatabase, create_bus_database
from tests.support.cluster import SERVICE, ClusterFiles
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.extent import choose_count
from tests.support.key_holders import unlock
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.postgres import ENGINE, TestDatabase, running_server
from tests.support.server_harness import wait_until
from tests.support.zone_harness import BUS_SERVICE, HOST_PASSPHRASE, ZoneHarness

__all__ = ["bucket", "ministack"]

EVENTS = choose_count(share=60, full=300)
TIMEOUT = choose_count(share=1200, full=5400)
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261130"))


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_lost_parts_of_zone_lose_no_task_and_sign_once(
    tmp_path: Path, bucket: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}\n")
    with running_server() as store_server, running_server() as bus_server:
        files = ClusterFiles(tmp_path / "cluster", "storm")
        database, bus = store_server.create_database(), create_bus_database(bus_server)
        services = {SERVICE: database.connection_string, BUS_SERVICE: bus.engine}
        monkeypatch.setenv("PGSERVICEFILE", str(files.write_services("test", services)))
        monkeypatch.setenv("SEALYARD_ANCHORS", str(files.folder / "anchors"))
        monkeypatch.setattr(artifacts, "MIN_ORPHAN_AGE", timedelta())
        asyncio.run(_run_storm(tmp_path, files, database, bus, bucket))


async def _run_storm(
    root: Path, files: ClusterFiles, database: TestDatabase, bus: BusDatabase, bucket: TestBucket
) -> None:
    random = Random(SEED)
    async with CuttableProxy(urlsplit(bucket.server.url).port or 0).listen() as object_store:
        zone = ZoneHarness(
            root,
            bus,
            bucket,
            database=f"service={SERVICE}",
            bus_string=f"service={BUS_SERVICE}",
            endpoint=object_store.url,
        )
        device_key, tokens = await _create_workspace(zone)
        async with _run_servers(zone, files, database, object_store) as storm:
            workload = await run_storm(storm, tokens, EVENTS, random, write_firmware(root, random))
        await _check_workspace(zone, workload, device_key)


async def _create_workspace(zone: ZoneHarness) -> tuple[bytes, dict[str, str]]:
    """Create a workspace and two crypto hosts; return the device key, and the tokens of the subjects."""
    await zone.create("storm", ADMINISTRATOR)
    host = zone.hosts[0]
    await host.start()
    device_key, tokens = await populate_test_workspace(zone.paths, zone.root / "device.key")
    assert await host.stop() == 0
    await zone.add_host()
    return device_key, tokens


@asynccontextmanager
async def _run_servers(
    zone: ZoneHarness, files: ClusterFiles, database: TestDatabase, object_store: CuttableProxy
) -> AsyncIterator[ZoneStorm]:
    """Run two servers and two crypto hosts, each with connections that can be cut. Restart them when they end."""
    async with AsyncExitStack() as stack:
        store_proxies, bus_proxies, servers, hosts = [], [], [], []
        for name, host in zip(("one", "two"), zone.hosts, strict=True):
            folders = [files.folder / f"{name}-{part}" for part in ("store", "bus", "agent")]
            store_proxies.append(await listen_for_database(stack, folders[0], database.server))
            bus_proxies += [await listen_for_database(stack, folder, zone.bus.server) for folder in folders[1:]]
            services = {
                SERVICE: f"host={folders[0]} dbname={database.name} user={ENGINE}",
                BUS_SERVICE: f"host={folders[1]} dbname={zone.bus.name} user={BUS_ENGINE}",
            }
            servers.append(ClusterServer(zone.paths.root, files, name, services))
            host.set_bus(f"host={folders[2]} dbname={zone.bus.name} user={BUS_AGENT}")
            hosts.append(CryptoHostProcess(host))
        connections = ZoneConnections(zone.bus, bus_proxies, object_store)
        host_disk = stack.enter_context(move_to_small_disk(zone.hosts[-1]))
        storm = ZoneStorm(servers, store_proxies, database, hosts, connections, host_disk)
        await stack.enter_async_context(supervise(storm.processes))
        yield storm


async def _check_workspace(zone: ZoneHarness, workload: ClientWorkload, device_key: bytes) -> None:
    engine = await EngineHandle.open(zone.paths.root, purpose="check", key_holder=unlock(PASSPHRASE))
    try:
        client = engine.client(ADMINISTRATOR)
        metadata = engine.engine.metadata
        audit = PgAuditReader(Database(f"service={SERVICE}"), metadata.id)
        tasks = await load_tasks(client)
        keys = {task.id: f"results/{task.id}/{task.fencing_token}" for task in tasks.values() if _has_file(task)}

        async def has_no_others() -> bool:
            # The inputs of an upload that a client repeated are kept for a day.
            objects = await asyncio.to_thread(zone.list_objects)
            return {key for key in objects if key.startswith("results/")} == set(keys.values())

        await wait_until(has_no_others, "the engine has removed the results of lost attempts")
        results = await asyncio.to_thread(_download_results, zone, keys)
        master_keys = {
            host.folder: open_master_key(KeyStore.PASSPHRASE, host.paths.keys, metadata.id, HOST_PASSPHRASE)
            for host in zone.hosts
        }
        check = InvariantCheck(zone.paths, device_key, audit, master_keys, results)
        stopped = {each: time.time() for each in workload.rejected}
        await client.verify_audit()
        check.check_accepted(tasks, workload.accepted, workload.expected, stopped)
        check.check_acknowledged(tasks, workload.finished, workload.downloads)
        check.check_signed_once(tasks, stopped)
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        _check_intents(zone, tasks)
        await check.check_results(client, tasks, workload.expected)
        await check.check_proofs(client)
        _check_leftovers(zone)
        audit.close()
    finally:
        await engine.close()


def _download_results(zone: ZoneHarness, keys: dict[str, str]) -> Path:
    """Download the results, by task id, into a folder."""
    folder = zone.root / "results"
    folder.mkdir()
    for task_id, key in keys.items():
        zone.download_object(key, folder / task_id)
    return folder


def _has_file(task: Task) -> bool:
    return task.result is not None and task.result.signature is None


def _check_intents(zone: ZoneHarness, tasks: dict[str, Task]) -> None:
    """Check that the intents in the bus database are those of the tasks."""
    intents = dict(zone.bus.execute("SELECT task, sha256 FROM bus.intent"))
    assert intents == {task.id: task.intent.sha256 for task in tasks.values() if task.intent is not None}


def _check_leftovers(zone: ZoneHarness) -> None:
    """Check that neither the crypto hosts nor the bus database contain anything of the finished tasks."""
    for host in zone.hosts:
        artifacts = host.paths.artifacts
        assert not [path for path in artifacts.rglob("*") if path.is_file()]
        assert not list((artifacts / "work").iterdir())
    # Others are deleted later: those that are kept for an agent, and key commands that a killed engine has left.
    instructions = zone.bus.execute("SELECT task FROM bus.instruction WHERE host <> '' AND task <> ''")
    assert not instructions
    for table in ("bus.report", "bus.progress"):
        assert zone.bus.execute(f"SELECT count(*) FROM {table}") == [(0,)], table
    unfinished = "SELECT count(*) FROM procrastinate_jobs WHERE status IN ('todo', 'doing')"
    assert zone.bus.execute(unfinished) == [(0,)]
