"""Test that clients of two servers and a database survive the loss of each of them, without lost or doubled work.

``SEALYARD_CRASH_SEED`` sets the random seed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from random import Random

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.postgres.audit import PgAuditReader
from sealyard.storage.postgres.connection import Database
from tests.crash.chaos_workspace import ADMINISTRATOR, create_test_workspace
from tests.crash.client_workload import ClientWorkload
from tests.crash.cluster_storm import run_servers, run_storm, write_firmware
from tests.crash.invariants import InvariantCheck, load_tasks
from tests.crash.workspace_process import PASSPHRASE
from tests.support.cluster import SERVICE, ClusterFiles
from tests.support.extent import choose_count
from tests.support.key_holders import unlock
from tests.support.postgres import TestDatabase, running_server

EVENTS = choose_count(share=20, full=300)
TIMEOUT = choose_count(share=1200, full=5400)
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261129"))


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_lost_servers_lose_no_task_and_sign_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as postgres:
        database = postgres.create_database()
        asyncio.run(_run_storm(tmp_path, database, monkeypatch))


async def _run_storm(root: Path, database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ClusterFiles(root / "cluster", "storm")
    services = files.write_services("test", {SERVICE: database.connection_string})
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("SEALYARD_ANCHORS", str(files.folder / "anchors"))
    paths = WorkspacePaths(root / "workspace")
    device_key, tokens = await create_test_workspace(paths, root / "device.key", f"service={SERVICE}")
    random = Random(SEED)
    sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}\n")
    async with run_servers(paths, files, database) as storm:
        workload = await run_storm(storm, tokens, EVENTS, random, write_firmware(root, random))
    await _check_workspace(paths, workload, device_key)


async def _check_workspace(paths: WorkspacePaths, workload: ClientWorkload, device_key: bytes) -> None:
    engine = await EngineHandle.open(paths.root, purpose="check", key_holder=unlock(PASSPHRASE))
    try:
        client = engine.client(ADMINISTRATOR)
        audit = PgAuditReader(Database(f"service={SERVICE}"), engine.engine.metadata.id)
        check = InvariantCheck(paths, device_key, audit)
        tasks = await load_tasks(client)
        stopped = {each: time.time() for each in workload.rejected}
        await client.verify_audit()
        check.check_accepted(tasks, workload.accepted, workload.expected, stopped)
        check.check_acknowledged(tasks, workload.finished, workload.downloads)
        check.check_signed_once(tasks, stopped)
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        await check.check_results(client, tasks, workload.expected)
        await check.check_proofs(client)
        audit.close()
    finally:
        await engine.close()
