"""Which profiles lead to a workspace."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, add_profile, has_selection, profiles_of, user_profiles_path
from sealyard.fs import atomic
from sealyard.model.errors import StorageError
from sealyard.model.workspace import WorkspacePaths


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_all_that_lead_to_a_workspace_are_found_its_own_ones_first(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    add_profile(WorkspacePaths(place).profiles, Profile(name="owner", identity="USER:owner"))
    add_profile(user_profiles_path(), Profile(name="at-work", identity="USER:anna", workspace=str(place)))
    add_profile(user_profiles_path(), Profile(name="elsewhere", identity="USER:anna", workspace=str(other)))
    found = profiles_of(place)
    assert [each.name for each in found] == ["owner", "at-work"]
    assert {each.workspace for each in found} == {str(place)}


def test_a_folder_without_profiles_has_none(tmp_path: Path) -> None:
    assert profiles_of(tmp_path) == ()


def test_a_person_who_never_chose_has_chosen_nothing(tmp_path: Path) -> None:
    assert not has_selection({})
    assert has_selection({"SEALYARD_WORKSPACE": str(tmp_path)})
    assert has_selection({"SEALYARD_PROFILE": "olga"})
    add_profile(user_profiles_path(), Profile(name="olga", identity="USER:olga", workspace=str(tmp_path)))
    assert has_selection({})


@pytest.mark.parametrize("operation", ["write_all", "sync", "rename"])
def test_failed_write_keeps_the_old_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    path = tmp_path / "sealyard" / "profiles.json"
    add_profile(path, Profile(name="yard", identity="USER:anna", workspace="/yard"))
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, operation, fail)
    with pytest.raises(StorageError, match="No space left on device"):
        add_profile(path, Profile(name="other", identity="USER:ben", workspace="/yard"))
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
    add_profile(tmp_path / "profiles.json", Profile(name="yard", identity="USER:anna", workspace="/yard"))
    assert synced == ["file", "folder"]
