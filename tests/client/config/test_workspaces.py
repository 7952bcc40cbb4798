"""Test finding, unlocking and creating a workspace."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sealyard.client.config import workspaces
from sealyard.client.config.key_holder import start_key_holder
from sealyard.client.config.profiles import read_profiles, resolve, user_profiles_path
from sealyard.client.config.workspaces import (
    create_workspace,
    current_user_name,
    load_workspace_metadata,
)
from sealyard.engine import workspace
from sealyard.model.access import parse_subject
from sealyard.model.errors import StorageError, WorkspaceError
from sealyard.model.hints import HintCode
from sealyard.model.workspace import KeyStore
from tests.support.key_holders import unlock

PASSPHRASE = "a canary among passphrases"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "workspace"
    asyncio.run(
        create_workspace(
            path, name="Plant 1", administrator="olga", key_store=KeyStore.PASSPHRASE, key_holder=unlock(PASSPHRASE)
        )
    )
    return path


def test_created_workspace_becomes_default(folder: Path) -> None:
    assert load_workspace_metadata(folder).name == "Plant 1"
    profile = resolve(None, None, {})
    assert (profile.name, profile.identity, profile.workspace) == ("Plant-1", "USER:olga", str(folder))
    assert read_profiles(user_profiles_path()).current == "Plant-1"


def test_folder_without_workspace_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(WorkspaceError):
        load_workspace_metadata(tmp_path)
    with pytest.raises(WorkspaceError):
        start_key_holder(tmp_path, may_prompt=False)


@pytest.mark.parametrize("account", ["DOMAIN\\jörg müller", "_daemon", "+++", "öäü", "a" * 100])
def test_any_account_name_is_valid_subject(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: account)
    assert parse_subject(current_user_name())


def test_workspace_below_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "workspace"):
        with pytest.raises(StorageError, match="Cannot create"):
            asyncio.run(
                create_workspace(
                    path, name="y", administrator="olga", key_store=KeyStore.PASSPHRASE, key_holder=unlock("x")
                )
            )


async def create(path: Path) -> None:
    await create_workspace(path, name="y", administrator="olga", key_store=KeyStore.PASSPHRASE, key_holder=unlock("x"))


def test_unwritable_profiles_leave_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"Cannot write .*profiles\.json") as caught:
        asyncio.run(create(tmp_path / "workspace"))
    assert "XDG_CONFIG_HOME" in caught.value.hint
    assert not (tmp_path / "workspace").exists()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    asyncio.run(create(tmp_path / "workspace"))


def test_profile_that_cannot_be_added_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("Cannot write it.")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(workspaces, "add_profile", fail)
    with pytest.raises(StorageError, match="The workspace was created, but not its profile") as caught:
        asyncio.run(create(tmp_path / "my workspace"))
    assert caught.value.structured_hint.code == HintCode.ADD_PROFILE
    assert load_workspace_metadata(tmp_path / "my workspace").name == "y"


def test_failed_creation_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageError("The disk is full.")

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "save_metadata", fail)
        with pytest.raises(StorageError, match="The disk is full"):
            asyncio.run(create(tmp_path / "workspace"))
    assert not (tmp_path / "workspace").exists()
    asyncio.run(create(tmp_path / "workspace"))
