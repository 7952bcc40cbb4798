"""Test that commands that read the files of a workspace, without its key store, say that the result is unverified."""

from __future__ import annotations

from pathlib import Path

import pytest

from sealyard.cli.output import UNVERIFIED_NOTE
from tests.support.cli_runner import CliWorkspace

READS = [
    ("admin", "subject", "list"),
    ("admin", "acl", "list"),
    ("admin", "policy", "show"),
    ("admin", "device", "list"),
    ("admin", "device", "show", "gateway"),
    ("admin", "key", "list"),
    ("auditor", "audit", "list"),
    ("auditor", "audit", "verify"),
    ("developer", "tasks"),
    ("developer", "token", "list"),
]


@pytest.mark.parametrize("arguments", READS, ids=" ".join)
def test_read_is_marked_as_unverified(
    workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.delenv("SEALYARD_PASSPHRASE", raising=False)
    profile, *command = arguments
    result = workspace.run(profile, *command)
    assert (result.code, result.err.count(UNVERIFIED_NOTE)) == (0, 1), result
    result = workspace.run(profile, *command, "--json")
    assert (result.code, result.err.count(UNVERIFIED_NOTE)) == (0, 1), result
    items = result.value if isinstance(result.value, list) else [result.value]
    assert all(item["storeVerified"] is False for item in items), result


def test_change_is_not_marked(workspace: CliWorkspace) -> None:
    result = workspace.run("admin", "subject", "add", "GROUP:owners", "--json")
    assert result.code == 0
    assert "unverified" not in result.err
    assert "storeVerified" not in result.out


def test_error_is_not_marked(workspace: CliWorkspace) -> None:
    result = workspace.run("developer", "show", "missing", "--json")
    assert result.code == 4
    assert "unverified" not in result.err
    assert set(result.value) == {"error"}


def test_unrelated_command_is_not_marked(workspace: CliWorkspace) -> None:
    result = workspace.run("developer", "profile", "list", "--json")
    assert "unverified" not in result.err
    assert "storeVerified" not in result.out


def test_exported_log_is_marked_on_stderr(workspace: CliWorkspace, tmp_path: Path) -> None:
    result = workspace.run("auditor", "audit", "export", "--format", "jsonl", "--out", tmp_path / "log.jsonl")
    assert (result.code, UNVERIFIED_NOTE in result.err) == (0, True), result
    assert "storeVerified" not in (tmp_path / "log.jsonl").read_text()
