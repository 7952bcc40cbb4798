"""Which profiles lead to a workspace."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.client.profiles import Profile, add_profile, anything_chosen, profiles_of, users_file
from sealyard.model.workspace import Places


@pytest.fixture(autouse=True)
def _own_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_all_that_lead_to_a_workspace_are_found_its_own_ones_first(tmp_path: Path) -> None:
    place, other = tmp_path / "place", tmp_path / "other"
    add_profile(Places(place).profiles, Profile(name="owner", identity="USER:owner"))
    add_profile(users_file(), Profile(name="at-work", identity="USER:anna", workspace=str(place)))
    add_profile(users_file(), Profile(name="elsewhere", identity="USER:anna", workspace=str(other)))
    found = profiles_of(place)
    assert [each.name for each in found] == ["owner", "at-work"]
    assert {each.workspace for each in found} == {str(place)}


def test_a_folder_without_profiles_has_none(tmp_path: Path) -> None:
    assert profiles_of(tmp_path) == ()


def test_a_person_who_never_chose_has_chosen_nothing(tmp_path: Path) -> None:
    assert not anything_chosen({})
    assert anything_chosen({"SEALYARD_WORKSPACE": str(tmp_path)})
    assert anything_chosen({"SEALYARD_PROFILE": "olga"})
    add_profile(users_file(), Profile(name="olga", identity="USER:olga", workspace=str(tmp_path)))
    assert anything_chosen({})
