"""Test how commands select the workspace and the profile."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli_runner import CliWorkspace, sealyard, value_of


def _resolve_identity(*options: object) -> str:
    """Return the identity that a command acts as, read from its permission error."""
    result = sealyard(*options, "acl", "list")
    assert result.code == 3, result
    return result.err.split()[1]


@pytest.fixture
def profiles(workspace: CliWorkspace) -> CliWorkspace:
    for name in ("developer", "owner"):
        value_of("--workspace", workspace.folder, "profile", "add", f"my-{name}", "--identity", f"USER:{name}")
    return workspace


def test_first_profile_becomes_default(profiles: CliWorkspace) -> None:
    assert _resolve_identity() == "USER:developer"
    assert [each["name"] for each in value_of("profile", "list") if each["current"]] == ["my-developer"]


def test_default_profile_can_be_changed_or_overridden(profiles: CliWorkspace) -> None:
    assert _resolve_identity("--profile", "my-owner") == "USER:owner"
    assert _resolve_identity() == "USER:developer"
    value_of("profile", "use", "my-owner")
    assert _resolve_identity() == "USER:owner"


def test_environment_selects_workspace_and_profile(profiles: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_PROFILE", "my-owner")
    assert _resolve_identity() == "USER:owner"
    assert _resolve_identity("--profile", "my-developer") == "USER:developer"
    monkeypatch.setenv("SEALYARD_WORKSPACE", str(profiles.folder))
    monkeypatch.setenv("SEALYARD_PROFILE", "auditor")
    assert _resolve_identity() == "USER:auditor"


def test_workspace_provides_own_profiles(workspace: CliWorkspace) -> None:
    assert _resolve_identity("--workspace", workspace.folder, "--profile", "owner") == "USER:owner"
    value_of("--workspace", workspace.folder, "profile", "use", "developer")
    assert _resolve_identity("--workspace", workspace.folder) == "USER:developer"


def test_profile_of_other_workspace_is_rejected(profiles: CliWorkspace, workspace_template: CliWorkspace) -> None:
    result = sealyard("--workspace", workspace_template.folder, "--profile", "my-owner", "tasks")
    assert result.code == 2
    assert str(profiles.folder) in result.err


def test_ambiguous_profile_is_rejected(profiles: CliWorkspace, workspace_template: CliWorkspace) -> None:
    for name in ("a", "b"):
        value_of("--workspace", workspace_template.folder, "profile", "add", name, "--identity", "USER:owner")
    result = sealyard("--workspace", workspace_template.folder, "tasks")
    assert result.code == 2
    assert "a, b" in result.err
    value_of("profile", "use", "b")
    assert _resolve_identity("--workspace", workspace_template.folder) == "USER:owner"


def test_init_creates_unique_profile_name(home: Path) -> None:
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


def test_profile_sets_download_folder(workspace: CliWorkspace, tmp_path: Path) -> None:
    folder = tmp_path / "results"
    arguments = ("--workspace", workspace.folder, "profile", "add", "dev", "--identity", "USER:developer")
    value_of(*arguments, "--downloads", folder)
    value_of("download", "--all")
    assert [workspace.done in each.name for each in folder.iterdir()] == [True]
