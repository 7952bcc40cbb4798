"""Which workspace, and who one is there: what is said outright counts more than what is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace, sealyard, value_of


def _who(*options: object) -> str:
    """The identity that a command acts as, by what it may not do."""
    ran = sealyard(*options, "acl", "list")
    assert ran.code == 3, ran
    return ran.err.split()[1]


@pytest.fixture
def mine(house: CliWorkspace) -> CliWorkspace:
    for name in ("developer", "owner"):
        value_of("--workspace", house.folder, "profile", "add", f"my-{name}", "--identity", f"USER:{name}")
    return house


def test_the_first_profile_is_the_current_one(mine: CliWorkspace) -> None:
    assert _who() == "USER:developer"
    assert [each["name"] for each in value_of("profile", "list") if each["current"]] == ["my-developer"]


def test_another_can_be_used_from_now_on_or_once(mine: CliWorkspace) -> None:
    assert _who("--profile", "my-owner") == "USER:owner"
    assert _who() == "USER:developer"
    value_of("profile", "use", "my-owner")
    assert _who() == "USER:owner"


def test_the_environment_names_workspace_and_profile(mine: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PROFILE", "my-owner")
    assert _who() == "USER:owner"
    assert _who("--profile", "my-developer") == "USER:developer"
    monkeypatch.setenv("SEALYARD_WORKSPACE", str(mine.folder))
    monkeypatch.setenv("SEALYARD_PROFILE", "auditor")
    assert _who() == "USER:auditor"


def test_a_workspace_brings_profiles_of_its_own(house: CliWorkspace) -> None:
    assert _who("--workspace", house.folder, "--profile", "owner") == "USER:owner"
    value_of("--workspace", house.folder, "profile", "use", "developer")
    assert _who("--workspace", house.folder) == "USER:developer"


def test_a_profile_of_another_workspace_is_not_taken_for_this_one(mine: CliWorkspace, pattern: CliWorkspace) -> None:
    ran = sealyard("--workspace", pattern.folder, "--profile", "my-owner", "tasks")
    assert ran.code == 2
    assert str(mine.folder) in ran.err


def test_nobody_is_guessed_where_several_could_be_meant(mine: CliWorkspace, pattern: CliWorkspace) -> None:
    for name in ("a", "b"):
        value_of("--workspace", pattern.folder, "profile", "add", name, "--identity", "USER:owner")
    ran = sealyard("--workspace", pattern.folder, "tasks")
    assert ran.code == 2
    assert "a, b" in ran.err
    value_of("profile", "use", "b")
    assert _who("--workspace", pattern.folder) == "USER:owner"


def test_init_makes_a_profile_of_the_administrator_and_the_next_one_takes_another_name(home: Path) -> None:
    first = value_of("init", "--name", "Fab 4", "--key-store", "passphrase", "--admin", "anna")
    assert first["profile"] == "Fab-4"
    assert first["location"] == str(home / "data" / "sealyard" / "workspace")
    assert first["administrator"] == "USER:anna"
    second = value_of(
        *("init", "--name", "Fab 4", "--key-store", "passphrase", "--admin", "anna"),
        *("--workspace", home / "other"),
    )
    assert second["profile"] == "Fab-4-2"
    assert [each["current"] for each in value_of("profile", "list")] == [False, True]
    assert (home / "config" / "sealyard" / "profiles.json").stat().st_mode & 0o777 == 0o600


def test_a_profile_names_the_download_folder(house: CliWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    adding = ("--workspace", house.folder, "profile", "add", "dev", "--identity", "USER:developer")
    value_of(*adding, "--downloads", folder)
    value_of("download", "--all")
    assert [house.done in each.name for each in folder.iterdir()] == [True]
