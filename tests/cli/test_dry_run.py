"""Test `--dry-run` of `package`, `encrypt` and `sign`."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.support.cli_runner import FIRMWARE, CliResult, CliWorkspace

DIGEST = hashlib.sha256(FIRMWARE).hexdigest()


def _snapshot(workspace: CliWorkspace) -> dict[str, bytes]:
    """Return all files of the workspace."""
    return {str(path): path.read_bytes() for path in workspace.folder.rglob("*") if path.is_file()}


def _package(workspace: CliWorkspace, firmware: Path, *options: object) -> CliResult:
    return workspace.run("developer", "package", "--dry-run", "--device", "gateway", "--firmware", firmware, *options)


def test_dry_run_changes_no_file_of_workspace(
    workspace: CliWorkspace, firmware: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs no passphrase either, because it starts no worker."""
    monkeypatch.delenv("SEALYARD_PASSPHRASE")
    before = _snapshot(workspace)
    assert _package(workspace, firmware, "--wait", "--out", firmware.parent / "out").code == 0
    assert workspace.run("developer", "encrypt", "--dry-run", "--device", "gateway", firmware).code == 0
    assert workspace.run("developer", "sign", "--dry-run", "--device", "gateway", "--file", firmware).code == 0
    assert _snapshot(workspace) == before


def test_dry_run_shows_digests_keys_and_approvals(workspace: CliWorkspace, firmware: Path) -> None:
    result = _package(workspace, firmware, "--name", "release 1", "--sha256", DIGEST)
    assert result.code == 0, result
    for text in ("Dry run", "release 1", DIGEST, "AES256_CBC_PKCS7_PAD", "1 required; 1 person can approve"):
        assert text in result.out


def test_json_output_describes_task(workspace: CliWorkspace, firmware: Path) -> None:
    value = _package(workspace, firmware, "--json").value
    assert (value["dryRun"], value["exists"], value["canReachQuorum"], value["eligibleApprovers"]) == (
        True,
        False,
        True,
        1,
    )
    assert value["task"]["inputs"] == [
        {"name": "firmware.bin", "size": len(FIRMWARE), "sha256": DIGEST, "inline": None}
    ]


def test_exit_codes_match_real_run(idle_workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    empty_file = tmp_path / "empty.bin"
    empty_file.touch()
    package = ("package", "--device", "gateway", "--firmware")
    cases: tuple[tuple[str, tuple[object, ...]], ...] = (
        ("owner", (*package, firmware)),
        ("developer", (*package, empty_file)),
        ("developer", (*package, tmp_path / "missing.bin")),
        ("developer", (*package, firmware, "--sha256", "0" * 64)),
        ("developer", (*package, firmware, "--metadata", firmware, *[firmware] * 300)),
        ("developer", ("package", "--device", "unknown", "--firmware", firmware)),
        ("developer", (*package, firmware, "--name", "x" * 201)),
        ("developer", (*package, firmware, "--timeout", "5")),
        ("developer", ("encrypt", "--device", "gateway", firmware, "--encryption-key", "unknown")),
        ("developer", ("sign", "--device", "gateway", "--digest-base64", "AAAA")),
        ("developer", ("sign", "--device", "gateway", "--file", tmp_path / "missing.bin")),
    )
    for profile, arguments in cases:
        dry_run, real_run = (
            idle_workspace.run(profile, *arguments, "--dry-run"),
            idle_workspace.run(profile, *arguments),
        )
        assert dry_run.code == real_run.code != 0, (dry_run, real_run)
        assert dry_run.err == real_run.err


def test_unreachable_quorum_is_warning(workspace: CliWorkspace, firmware: Path) -> None:
    rules = workspace.value("admin", "acl", "list")
    (rule,) = (rule for rule in rules if (rule["subject"], rule["action"]) == ("USER:owner", "APPROVE"))
    workspace.value("admin", "acl", "remove", rule["id"], "--yes")
    result = _package(workspace, firmware)
    assert result.code == 0
    assert "warning: The task could not be approved: it needs 1 approval, and 0 people can approve." in result.err
    assert _package(workspace, firmware, "--json").value["canReachQuorum"] is False


def test_used_client_token_shows_existing_task(workspace: CliWorkspace, firmware: Path) -> None:
    task = workspace.package(firmware, "--client-token", "one")
    result = _package(workspace, firmware, "--client-token", "one")
    assert result.code == 0
    assert f"{task['id']}, with the same --client-token" in result.out
