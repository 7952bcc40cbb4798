"""Fixtures: a workspace with a developer, an owner and a device, created once and copied for each test."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, SigningKeyRequest
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock

PASSPHRASE = "a canary among passphrases"
ADMINISTRATOR, DEVELOPER, OWNER = "USER:olga", "USER:dev", "USER:owner"


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "workspace"
    asyncio.run(_create_template(WorkspacePaths(folder)))
    return folder


@pytest.fixture
def workspace_folder(workspace_template: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(workspace_template, tmp_path / "workspace"))


async def _create_template(paths: WorkspacePaths) -> None:
    key_holder = unlock(PASSPHRASE)
    await create_workspace(
        paths, name="acme", administrator=ADMINISTRATOR, key_store=KeyStore.PASSPHRASE, key_holder=key_holder
    )
    profiles = tuple(Profile(name=each.removeprefix("USER:"), identity=each) for each in (DEVELOPER, OWNER))
    write_profiles(paths.profiles, ProfileFile(profiles=profiles))
    engine = await EngineHandle.open(paths.root, purpose="test", key_holder=key_holder)
    try:
        administrator = engine.client(ADMINISTRATOR)
        for subject in (DEVELOPER, OWNER):
            await administrator.add_subject(subject)
        await administrator.create_device(
            DeviceRequest(
                name="gateway",
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES128_CTR_NO_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ED25519),),
                use=(DEVELOPER,),
                approve=(OWNER,),
            )
        )
    finally:
        await engine.close()
