"""Sign in a workspace, and recover it."""

from __future__ import annotations

import asyncio
from pathlib import Path

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


async def sign(folder: Path, message: bytes) -> Task:
    async with open_engine(folder) as engine:
        task = await engine.client(DEVELOPER).create_signing(create_request(message))
        await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
        await engine.wait_idle()
        return await engine.client(DEVELOPER).task(task.id)


async def start(folder: Path) -> None:
    async with open_engine(folder):
        pass


async def load_tasks(folder: Path) -> dict[str, Task]:
    async with open_engine(folder) as engine:
        page = await engine.client(ADMIN).tasks(TaskFilter())
        return {task.name: task for task in page.tasks}


async def load_recoveries(folder: Path) -> list[AuditEntry]:
    async with open_engine(folder) as engine:
        await engine.client(ADMIN).verify_audit()
        page = await engine.client(ADMIN).audit(AuditFilter(change=AuditAction.UPDATED))
        return [entry for entry in page.entries if "workspace recovered" in entry.message]


def plan(folder: Path) -> RecoveryPlan:
    with open_key_holder(folder, PASSPHRASE, may_recover=True) as key_holder:
        return asyncio.run(plan_recovery(WorkspacePaths(folder), key_holder))


def recover(folder: Path, *, adopt: bool = False) -> RecoveryPlan:
    with open_key_holder(folder, PASSPHRASE, may_recover=True) as key_holder:
        return asyncio.run(recover_workspace(WorkspacePaths(folder), key_holder, adopt=adopt))
