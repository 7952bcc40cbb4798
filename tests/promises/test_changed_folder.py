"""Attacks of a local user who can write the workspace folder. Each test is named after its attack.

Not noticed yet: an older copy of the whole folder, with the worker state and the key store (E8). That needs a record
outside the folder.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from sealyard.audit.encoding import decode_entry, encode_entry
from sealyard.audit.merkle import leaf_hash
from sealyard.audit.segment_files import CHECKPOINTS, read_lines, segment_paths
from sealyard.model.audit import GENESIS_HASH
from sealyard.model.errors import AuditVerificationError, WorkerStateError
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import Verdict
from sealyard.model.workspace import WorkspacePaths
from tests.support.workspace_files import DEVELOPER, DEVICE, OWNER, create_workspace_with_device, open_engine


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "workspace"
    asyncio.run(_create(folder))
    return folder


async def _create(folder: Path) -> None:
    await create_workspace_with_device(folder)
    await sign(folder, b"first message")


async def sign(folder: Path, message: bytes) -> None:
    async with open_engine(folder) as engine:
        request = SigningRequest(config=DEVICE, message=message, file_name="message", name="message")
        task = await engine.client(DEVELOPER).create_signing(request)
        await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
        await engine.wait_idle()


async def start(folder: Path) -> None:
    async with open_engine(folder):
        pass


@pytest.fixture
def paths(template: Path, tmp_path: Path) -> WorkspacePaths:
    shutil.copytree(template, tmp_path / "workspace")
    return WorkspacePaths(tmp_path / "workspace")


def rewrite_entries(folder: Path, seq: int) -> None:
    """Change the message of an entry, and the chain of all later ones."""
    previous = GENESIS_HASH
    for path in segment_paths(folder):
        lines = []
        for line in read_lines(path):
            entry = decode_entry(line, path.name)
            message = "nothing happened" if entry.seq == seq else entry.message
            changed = encode_entry(msgspec.structs.replace(entry, message=message, previous=previous))
            previous = leaf_hash(changed).hex()
            lines.append(changed + b"\n")
        path.write_bytes(b"".join(lines))


def test_unchanged_workspace_starts(paths: WorkspacePaths) -> None:
    asyncio.run(start(paths.root))


def test_e9_rewritten_entries_without_checkpoints(paths: WorkspacePaths) -> None:
    rewrite_entries(paths.audit, 3)
    (paths.audit / CHECKPOINTS).unlink()
    with pytest.raises(AuditVerificationError):
        asyncio.run(start(paths.root))


def test_e9_removed_entries_and_checkpoints(paths: WorkspacePaths) -> None:
    path = segment_paths(paths.audit)[-1]
    path.write_bytes(b"".join(line + b"\n" for line in list(read_lines(path))[:-2]))
    (paths.audit / CHECKPOINTS).unlink()
    with pytest.raises(AuditVerificationError, match="checkpoints of the audit log were removed"):
        asyncio.run(start(paths.root))


def test_e13_deleted_worker_state(paths: WorkspacePaths) -> None:
    paths.worker_state.unlink()
    for _ in range(2):
        with pytest.raises(WorkerStateError, match="missing or empty") as caught:
            asyncio.run(start(paths.root))
        assert "backup" in caught.value.hint


def test_e13_removed_record_of_worker_state(paths: WorkspacePaths) -> None:
    lines = paths.worker_state.read_bytes().splitlines(keepends=True)
    paths.worker_state.write_bytes(b"".join([lines[0], *lines[2:]]))
    with pytest.raises(WorkerStateError, match="Record 2"):
        asyncio.run(start(paths.root))


@pytest.mark.parametrize("kept", [("worker",), ("worker", "keys")], ids=["worker", "worker and keys"])
def test_e8_older_copy_beside_the_worker_state(paths: WorkspacePaths, tmp_path: Path, kept: tuple[str, ...]) -> None:
    """The store, the artifacts and the audit log are put back to an older state."""
    shutil.copytree(paths.root, tmp_path / "older")
    asyncio.run(sign(paths.root, b"second message"))
    for name in kept:
        shutil.rmtree(tmp_path / "older" / name)
        shutil.copytree(paths.root / name, tmp_path / "older" / name)
    with pytest.raises(AuditVerificationError, match="entries were removed"):
        asyncio.run(start(tmp_path / "older"))


def test_e8_older_worker_state(paths: WorkspacePaths, tmp_path: Path) -> None:
    """Only the worker state is put back: the audit log has checkpoints that it does not know."""
    older = paths.worker_state.read_bytes()
    asyncio.run(sign(paths.root, b"second message"))
    paths.worker_state.write_bytes(older)
    with pytest.raises(AuditVerificationError, match="older than the log"):
        asyncio.run(start(paths.root))
