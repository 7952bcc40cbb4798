"""Tests of workspaces of an earlier version, which have no worker state yet."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from sealyard.audit.segment_files import CHECKPOINTS, PUBLIC_KEY
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.keyholder.state_access import WorkerStateAccess
from sealyard.keys.file_keyring import EncryptedFileKeyring
from sealyard.keys.master_key import KEYRING_FILE, SERVICE, open_key_store
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import AuditVerificationError
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.worker_state import read_intents, read_records
from tests.support.workspace_files import (
    ADMIN,
    DEVELOPER,
    DEVICE,
    OWNER,
    PASSPHRASE,
    create_workspace_with_device,
    open_engine,
)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace as an earlier version has left it."""
    paths = WorkspacePaths(tmp_path_factory.mktemp("template") / "workspace")
    asyncio.run(create_workspace_with_device(paths.root))
    asyncio.run(sign(paths.root))
    intents = [
        {"task": each["task"], "fencingToken": each["fencingToken"], "sha256": each["sha256"], "at": 1.0}
        for each in read_intents(paths.root)
    ]
    paths.intents.write_text("".join(json.dumps(each, separators=(",", ":")) + "\n" for each in intents))
    paths.worker_state.unlink()
    keyring = EncryptedFileKeyring(paths.keys / KEYRING_FILE, PASSPHRASE)
    keyring.delete_password(SERVICE, f"workspace {load_metadata(paths).id} state")
    return paths.root


@pytest.fixture
def paths(template: Path, tmp_path: Path) -> WorkspacePaths:
    shutil.copytree(template, tmp_path / "workspace")
    return WorkspacePaths(tmp_path / "workspace")


async def sign(folder: Path) -> TaskStatus:
    async with open_engine(folder) as engine:
        request = SigningRequest(config=DEVICE, message=b"message", file_name="message", name="message")
        task = await engine.client(DEVELOPER).create_signing(request)
        await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
        await engine.wait_idle()
        return (await engine.client(DEVELOPER).task(task.id)).status


async def load_migration_messages(folder: Path) -> list[str]:
    async with open_engine(folder, work=False) as engine:
        page = await engine.client(ADMIN).audit(AuditFilter(change=AuditAction.UPDATED))
        return [entry.message for entry in page.entries if "worker state" in entry.message]


def test_workspace_of_earlier_version_is_migrated_once(paths: WorkspacePaths) -> None:
    [message] = asyncio.run(load_migration_messages(paths.root))
    assert "1 recorded signatures" in message
    assert not paths.intents.exists()
    first, intent, store, checkpoint, *_ = read_records(paths.root)
    assert (first["type"], first["migrated"]) == ("epoch", 1)
    assert intent["type"] == "intent"
    assert (store["type"], store["generation"]) == ("store", 1)
    assert checkpoint["type"] == "checkpoint"
    assert asyncio.run(load_migration_messages(paths.root)) == [message]
    assert asyncio.run(sign(paths.root)) is TaskStatus.DONE


def test_migration_requires_signed_checkpoint(paths: WorkspacePaths) -> None:
    path = paths.audit / CHECKPOINTS
    lines = path.read_text().splitlines(keepends=True)
    signature = lines[-1]
    lines[-1] = signature[:-8] + ("AAAAAA" if signature[-8:-2] != "AAAAAA" else "BBBBBB") + signature[-2:]
    path.write_text("".join(lines))
    with pytest.raises(AuditVerificationError):
        asyncio.run(load_migration_messages(paths.root))


def test_audit_entry_of_migration_survives_a_crash(paths: WorkspacePaths) -> None:
    """The key holder has migrated the intents, and the engine was killed before it audited that."""
    metadata = load_metadata(paths)
    key_store = open_key_store(metadata.key_store, paths.keys, metadata.id, PASSPHRASE)
    WorkerStateAccess(build_key_store_location(paths, metadata), key_store).open().close()
    assert not paths.intents.exists()
    [message] = asyncio.run(load_migration_messages(paths.root))
    assert "1 recorded signatures" in message
    assert asyncio.run(load_migration_messages(paths.root)) == [message]


@pytest.mark.parametrize("removed", [(CHECKPOINTS,), (CHECKPOINTS, PUBLIC_KEY)])
def test_workspace_killed_before_its_first_checkpoint_opens(paths: WorkspacePaths, removed: tuple[str, ...]) -> None:
    for name in removed:
        (paths.audit / name).unlink()
    assert asyncio.run(sign(paths.root)) is TaskStatus.DONE
    (paths.audit / CHECKPOINTS).unlink()
    with pytest.raises(AuditVerificationError, match="checkpoints of the audit log were removed"):
        asyncio.run(sign(paths.root))
