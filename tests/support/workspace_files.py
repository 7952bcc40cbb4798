"""A workspace on disk with subjects and a device configuration, and its engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.clock import Clock
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.tasks import Task
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT

ADMIN, DEVELOPER, OWNER = "USER:admin", "USER:dev", "USER:owner"
PASSPHRASE = "a canary among passphrases"
DEVICE = "door"


async def create_empty_workspace(folder: Path, database: str | None = None) -> None:
    """Create the workspace. ``database``: connection string of the database of its store; by default it has none."""
    await create_workspace(
        WorkspacePaths(folder),
        name="factory",
        administrator=ADMIN,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        database=database,
    )


async def create_workspace_with_device(folder: Path, database: str | None = None) -> None:
    """Create a workspace with subjects and a device configuration."""
    await create_empty_workspace(folder, database)
    async with open_engine(folder) as engine:
        admin = engine.client(ADMIN)
        for subject in (DEVELOPER, OWNER):
            await admin.add_subject(subject)
        await admin.create_device(
            DeviceRequest(
                name=DEVICE,
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )


@asynccontextmanager
async def open_engine(folder: Path, clock: Clock | None = None, *, work: bool = True) -> AsyncIterator[EngineHandle]:
    engine = await EngineHandle.open(
        folder, purpose="test", key_holder=unlock(PASSPHRASE), workers=1, clock=clock, work=work
    )
    try:
        yield engine
    finally:
        await engine.close()


async def wait_for_task(engine: EngineHandle, task: Task, condition: Callable[[Task], bool]) -> Task:
    """Wait until the task fulfils ``condition``, and return it. Fails if it ends before."""
    async with asyncio.timeout(TIMEOUT):
        while not condition(current := await engine.client(DEVELOPER).task(task.id)):
            assert not current.status.is_final, current.reason
            await asyncio.sleep(0.02)
    return current
