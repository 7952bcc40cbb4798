"""Test a workspace whose master key and freshness anchor are in the OS keyring, with real key holder processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.errors import AnchorError, KeyStoreLockedError
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.json_keyring import BACKEND
from tests.support.workspace_files import ADMIN


@pytest.fixture
def keyring_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", BACKEND)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("SEALYARD_ANCHORS")
    return tmp_path / "keyring.json"


@pytest.fixture
def paths(keyring_file: Path, tmp_path: Path) -> WorkspacePaths:
    paths = WorkspacePaths(tmp_path / "workspace")
    asyncio.run(
        create_workspace(
            paths, name="factory", administrator=ADMIN, key_store=KeyStore.OS_KEYRING, key_holder=start_key_holder
        )
    )
    assert keyring_file.exists()
    return paths


def start_key_holder(location: KeyStoreLocation) -> KeyHolder:
    return KeyHolder.start(location)


async def add_subject(folder: Path, name: str) -> None:
    engine = await EngineHandle.open(folder, purpose="test", key_holder=start_key_holder, work=False)
    try:
        await engine.client(ADMIN).add_subject(name)
    finally:
        await engine.close()


def test_keyring_has_master_key_epoch_and_anchor(paths: WorkspacePaths, keyring_file: Path) -> None:
    workspace = f"sealyard workspace {load_metadata(paths).id}"
    assert set(json.loads(keyring_file.read_text())) == {workspace, f"{workspace} state", f"{workspace} anchor"}
    assert not (paths.keys / "keyring.json").exists()
    asyncio.run(add_subject(paths.root, "USER:first"))


def test_older_folder_is_refused(paths: WorkspacePaths, tmp_path: Path) -> None:
    shutil.copytree(paths.root, tmp_path / "older")
    asyncio.run(add_subject(paths.root, "USER:first"))
    shutil.rmtree(paths.root)
    shutil.copytree(tmp_path / "older", paths.root)
    with pytest.raises(AnchorError, match="older copy"):
        asyncio.run(add_subject(paths.root, "USER:second"))


def test_folder_on_other_machine_stays_locked(paths: WorkspacePaths, keyring_file: Path) -> None:
    keyring_file.unlink()
    with pytest.raises(KeyStoreLockedError, match="master key"):
        asyncio.run(add_subject(paths.root, "USER:first"))


def test_killed_key_holder_is_restarted_without_a_prompt(paths: WorkspacePaths) -> None:
    async def run() -> None:
        key_holder = start_key_holder(build_key_store_location(paths, load_metadata(paths)))
        try:
            engine = await EngineHandle.open(paths.root, purpose="test", key_holder=key_holder, work=False)
            try:
                os.kill(key_holder.pid, signal.SIGKILL)
                await engine.client(ADMIN).add_subject("USER:first")
            finally:
                await engine.close()
        finally:
            key_holder.close()
        await add_subject(paths.root, "USER:second")

    asyncio.run(run())
