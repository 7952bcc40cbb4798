"""Test `--json`: each command prints exactly one JSON value."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cli_runner import CliResult, CliWorkspace, sealyard

TASK_FIELDS = {
    *("id", "kind", "status", "name", "configId", "configVersion", "createdBy", "createdAt", "approvals"),
    *("subtasks", "result"),
}

COMMANDS = [
    ("admin", "subject", "list"),
    ("admin", "subject", "add", "GROUP:owners"),
    ("admin", "acl", "list"),
    ("admin", "acl", "add", "USER:auditor", "DEVICE_CONFIG:gateway", "VIEW"),
    ("admin", "policy", "show"),
    ("admin", "policy", "set", "--time-limit", "2h", "--approval", "packaging", "--allow-self-approval", "off"),
    ("admin", "device", "list"),
    ("admin", "device", "show", "gateway"),
    ("admin", "device", "certificates", "gateway"),
    ("admin", "device", "update", "gateway", "--description", "for the lab"),
    ("admin", "key", "list"),
    ("admin", "key", "show", "local:gateway-signing"),
    ("admin", "key", "csr", "local:gateway-signing"),
    ("admin", "key", "rotate", "local:gateway-encryption"),
    ("auditor", "audit", "list"),
    ("auditor", "audit", "verify"),
    ("developer", "tasks"),
    ("developer", "profile", "list"),
    ("developer", "download", "--all"),
    ("admin", "webhook", "list"),
    ("admin", "webhook", "dead-letters"),
    ("developer", "token", "list"),
    ("developer", "otp", "status"),
    ("developer", "config", "path"),
    ("developer", "config", "show"),
    ("developer", "config", "schema"),
    ("developer", "config", "example"),
    ("developer", "help", "exit-codes"),
    ("developer", "completion", "bash"),
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_command_prints_one_json_value(module_workspace: CliWorkspace, arguments: tuple[str, ...]) -> None:
    profile, *command = arguments
    result = module_workspace.run(profile, *command, "--json")
    assert result.code == 0, result
    assert json.loads(result.out) is not None
    assert result.out.isascii()


def test_task_contains_documented_fields(workspace: CliWorkspace) -> None:
    done, waiting = (
        workspace.value("developer", "show", workspace.done),
        workspace.value("developer", "show", workspace.waiting),
    )
    listed = workspace.value("developer", "tasks")
    for value in (done, waiting, *listed):
        assert set(value) >= TASK_FIELDS
    assert set(done["result"]) >= {"state", "link", "expiresAt", "sha256", "size", "signature"}
    assert waiting["result"] is None
    assert done["kind"] == "packaging"


@pytest.mark.parametrize("position", ["before", "between", "after"])
def test_global_options_work_in_any_position(workspace: CliWorkspace, position: str) -> None:
    options = ("--workspace", workspace.folder, "--profile", "developer", "--json")
    arguments: tuple[object, ...] = {
        "before": (*options, "device", "list"),
        "between": ("device", *options, "list"),
        "after": ("device", "list", *options),
    }[position]
    result = sealyard(*arguments)
    assert result.code == 0
    assert [each["name"] for each in result.value] == ["gateway"]


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        ("usage", ("tasks", "--status", "LOST")),
        ("usage", ("fly",)),
        ("not-found", ("show", "nowhere")),
        ("not-allowed", ("audit", "verify")),
        ("input", ("encrypt", "--device", "gateway", "/nowhere/at/all")),
    ],
)
def test_error_is_one_json_value(module_workspace: CliWorkspace, code: str, arguments: tuple[str, ...]) -> None:
    result: CliResult = module_workspace.run("developer", *arguments, "--json")
    assert result.code != 0
    assert set(result.value["error"]) == {"code", "message", "hint", "hintCode", "hintArgs"}
    assert result.value["error"]["code"] == code


def test_downloads_report_individual_results(module_workspace: CliWorkspace, tmp_path: Path) -> None:
    result = module_workspace.run(
        "developer", "download", module_workspace.done, "nowhere", "--out", tmp_path / "down", "--json"
    )
    assert result.code == 4
    assert [each["downloaded"] is not None for each in result.value] == [True, False]
    assert result.value[1]["error"]["code"] == "not-found"


def test_audit_page_returns_next_cursor(workspace: CliWorkspace) -> None:
    first = workspace.value("auditor", "audit", "list", "--limit", "3")
    second = workspace.value("auditor", "audit", "list", "--limit", "3", "--before-seq", first["next"])
    seqs = [each["seq"] for page in (first, second) for each in page["entries"]]
    assert seqs == sorted(seqs, reverse=True)
    assert len(set(seqs)) == 6
