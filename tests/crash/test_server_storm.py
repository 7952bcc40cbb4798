"""kill -9 of a server during uploads, approvals and downloads: clients carry on, nothing is lost or signed twice.

``SEALYARD_SERVER_KILLS`` and ``SEALYARD_CRASH_SEED`` say how many and in which order.
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
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.tasks import Verdict as Decided
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import ExpectedTask
from tests.crash.chaos_workspace import ADMINISTRATOR, ENCRYPTION, SIGNING, create_test_workspace
from tests.crash.engine_process import APPROVER, CONFIG, REQUESTER
from tests.crash.invariants import InvariantCheck
from tests.crash.server_process import ServerProcess

KILLS = int(os.environ.get("SEALYARD_SERVER_KILLS", "15"))
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))
DEVELOPERS = 3
PATIENCE = 300.0
KIB, MIB = 1024, 1024 * 1024
SIZES = (20 * KIB + 5, 700 * KIB, 5 * MIB + 3, 24 * MIB)


@dataclass
class Work:
    """What the developers have asked for, and what they got."""

    random: Random
    files: tuple[Path, ...]
    wanted: dict[str, ExpectedTask] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    downloaded: int = 0
    over: bool = False


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_a_server_that_is_killed_again_and_again_loses_nothing_and_signs_nothing_twice(tmp_path: Path) -> None:
    asyncio.run(_storm(tmp_path))


async def _storm(root: Path) -> None:
    random = Random(SEED)
    places = WorkspacePaths(root / "workspace")
    device_key, tokens = await create_test_workspace(places, root / "device.key")
    files = tuple(_file(root / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    work = Work(random, files)
    server = ServerProcess(places.root, root / "server.log")
    began = time.monotonic()
    try:
        await server.start()
        async with asyncio.TaskGroup() as group:
            for number in range(DEVELOPERS):
                group.create_task(_develop(server.url, tokens, work, number))
            await _kill(server, random)
            work.over = True
        assert await server.stop() == 0
        # Files of a task that was there already wait for another one until the next start finds nobody for them.
        await server.start()
        assert await server.stop() == 0
    finally:
        server.end()
    sys.stdout.write(
        f"{KILLS} kills over {len(work.accepted)} tasks and {work.downloaded} downloads"
        f" in {time.monotonic() - began:.0f} s\n"
    )
    await _judge(places, work, InvariantCheck(places, ENCRYPTION, SIGNING, device_key))


async def _kill(server: ServerProcess, random: Random) -> None:
    for _ in range(KILLS):
        # Half of them while it opens or has just opened: clients come all at once then.
        await asyncio.sleep(random.choice((random.uniform(0, 0.1), random.uniform(0.1, 1.5))))
        server.kill()
        if random.random() < 0.15:
            server.begin()
            await asyncio.sleep(random.uniform(0, 0.8))
            server.kill()
        await server.start()


async def _develop(url: str, tokens: dict[str, str], work: Work, number: int) -> None:
    """Asks, has it approved, waits, and fetches, as long as the storm lasts; never told that the server was gone."""
    developer, owner = (
        HttpClient(Connection(Endpoint(url=url, token=tokens[each])), SystemClock(), retry_timeout=PATIENCE)
        for each in (REQUESTER, APPROVER)
    )
    try:
        while not work.over:
            token = f"{number}-{len(work.wanted)}"
            task = await _asked(developer, work, token)
            work.accepted[token] = task.id
            if task.kind.value == "packaging":
                await owner.decide(task.id, Decided.APPROVED, "storm", digest=task.approval_digest)
            ended = await developer.wait(task.id)
            assert ended.status is TaskStatus.DONE, ended.reason
            await _fetch(developer, ended)
            work.downloaded += 1
    finally:
        await developer.close()
        await owner.close()


async def _asked(client: HttpClient, work: Work, token: str) -> Task:
    if work.random.random() < 0.3:
        path = work.random.choice(work.files)
        work.wanted[token] = ExpectedTask("encryption", (path,))
        file = await client.upload(path)
        return await client.create_encryption(EncryptionRequest(config=CONFIG, file=file, client_token=token))
    paths = tuple(work.random.sample(work.files, 2))
    work.wanted[token] = ExpectedTask("packaging", paths)
    firmware = tuple([await client.upload(each) for each in paths])
    return await client.create_package(PackageRequest(config=CONFIG, firmware=firmware, client_token=token))


async def _fetch(client: HttpClient, task: Task) -> None:
    digest = hashlib.sha256()
    async for chunk in client.download(task.id):
        digest.update(chunk)
    assert task.result is not None
    assert digest.hexdigest() == task.result.sha256
    await client.report_downloaded(task.id)


async def _judge(places: WorkspacePaths, work: Work, verdict: InvariantCheck) -> None:
    engine = await EngineHandle.open_read_only(places.root)
    try:
        client = engine.client(ADMINISTRATOR)
        page = await client.tasks(TaskFilter(), limit=1000)
        tasks = {each.id: each for each in page.tasks}
        report = await client.verify_audit()
        verdict.check_accepted(tasks, work.accepted, work.wanted, {})
        verdict.check_signed_once(tasks, {})
        verdict.check_trails(tasks)
        verdict.check_nothing_left(tasks)
        await verdict.check_results(client, tasks, work.wanted)
        assert report.uncheckpointed_count == 0
    finally:
        await engine.close()


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
