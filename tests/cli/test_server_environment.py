"""Test commands with the server and token in the environment, without a profile."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.cli.app_launcher import select_in_environment
from sealyard.client.config.profiles import Profile, add_profile, user_profiles_path
from tests.support.cli_runner import CliWorkspace, sealyard, value_of
from tests.support.served_workspace import ServedWorkspace

OTHER_SERVER = "https://other.example"


@pytest.fixture
def server(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedWorkspace]:
    running = ServedWorkspace(workspace.folder)
    try:
        running.start()
        monkeypatch.setenv("SEALYARD_SERVER", running.url)
        monkeypatch.setenv("SEALYARD_TOKEN", running.token("USER:developer"))
        yield running
    finally:
        running.close()


def test_package_needs_no_profile(server: ServedWorkspace, firmware: Path) -> None:
    task = value_of("package", "--device", "gateway", "--firmware", firmware)
    assert task["createdBy"] == "USER:developer"
    assert task["id"] in [each["id"] for each in value_of("tasks", "--mine")]
    assert not user_profiles_path().exists()


def test_mine_is_identity_of_token(server: ServedWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", server.token("USER:owner"))
    assert value_of("tasks", "--mine") == []


def test_option_takes_precedence_over_environment(server: ServedWorkspace, workspace: CliWorkspace) -> None:
    assert workspace.value("owner", "tasks", "--mine") == []
    assert workspace.value("developer", "tasks", "--mine") != []


def test_environment_takes_precedence_over_default_profile(server: ServedWorkspace) -> None:
    profile = Profile(name="other", identity="USER:anna", server=OTHER_SERVER)
    add_profile(user_profiles_path(), profile, current=True)
    assert value_of("tasks", "--mine") != []


@pytest.mark.parametrize("variable", ["SEALYARD_WORKSPACE", "SEALYARD_PROFILE"])
def test_second_selection_in_environment_is_error(
    variable: str, server: ServedWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "other")
    result = sealyard("tasks")
    assert result.code == 2
    assert f"SEALYARD_SERVER and {variable} are both set." in result.err


def test_missing_token_is_reported(server: ServedWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEALYARD_TOKEN")
    result = sealyard("tasks")
    assert result.code == 3
    assert "set SEALYARD_TOKEN" in result.err


def test_unencrypted_server_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_SERVER", "http://seal.example")
    monkeypatch.setenv("SEALYARD_TOKEN", "secret-token")
    result = sealyard("tasks")
    assert result.code == 2
    assert "not encrypted" in result.err


def test_token_is_not_sent_to_server_of_other_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    add_profile(user_profiles_path(), Profile(name="other", identity="USER:anna", server=OTHER_SERVER))
    monkeypatch.setenv("SEALYARD_SERVER", "https://seal.example")
    monkeypatch.setenv("SEALYARD_TOKEN", "secret-token")
    result = sealyard("--profile", "other", "tasks")
    assert result.code == 3
    assert f"No token stored for {OTHER_SERVER}" in result.err


def test_login_to_other_server_does_not_use_token(server: ServedWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url
    monkeypatch.setenv("SEALYARD_SERVER", OTHER_SERVER)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = sealyard("login", url, "--token")
    assert result.code == 2
    assert "Invalid token" in result.err


def test_selection_for_application_removes_server_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_SERVER", OTHER_SERVER)
    monkeypatch.setenv("SEALYARD_TOKEN", "secret-token")
    monkeypatch.setenv("SEALYARD_PROFILE", "")
    select_in_environment(None, "dev")
    assert "SEALYARD_SERVER" not in os.environ
    assert "SEALYARD_TOKEN" not in os.environ
    assert os.environ["SEALYARD_PROFILE"] == "dev"
