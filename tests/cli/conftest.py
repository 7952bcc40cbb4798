"""Fixtures of the command line tests: an isolated home directory, and copies of a template workspace."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.requests import DeviceRequest, EncryptionKeyRequest, PackageRequest, SigningKeyRequest
from sealyard.model.tasks import Verdict
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.cli_runner import FIRMWARE, PASSPHRASE, PEOPLE, CliWorkspace, environment
from tests.support.key_holders import unlock


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    for name in (
        "SEALYARD_WORKSPACE",
        "SEALYARD_PROFILE",
        "SEALYARD_SERVER",
        "SEALYARD_TOKEN",
        "CREDENTIALS_DIRECTORY",
    ):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> CliWorkspace:
    root = tmp_path_factory.mktemp("template")
    (root / "firmware.bin").write_bytes(FIRMWARE)
    return asyncio.run(_create_template(root))


async def _create_template(root: Path) -> CliWorkspace:
    folder = root / "workspace"
    paths = WorkspacePaths(folder)
    await create_workspace(
        paths,
        name="factory",
        administrator="USER:admin",
        key_store=KeyStore.PASSPHRASE,
        key_holder=unlock(PASSPHRASE),
        demo=True,
    )
    profiles = tuple(Profile(name=name, identity=f"USER:{name}") for name in PEOPLE)
    write_profiles(paths.profiles, ProfileFile(profiles=profiles))
    engine = await EngineHandle.open(folder, purpose="test", key_holder=unlock(PASSPHRASE))
    try:
        admin = engine.client("USER:admin")
        for name in PEOPLE[1:]:
            await admin.add_subject(name)
        await admin.add_rule("USER:auditor", "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
        await admin.create_device(
            DeviceRequest(
                name="gateway",
                encryption_keys=(EncryptionKeyRequest(algorithm=EncryptionAlgorithm.AES256_CBC_PKCS7_PAD),),
                signing_keys=(SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256),),
                use=("USER:developer",),
                approve=("USER:owner", "USER:developer"),
            )
        )
        developer, owner = engine.client("USER:developer"), engine.client("USER:owner")
        tasks = []
        for name in ("finished", "waiting"):
            file = await developer.upload(root / "firmware.bin")
            tasks.append(await developer.create_package(PackageRequest(config="gateway", firmware=(file,), name=name)))
        await owner.decide(tasks[0].id, Verdict.APPROVED)
        await engine.wait_idle()
    finally:
        await engine.close()
    return CliWorkspace(folder, done=tasks[0].id, waiting=tasks[1].id)


@pytest.fixture
def workspace(workspace_template: CliWorkspace, tmp_path: Path) -> CliWorkspace:
    folder = tmp_path / "workspace"
    shutil.copytree(workspace_template.folder, folder)
    return CliWorkspace(folder, done=workspace_template.done, waiting=workspace_template.waiting)


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(FIRMWARE)
    return path
