"""Test that the real engine and worker do not sign an input file that was replaced after the approval."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.containers.se1.format import SE1Format
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import IntegrityError
from sealyard.model.requests import PackageRequest, SigningRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.artifacts import FileArtifacts
from tests.support.worker_state import read_intents
from tests.support.workspace_files import ADMIN, DEVELOPER, DEVICE, OWNER, create_workspace_with_device, open_engine

FIRMWARE = bytes(range(256)) * 4096
METADATA = b'{"version": "1.0.0"}'
MESSAGE = b"release manifest" * 1000

CreateTask = Callable[[EngineHandle, Path], Coroutine[None, None, Task]]


async def create_package(engine: EngineHandle, folder: Path) -> Task:
    developer = engine.client(DEVELOPER)
    (folder / "firmware.bin").write_bytes(FIRMWARE)
    (folder / "version.json").write_bytes(METADATA)
    request = PackageRequest(
        config=DEVICE,
        firmware=(await developer.upload(folder / "firmware.bin"),),
        metadata=(await developer.upload(folder / "version.json"),),
    )
    return await developer.create_package(request)


async def create_signing(engine: EngineHandle, _folder: Path) -> Task:
    return await engine.client(DEVELOPER).create_signing(
        SigningRequest(config=DEVICE, message=MESSAGE, file_name="manifest.bin")
    )


@pytest.mark.parametrize(
    ("create_task", "content", "name"),
    [
        (create_package, FIRMWARE, "firmware.bin"),
        (create_package, METADATA, "version.json"),
        (create_signing, MESSAGE, "manifest.bin"),
    ],
    ids=["firmware", "metadata", "stored message"],
)
@pytest.mark.parametrize("size", [0, 1], ids=["equal size", "longer"])
def test_input_replaced_after_approval_fails_task(
    tmp_path: Path, create_task: CreateTask, content: bytes, name: str, size: int
) -> None:
    asyncio.run(replace_after_approval(tmp_path, create_task, content, name, size))


async def replace_after_approval(tmp_path: Path, create_task: CreateTask, content: bytes, name: str, size: int) -> None:
    workspace = tmp_path / "workspace"
    await create_workspace_with_device(workspace)
    async with open_engine(workspace, work=False) as engine:
        task = await create_task(engine, tmp_path)
        await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
    unapproved = content[:-1] + b"!" + b"!" * size
    (stored,) = (file for file in (*task.inputs, *task.metadata) if file.name == name)
    FileArtifacts(WorkspacePaths(workspace).artifacts).input_path(stored.sha256).write_bytes(unapproved)
    async with open_engine(workspace) as engine:
        await engine.wait_idle()
        client = engine.client(ADMIN)
        failed = await client.task(task.id)
        entries = (await client.audit(AuditFilter(change=AuditAction.CORRUPTED))).entries
        await client.verify_audit()
    assert (failed.status, failed.reason_code, failed.result) == (TaskStatus.FAILED, IntegrityError.code, None)
    assert name in failed.reason
    assert "Nothing was signed" in failed.reason
    assert "upload the file again" in failed.reason
    assert [entry.resource for entry in entries] == [f"TASK:{task.id}"]
    assert not [path for path in workspace.rglob("*") if path.is_file() and SE1Format.magic in path.read_bytes()]
    assert read_intents(workspace) == []
