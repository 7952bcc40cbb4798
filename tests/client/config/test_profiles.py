"""Test reading, selecting and writing profiles."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sealyard.client.config.profiles import (
    Profile,
    add_profile,
    has_selection,
    profiles_of,
    resolve,
    user_profiles_path,
)
from sealyard.fs import atomic
from sealyard.model.errors import StorageError
from sealyard.model.workspace import WorkspacePaths


@pytest.fixture(autouse=True)
def _isolate_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_profiles_of_lists_workspace_profiles_first(tmp_path: Path) -> None:
    workspace, other = tmp_path / "workspace", tmp_path / "other"
    add_profile(WorkspacePaths(workspace).profiles, Profile(name="owner", identity="USER:owner"))
    add_profile(user_profiles_path(), Profile(name="at-work", identity="USER:anna", workspace=str(workspace)))
    add_profile(user_profiles_path(), Profile(name="other", identity="USER:anna", workspace=str(other)))
    profiles = profiles_of(workspace)
    assert [each.name for each in profiles] == ["owner", "at-work"]
    assert {each.workspace for each in profiles} == {str(workspace)}


def test_profiles_of_empty_folder_is_empty(tmp_path: Path) -> None:
    assert profiles_of(tmp_path) == ()


def test_has_selection_requires_variable_or_profile(tmp_path: Path) -> None:
    assert not has_selection({})
    assert has_selection({"SEALYARD_WORKSPACE": str(tmp_path)})
    assert has_selection({"SEALYARD_PROFILE": "olga"})
    assert has_selection({"SEALYARD_SERVER": "seal.example"})
    add_profile(user_profiles_path(), Profile(name="olga", identity="USER:olga", workspace=str(tmp_path)))
    assert has_selection({})


def test_server_in_environment_needs_no_profile() -> None:
    environ = {"SEALYARD_SERVER": "seal.example/", "SEALYARD_TENANT": "plant", "SEALYARD_CA": "/ca.pem"}
    profile = resolve(None, None, environ)
    assert profile == Profile(name="server", identity="", server="https://seal.example", tenant="plant", ca="/ca.pem")


def test_login_for_server_in_environment_is_used_without_token() -> None:
    profile = Profile(name="at-work", identity="USER:anna", server="https://seal.example")
    add_profile(user_profiles_path(), profile)
    environ = {"SEALYARD_SERVER": "https://seal.example"}
    assert resolve(None, None, environ) == profile
    assert resolve(None, None, {**environ, "SEALYARD_TOKEN": "token"}).identity == ""
    assert resolve(None, None, {**environ, "SEALYARD_TENANT": "plant"}).identity == ""


@pytest.mark.parametrize("operation", ["write_all", "sync", "rename"])
def test_failed_write_keeps_the_old_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    path = tmp_path / "sealyard" / "profiles.json"
    add_profile(path, Profile(name="plant", identity="USER:anna", workspace="/plant"))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, operation, fail)
    with pytest.raises(StorageError, match="No space left on device"):
        add_profile(path, Profile(name="other", identity="USER:ben", workspace="/plant"))
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("profiles.json", before)]


def test_profiles_are_synced_to_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    sync, sync_folder = atomic.sync, atomic.sync_folder

    def record_sync(fd: int) -> None:
        sync(fd)
        synced.append("file")

    def record_sync_folder(folder: Path) -> None:
        sync_folder(folder)
        synced.append("folder")

    monkeypatch.setattr(atomic, "sync", record_sync)
    monkeypatch.setattr(atomic, "sync_folder", record_sync_folder)
    add_profile(tmp_path / "profiles.json", Profile(name="plant", identity="USER:anna", workspace="/plant"))
    assert synced == ["file", "folder"]
