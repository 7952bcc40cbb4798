"""Test that killing engines, key holders and workers at random moments loses no accepted task and signs none twice.

``SEALYARD_CRASH_SEED`` sets the random seed, which the test prints.
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

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import ChaosRun
from tests.crash.chaos_workspace import ADMINISTRATOR, create_test_workspace, write_credential
from tests.crash.engine_driver import EXIT_TIMEOUT, WORKSPACE_VARIABLE
from tests.crash.invariants import InvariantCheck, load_tasks
from tests.crash.random_requests import SIZES
from tests.support.extent import choose_count
from tests.support.processes import find_by_environment, kill_all, wait_for_exit
from tests.support.small_disk import mount_small_disk

KILLS = choose_count(share=12, full=150)
DISK_KILLS = choose_count(share=4, full=40)
DISK_SIZE = 192 << 20
TIMEOUT = choose_count(share=900, full=3600)
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261123"))


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_killed_processes_lose_no_task_and_sign_once(tmp_path: Path) -> None:
    paths = WorkspacePaths(tmp_path / "workspace")
    device_key, _ = asyncio.run(create_test_workspace(paths, tmp_path / "device.key"))
    chaos = _prepare_chaos(paths.root, tmp_path)
    _run(chaos, KILLS)
    asyncio.run(_check_workspace(paths, chaos, InvariantCheck(paths, device_key)))
    assert chaos.downloads, "nothing was downloaded"
    assert list(paths.store.glob("snapshot-*.log")), "the store was not compacted"
    shutil.rmtree(tmp_path)


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_full_disk_loses_no_task_and_signs_once(tmp_path: Path) -> None:
    """The disk of the workspace is filled and freed; sometimes it is read-only while an engine starts."""
    template = WorkspacePaths(tmp_path / "template")
    device_key, _ = asyncio.run(create_test_workspace(template, tmp_path / "device.key"))
    folder, checked_paths = tmp_path / "disk", WorkspacePaths(tmp_path / "checked")
    folder.mkdir()
    with mount_small_disk(folder, DISK_SIZE) as disk:
        shutil.copytree(template.root, disk.view / "workspace")
        chaos = _prepare_chaos(folder / "workspace", tmp_path, size_divisor=20)
        chaos.disk = disk
        _run(chaos, DISK_KILLS)
        shutil.copytree(disk.view / "workspace", checked_paths.root)
    asyncio.run(_check_workspace(checked_paths, chaos, InvariantCheck(checked_paths, device_key)))
    shutil.rmtree(tmp_path)


def _prepare_chaos(workspace: Path, folder: Path, *, size_divisor: int = 1) -> ChaosRun:
    random = Random(SEED)
    files = tuple(
        _write_file(folder / f"firmware-{size}.bin", random.randbytes(size // size_divisor)) for size in SIZES
    )
    return ChaosRun(workspace, write_credential(folder / "credentials"), files, random)


def _run(chaos: ChaosRun, kills: int) -> None:
    started_at = time.monotonic()
    try:
        chaos.run(kills)
        chaos.finish()
    finally:
        sys.stdout.write(
            f"SEALYARD_CRASH_SEED={SEED}: {_format_summary(chaos)} in {time.monotonic() - started_at:.0f} s\n"
        )
        chaos.kill_processes()
        leftover = wait_for_exit(find_by_environment(f"{WORKSPACE_VARIABLE}={chaos.workspace}"), EXIT_TIMEOUT)
        kill_all(leftover)
    assert chaos.kills >= kills
    assert not leftover


async def _check_workspace(paths: WorkspacePaths, chaos: ChaosRun, check: InvariantCheck) -> None:
    engine = await EngineHandle.open_read_only(paths.root)
    try:
        client = engine.client(ADMINISTRATOR)
        tasks = await load_tasks(client)
        report = await client.verify_audit()
        check.check_accepted(tasks, chaos.accepted, chaos.expected, chaos.stopped)
        check.check_acknowledged(tasks, chaos.finished, chaos.downloads)
        check.check_signed_once(tasks, chaos.stopped)
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        await check.check_results(client, tasks, chaos.expected)
        await check.check_proofs(client)
        assert report.uncheckpointed_count == 0
        assert not list(engine.engine.repository.list_all(CHECKPOINTS)), "a build secret outlived its task"
        sys.stdout.write(f"{check.repeated_signatures} signatures were lost and repeated\n")
    finally:
        await engine.close()


def _write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _format_summary(chaos: ChaosRun) -> str:
    load = f"{len(chaos.accepted)} tasks, {len(chaos.stopped)} stopped, {len(chaos.downloads)} downloads"
    disk = f"{chaos.full_disks} full disks with {chaos.refusals} refusals"
    return f"{chaos.faults}; {chaos.clock_jumps} clock jumps; {disk}; {load}"
