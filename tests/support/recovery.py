"""Sign in a workspace, and recover it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import NamedTuple

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.recover_workspace import plan_recovery, recover_workspace
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.recovery import RecoveryPlan
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import Task, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.key_holders import open_key_holder
from tests.support.workspace_files import ADMIN, DEVELOPER, DEVICE, OWNER, PASSPHRASE, open_engine


def create_request(message: bytes) -> SigningRequest:
    return SigningRequest(config=DEVICE, message=message, file_name="message", name=message.decode())


class RecoveredState(NamedTuple):
    """A workspace after its recovery. ``signed``: a task that was requested, approved and finished after it."""

    tasks: dict[str, Task]
    recoveries: list[AuditEntry]
    signed: Task


async def sign(folder: Path, message: bytes) -> Task:
    async with open_engine(folder) as engine:
        return await sign_with(engine, message)


async def start(folder: Path) -> None:
    async with open_engine(folder):
        pass


async def load_tasks(folder: Path) -> dict[str, Task]:
    async with open_engine(folder) as engine:
        return await _load_tasks(engine)


async def load_recoveries(folder: Path) -> list[AuditEntry]:
    async with open_engine(folder) as engine:
        return await _load_recoveries(engine)


async def use_recovered(folder: Path) -> RecoveredState:
    """Verify the audit log of a recovered workspace, load its tasks and recoveries, and sign a message in it."""
    async with open_engine(folder) as engine:
        tasks, recoveries = await _load_tasks(engine), await _load_recoveries(engine)
        return RecoveredState(tasks, recoveries, await sign_with(engine, b"after the recovery"))


async def sign_with(engine: EngineHandle, message: bytes) -> Task:
    """Request a signature, approve it, and return the finished task."""
    task = await engine.client(DEVELOPER).create_signing(create_request(message))
    await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
    await engine.wait_idle()
    return await engine.client(DEVELOPER).task(task.id)


async def _load_tasks(engine: EngineHandle) -> dict[str, Task]:
    page = await engine.client(ADMIN).tasks(TaskFilter())
    return {task.name: task for task in page.tasks}


async def _load_recoveries(engine: EngineHandle) -> list[AuditEntry]:
    await engine.client(ADMIN).verify_audit()
    page = await engine.client(ADMIN).audit(AuditFilter(change=AuditAction.UPDATED))
    return [entry for entry in page.entries if "workspace recovered" in entry.message]


def plan(folder: Path) -> RecoveryPlan:
    with open_key_holder(folder, PASSPHRASE, may_recover=True) as key_holder:
        return asyncio.run(plan_recovery(WorkspacePaths(folder), key_holder))


def recover(folder: Path, *, adopt: bool = False) -> RecoveryPlan:
    with open_key_holder(folder, PASSPHRASE, may_recover=True) as key_holder:
        return asyncio.run(recover_workspace(WorkspacePaths(folder), key_holder, adopt=adopt))
