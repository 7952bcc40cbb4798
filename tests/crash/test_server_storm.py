"""Test that clients survive kills of the server during uploads, approvals and downloads, without lost or repeated work.

``SEALYARD_SERVER_KILLS`` sets the number of kills, ``SEALYARD_CRASH_SEED`` the random seed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.requests import EncryptionRequest, PackageRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import ExpectedTask
from tests.crash.chaos_workspace import ADMINISTRATOR, ENCRYPTION, SIGNING, create_test_workspace
from tests.crash.engine_process import APPROVER, CONFIG, REQUESTER
from tests.crash.invariants import InvariantCheck
from tests.crash.server_process import ServerProcess

KILLS = int(os.environ.get("SEALYARD_SERVER_KILLS", "15"))
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))
DEVELOPERS = 3
RETRY_TIMEOUT = 300.0
KIB, MIB = 1024, 1024 * 1024
SIZES = (20 * KIB + 5, 700 * KIB, 5 * MIB + 3, 24 * MIB)


@dataclass
class Workload:
    """The tasks that the developers requested, and their progress."""

    random: Random
    files: tuple[Path, ...]
    expected: dict[str, ExpectedTask] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    downloaded: int = 0
    is_finished: bool = False


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_killed_server_keeps_tasks_and_signs_once(tmp_path: Path) -> None:
    asyncio.run(_run_server_kills(tmp_path))


async def _run_server_kills(root: Path) -> None:
    random = Random(SEED)
    paths = WorkspacePaths(root / "workspace")
    device_key, tokens = await create_test_workspace(paths, root / "device.key")
    files = tuple(_write_file(root / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    workload = Workload(random, files)
    server = ServerProcess(paths.root, root / "server.log")
    started_at = time.monotonic()
    try:
        await server.start()
        async with asyncio.TaskGroup() as group:
            for number in range(DEVELOPERS):
                group.create_task(_run_developer(server.url, tokens, workload, number))
            await _kill_repeatedly(server, random)
            workload.is_finished = True
        assert await server.stop() == 0
        # The next start deletes files uploaded again for a task that existed already.
        await server.start()
        assert await server.stop() == 0
    finally:
        server.close()
    sys.stdout.write(
        f"{KILLS} kills over {len(workload.accepted)} tasks and {workload.downloaded} downloads"
        f" in {time.monotonic() - started_at:.0f} s\n"
    )
    await _check_workspace(paths, workload, InvariantCheck(paths, ENCRYPTION, SIGNING, device_key))


async def _kill_repeatedly(server: ServerProcess, random: Random) -> None:
    for _ in range(KILLS):
        # Half of the kills come right after the start, when all clients reconnect at once.
        await asyncio.sleep(random.choice((random.uniform(0, 0.1), random.uniform(0.1, 1.5))))
        server.kill()
        if random.random() < 0.15:
            server.launch()
            await asyncio.sleep(random.uniform(0, 0.8))
            server.kill()
        await server.start()


async def _run_developer(url: str, tokens: dict[str, str], workload: Workload, number: int) -> None:
    """Create, approve, wait for and download tasks until the run is finished; no kill may surface as an error."""
    developer, owner = (
        HttpClient(Connection(Endpoint(url=url, token=tokens[each])), SystemClock(), retry_timeout=RETRY_TIMEOUT)
        for each in (REQUESTER, APPROVER)
    )
    try:
        while not workload.is_finished:
            token = f"{number}-{len(workload.expected)}"
            task = await _create_task(developer, workload, token)
            workload.accepted[token] = task.id
            if task.kind.value == "packaging":
                await owner.decide(task.id, Verdict.APPROVED, "storm", digest=task.approval_digest)
            finished_task = await developer.wait(task.id)
            assert finished_task.status is TaskStatus.DONE, finished_task.reason
            await _download(developer, finished_task)
            workload.downloaded += 1
    finally:
        await developer.close()
        await owner.close()


async def _create_task(client: HttpClient, workload: Workload, token: str) -> Task:
    if workload.random.random() < 0.3:
        path = workload.random.choice(workload.files)
        workload.expected[token] = ExpectedTask("encryption", (path,))
        file = await client.upload(path)
        return await client.create_encryption(EncryptionRequest(config=CONFIG, file=file, client_token=token))
    paths = tuple(workload.random.sample(workload.files, 2))
    workload.expected[token] = ExpectedTask("packaging", paths)
    firmware = tuple([await client.upload(each) for each in paths])
    return await client.create_package(PackageRequest(config=CONFIG, firmware=firmware, client_token=token))


async def _download(client: HttpClient, task: Task) -> None:
    digest = hashlib.sha256()
    async for chunk in client.download(task.id):
        digest.update(chunk)
    assert task.result is not None
    assert digest.hexdigest() == task.result.sha256
    await client.report_downloaded(task.id)


async def _check_workspace(paths: WorkspacePaths, workload: Workload, check: InvariantCheck) -> None:
    engine = await EngineHandle.open_read_only(paths.root)
    try:
        client = engine.client(ADMINISTRATOR)
        page = await client.tasks(TaskFilter(), limit=1000)
        tasks = {each.id: each for each in page.tasks}
        report = await client.verify_audit()
        check.check_accepted(tasks, workload.accepted, workload.expected, {})
        check.check_signed_once(tasks, {})
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        await check.check_results(client, tasks, workload.expected)
        assert report.uncheckpointed_count == 0
    finally:
        await engine.close()


def _write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
