"""Test commands of an account whose home cannot be written, as in containers and system services."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealyard.cli import main as cli_main
from tests.support.cli_runner import FIRMWARE, CliWorkspace, sealyard


@pytest.fixture(autouse=True)
def unwritable_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/dev/null")
    for variable in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_DOWNLOAD_DIR"):
        monkeypatch.delenv(variable, raising=False)


def test_downloads_succeed_with_warning(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    encryption = workspace.run("developer", "encrypt", "--device", "gateway", firmware, "--out", out)
    assert encryption.code == 0
    assert re.search(r"warning: .*Cannot write /dev/null/.*XDG_STATE_HOME", encryption.err)
    download = workspace.run("developer", "download", workspace.done, "--out", out)
    assert download.code == 0
    assert "XDG_STATE_HOME" in download.out
    assert len(list(out.iterdir())) == 2


@pytest.mark.parametrize("arguments", [("tasks",), ("device", "list"), ("profile", "list"), ("config", "show")])
def test_reading_commands_succeed(workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    assert workspace.run("developer", *arguments).code == 0


def test_init_leaves_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init = ("--workspace", tmp_path / "new", "init", "--admin", "USER:z", "--key-store", "passphrase")
    result = sealyard(*init)
    assert result.code == 1
    assert "profiles.json" in result.err
    assert "XDG_CONFIG_HOME" in result.err
    assert not (tmp_path / "new").exists()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert sealyard(*init).code == 0


def test_login_stores_no_token_without_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALYARD_TOKEN", "sy_token_token")
    result = sealyard("login", "http://127.0.0.1:1")
    assert result.code == 1
    assert "XDG_CONFIG_HOME" in result.err


def test_internal_error_names_unwritable_log(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(cli_main, "require_text", fail)
    result = workspace.run("developer", "tasks")
    assert result.code == 1
    assert "Cannot write the details to /dev/null/" in result.err


def test_package_succeeds(workspace: CliWorkspace, firmware: Path) -> None:
    assert workspace.package(firmware)["inputs"][0]["size"] == len(FIRMWARE)
