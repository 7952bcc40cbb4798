"""Temporary workspaces for benchmarks."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock

PASSPHRASE = "for measurements only"
ADMINISTRATOR, DEVELOPER, OWNER = "USER:administrator", "USER:developer", "USER:owner"
DEVICE = "bench"
LOCAL_SIGNING_KEY = SigningKeyRequest(algorithm=SigningAlgorithm.ED25519)
BLOCK = 1 << 20


@contextmanager
def temporary_dir() -> Iterator[Path]:
    """Create a temporary directory, deleted at the end; TMPDIR selects the disk."""
    path = Path(tempfile.mkdtemp(prefix="sealyard-bench-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def create_bench_workspace(root: Path, database: str | None = None) -> None:
    """Create a workspace with a developer, an owner and a device configuration (AES-256-CBC, Ed25519).

    ``database`` is the connection string of the database for its store; by default, the folder contains it.
    """
    await create_workspace(
        WorkspacePaths(root),
        name="bench",
        administrator=ADMINISTRATOR,
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        database=database,
    )
    async with open_engine(root) as engine:
        await populate_bench_workspace(engine)


async def populate_bench_workspace(engine: EngineHandle, signing_key: SigningKeyRequest = LOCAL_SIGNING_KEY) -> None:
    """Add a developer, an owner and a device configuration (AES-256-CBC, and the signing key)."""
    client = engine.client(ADMINISTRATOR)
    await client.add_subject(DEVELOPER)
    await client.add_subject(OWNER)
    await client.create_device(
        DeviceRequest(
            name=DEVICE,
            encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
            signing_keys=(signing_key,),
            use=(DEVELOPER,),
            approve=(OWNER,),
        )
    )


@asynccontextmanager
async def open_engine(root: Path, *, work: bool = True) -> AsyncIterator[EngineHandle]:
    engine = await EngineHandle.open(root, purpose="bench", key_holder=unlock(PASSPHRASE), work=work)
    try:
        yield engine
    finally:
        await engine.close()


def random_file(path: Path, size: int) -> Path:
    """Write ``size`` bytes that do not compress."""
    block = os.urandom(BLOCK)
    with path.open("wb") as file:
        for _ in range(size // BLOCK):
            file.write(block)
        file.write(block[: size % BLOCK])
    return path
