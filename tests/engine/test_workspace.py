"""Tests of the workspace metadata: layout versions and failed writes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import msgspec
import pytest

from sealyard.engine.workspace import create_layout, load_metadata, save_metadata
from sealyard.fs import atomic
from sealyard.model.errors import StorageError, WorkspaceError
from sealyard.model.workspace import LAYOUT_VERSION, KeyStore, WorkspaceMetadata, WorkspacePaths
from tests.support.clock import START
from tests.support.engine_harness import EngineHarness


def write_workspace(root: Path, layout: int) -> WorkspacePaths:
    paths = WorkspacePaths(root)
    metadata = WorkspaceMetadata(
        id="w1",
        name="test",
        format=LAYOUT_VERSION,
        demo=False,
        key_store=KeyStore.PASSPHRASE,
        administrator="USER:admin",
        created_at=START,
    )
    create_layout(paths, metadata)
    save_metadata(paths, msgspec.structs.replace(metadata, format=layout))
    return paths


def test_load_metadata_of_current_layout_succeeds(tmp_path: Path) -> None:
    assert load_metadata(write_workspace(tmp_path / "workspace", LAYOUT_VERSION)).id == "w1"


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        (LAYOUT_VERSION - 1, "older version of Sealyard .*Create a new workspace"),
        (LAYOUT_VERSION + 1, "newer version of Sealyard"),
    ],
    ids=["older", "newer"],
)
def test_load_metadata_of_other_layout_raises(tmp_path: Path, layout: int, message: str) -> None:
    with pytest.raises(WorkspaceError) as exc_info:
        load_metadata(write_workspace(tmp_path / "workspace", layout))
    exc_info.match(message)


@pytest.mark.parametrize("operation", ["write_all", "sync", "rename"])
def test_failed_save_keeps_the_old_metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    paths = write_workspace(tmp_path / "workspace", LAYOUT_VERSION)
    metadata = load_metadata(paths)
    files = sorted(paths.root.iterdir())

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, operation, fail)
    with pytest.raises(StorageError, match="Not enough disk space for writing the metadata"):
        save_metadata(paths, msgspec.structs.replace(metadata, name="other"))
    assert load_metadata(paths) == metadata
    assert sorted(paths.root.iterdir()) == files


@pytest.mark.anyio
async def test_start_removes_temporary_files_of_killed_process(harness: EngineHarness) -> None:
    await harness.close()
    key_folder = harness.paths.keys / "local" / "gateway"
    key_folder.mkdir(parents=True)
    folders = (harness.paths.root, harness.paths.audit, harness.paths.keys, key_folder)
    stale_paths = [folder / ".0123456789abcdef.tmp" for folder in folders]
    kept_paths = [folder / "notes.tmp" for folder in folders]
    for path in (*stale_paths, *kept_paths):
        path.touch()
        os.utime(path, (0, 0))
    await harness.open()
    assert not any(path.exists() for path in stale_paths)
    assert all(path.exists() for path in kept_paths)
