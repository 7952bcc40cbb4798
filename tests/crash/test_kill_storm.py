"""kill -9 of engines and workers at random moments: nothing accepted is lost, nothing is signed twice.

``SEALYARD_CRASH_KILLS`` and ``SEALYARD_CRASH_SEED`` say how many and in which order; the seed is printed when
the test fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from pathlib import Path
from random import Random

import pytest

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import Task
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import SIZES, ChaosRun
from tests.crash.chaos_workspace import ADMINISTRATOR, ENCRYPTION, SIGNING, create_test_workspace
from tests.crash.engine_driver import LEAVE_SECONDS, MARK
from tests.crash.invariants import InvariantCheck
from tests.crash.server_process import PASSPHRASE
from tests.support.processes import kill_all, still_there, with_in_environment

KILLS = int(os.environ.get("SEALYARD_CRASH_KILLS", "200"))
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_kills_lose_no_accepted_task_and_sign_none_twice(tmp_path: Path) -> None:
    places = WorkspacePaths(tmp_path / "workspace")
    random = Random(SEED)
    files = tuple(_file(tmp_path / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    device_key, _ = asyncio.run(create_test_workspace(places, tmp_path / "device.key"))
    storm = ChaosRun(places.root, PASSPHRASE, files, random)
    began = time.monotonic()
    try:
        storm.run(KILLS)
        storm.finish()
    finally:
        sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}: {_told(storm)} in {time.monotonic() - began:.0f} s\n")
        storm.end()
        left = still_there(with_in_environment(f"{MARK}={places.root}"), LEAVE_SECONDS)
        kill_all(left)
    verdict = InvariantCheck(places, ENCRYPTION, SIGNING, device_key)
    asyncio.run(_judge(places, storm, verdict))
    sys.stdout.write(f"{verdict.made_again} signatures were lost and made again\n")
    assert storm.kills >= KILLS
    assert storm.stopped, "no withdrawal, rejection or cancellation was acknowledged"
    assert not left
    shutil.rmtree(tmp_path)


async def _judge(places: WorkspacePaths, storm: ChaosRun, verdict: InvariantCheck) -> None:
    engine = await EngineHandle.open_read_only(places.root)
    try:
        client = engine.client(ADMINISTRATOR)
        tasks = await _all_tasks(client)
        report = await client.verify_audit()
        verdict.check_accepted(tasks, storm.accepted, storm.wanted, storm.stopped)
        verdict.check_signed_once(tasks, storm.stopped)
        verdict.check_trails(tasks)
        verdict.check_nothing_left(tasks)
        await verdict.check_results(client, tasks, storm.wanted)
        assert report.uncheckpointed_count == 0
    finally:
        await engine.close()


async def _all_tasks(client: EmbeddedClient) -> dict[str, Task]:
    tasks: dict[str, Task] = {}
    after = None
    while True:
        page = await client.tasks(TaskFilter(), after=after, limit=1000)
        tasks |= {each.id: each for each in page.tasks}
        if page.next is None:
            return tasks
        after = page.next


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _told(storm: ChaosRun) -> str:
    kills = f"{storm.engine_kills} engines and {storm.worker_kills} workers killed"
    return f"{kills} over {len(storm.accepted)} tasks, {len(storm.stopped)} stopped"
