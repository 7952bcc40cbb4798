"""Test that clients survive kills of the server, or of the application that owns the workspace, without lost work.

The key holder and the workers are killed as well, and processes are suspended. ``SEALYARD_CRASH_SEED`` sets the random
seed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from random import Random

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.client.sharing.socket import socket_path
from sealyard.concurrency.clock import SystemClock
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import MAX_LOSSES
from tests.crash.chaos_workspace import ADMINISTRATOR, create_test_workspace
from tests.crash.client_workload import ClientWorkload, Connect, run_developers
from tests.crash.engine_process import REQUESTER
from tests.crash.invariants import InvariantCheck, load_tasks
from tests.crash.process_faults import ProcessFaults
from tests.crash.workspace_process import ApplicationProcess, ServerProcess, WorkspaceProcess
from tests.support.extent import choose_count
from tests.support.processes import find_workers

KILLS = choose_count(share=5, full=75)
TIMEOUT = choose_count(share=1200, full=3600)
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))
RETRY_TIMEOUT = 300.0
KIB, MIB = 1024, 1024 * 1024
SIZES = (20 * KIB + 5, 700 * KIB, 5 * MIB + 3, 24 * MIB)
FAULTS = {"owner": 6, "key holder": 2, "worker": 3, "pause": 2}
"""Faults and their weights; the owner is the server or the application."""


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_killed_server_loses_no_task_and_signs_once(tmp_path: Path) -> None:
    paths = WorkspacePaths(tmp_path / "workspace")
    device_key, tokens = asyncio.run(create_test_workspace(paths, tmp_path / "device.key"))
    server = ServerProcess(paths.root, tmp_path / "server.log")

    def connect(subject: str) -> HttpClient:
        endpoint = Endpoint(url=server.url, token=tokens[subject])
        return HttpClient(Connection(endpoint), SystemClock(), retry_timeout=RETRY_TIMEOUT)

    asyncio.run(_run_storm(tmp_path, server, connect, InvariantCheck(paths, device_key)))


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_killed_application_loses_no_task_and_signs_once(tmp_path: Path) -> None:
    paths = WorkspacePaths(tmp_path / "workspace")
    device_key, _ = asyncio.run(create_test_workspace(paths, tmp_path / "device.key"))
    write_profiles(paths.profiles, ProfileFile(profiles=(Profile(name="dev", identity=REQUESTER),), current="dev"))
    application = ApplicationProcess(paths.root, tmp_path / "application.log", home=tmp_path / "home", profile="dev")

    def connect(subject: str) -> HttpClient:
        endpoint = Endpoint(socket=socket_path(paths.root), display_name="storm", subject=subject)
        recover = application.wait_until_listening
        return HttpClient(Connection(endpoint), SystemClock(), retry_timeout=RETRY_TIMEOUT, recover=recover)

    asyncio.run(_run_storm(tmp_path, application, connect, InvariantCheck(paths, device_key)))


async def _run_storm(root: Path, owner: WorkspaceProcess, connect: Connect, check: InvariantCheck) -> None:
    random = Random(SEED)
    files = tuple(_write_file(root / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    workload, faults = ClientWorkload(connect, random, files), ProcessFaults(random)
    started_at = time.monotonic()
    try:
        await owner.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(run_developers(workload))
            await _cause_faults(owner, workload, faults)
            workload.is_finished = True
        assert await owner.stop() == owner.stop_code
        # The next start deletes files uploaded again for a task that existed already.
        await owner.start()
        assert await owner.stop() == owner.stop_code
    finally:
        owner.close()
        seconds = time.monotonic() - started_at
        load = f"{len(workload.accepted)} tasks, {len(workload.downloads)} downloads"
        sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}: {faults}; {load} in {seconds:.0f} s\n")
    await _check_workspace(root / "workspace", workload, check)


async def _cause_faults(owner: WorkspaceProcess, workload: ClientWorkload, faults: ProcessFaults) -> None:
    random = workload.random
    while faults.kills.total() < KILLS:
        # Half of the faults come right after the start, when all clients reconnect at once.
        await asyncio.sleep(random.choice((random.uniform(0, 0.1), random.uniform(0.1, 1.5))))
        (fault,) = random.choices(list(FAULTS), list(FAULTS.values()))
        match fault:
            case "owner":
                await _restart(owner, faults, random)
            case "pause":
                await asyncio.to_thread(faults.pause_random_process, owner.pid)
            case _ if max(workload.lost_workers.values(), default=0) < MAX_LOSSES:
                _kill_child(fault, owner, workload, faults)


async def _restart(owner: WorkspaceProcess, faults: ProcessFaults, random: Random) -> None:
    owner.kill()
    faults.kills["owner"] += 1
    if random.random() < 0.15:
        owner.launch()
        await asyncio.sleep(random.uniform(0, 0.8))
        owner.kill()
        faults.kills["owner"] += 1
    await owner.start()


def _kill_child(fault: str, owner: WorkspaceProcess, workload: ClientWorkload, faults: ProcessFaults) -> None:
    if fault == "worker":
        faults.kill_random_worker(find_workers(owner.pid))
    else:
        faults.kill_key_holder(owner.pid)
    for token in workload.lost_workers:
        workload.lost_workers[token] += 1


async def _check_workspace(folder: Path, workload: ClientWorkload, check: InvariantCheck) -> None:
    engine = await EngineHandle.open_read_only(folder)
    try:
        client = engine.client(ADMINISTRATOR)
        tasks = await load_tasks(client)
        stopped = {each: time.time() for each in workload.rejected}
        report = await client.verify_audit()
        check.check_accepted(tasks, workload.accepted, workload.expected, stopped)
        check.check_acknowledged(tasks, workload.finished, workload.downloads)
        check.check_signed_once(tasks, stopped)
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        await check.check_results(client, tasks, workload.expected)
        await check.check_proofs(client)
        assert report.uncheckpointed_count == 0
    finally:
        await engine.close()


def _write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
