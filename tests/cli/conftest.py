"""Fixtures of the command line tests: an isolated home directory, and copies of a template workspace."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
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
from tests.support.cli_runner import FIRMWARE, PASSPHRASE, PEOPLE, CliWorkspace, environment, run_engine
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
    return _copy_workspace(workspace_template, tmp_path)


@pytest.fixture
def running_workspace(workspace: CliWorkspace) -> Iterator[CliWorkspace]:
    """Return a workspace whose engine is open during the test. Commands attach to it."""
    with run_engine(workspace.folder):
        yield workspace


@pytest.fixture
def idle_workspace(workspace: CliWorkspace) -> Iterator[CliWorkspace]:
    """Like ``running_workspace``, but tasks are not executed."""
    with run_engine(workspace.folder, work=False):
        yield workspace


@pytest.fixture(scope="package")
def shared_workspace(
    workspace_template: CliWorkspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CliWorkspace]:
    """Return a workspace whose engine is open during all tests of the command line. Commands attach to it.

    A test may create tasks, subjects, keys and configurations of its own here, but must change none that others use.
    """
    workspace = _copy_workspace(workspace_template, tmp_path_factory.mktemp("shared"))
    with run_engine(workspace.folder):
        yield workspace


@pytest.fixture(scope="module")
def module_workspace(
    workspace_template: CliWorkspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CliWorkspace]:
    """Like ``shared_workspace``, but for the tests of one module, and tasks are not executed."""
    workspace = _copy_workspace(workspace_template, tmp_path_factory.mktemp("module"))
    with run_engine(workspace.folder, work=False):
        yield workspace


def _copy_workspace(template: CliWorkspace, parent: Path) -> CliWorkspace:
    folder = parent / "workspace"
    shutil.copytree(template.folder, folder)
    return CliWorkspace(folder, done=template.done, waiting=template.waiting)


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(FIRMWARE)
    return path
