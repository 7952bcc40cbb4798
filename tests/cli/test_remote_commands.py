"""Test the commands against a server."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.keys import file_keyring
from tests.support.cli_runner import FIRMWARE, PEOPLE, CliWorkspace, sealyard, start_process, value_of, wait_until
from tests.support.key_holders import LOW_COST
from tests.support.limits import TIMEOUT
from tests.support.served_workspace import ServedWorkspace


@pytest.fixture
def server(workspace: CliWorkspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedWorkspace]:
    """Serve the workspace, and log every user in under a profile of the same name."""
    with _serve(workspace) as running:
        _log_in(running, monkeypatch)
        yield running


@pytest.fixture(scope="module")
def module_server(
    workspace_template: CliWorkspace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServedWorkspace]:
    folder = tmp_path_factory.mktemp("served") / "workspace"
    shutil.copytree(workspace_template.folder, folder)
    with _serve(CliWorkspace(folder, done=workspace_template.done, waiting=workspace_template.waiting)) as running:
        yield running


@pytest.fixture
def shared_server(module_server: ServedWorkspace, monkeypatch: pytest.MonkeyPatch) -> ServedWorkspace:
    """Like ``server``, for tests that change none of the existing tasks and rules."""
    _log_in(module_server, monkeypatch)
    return module_server


@contextmanager
def _serve(workspace: CliWorkspace) -> Iterator[ServedWorkspace]:
    running = ServedWorkspace(workspace.folder)
    try:
        running.start()
        yield running
    finally:
        running.close()


def _log_in(running: ServedWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_keyring, "DEFAULT_COST", LOW_COST)
    monkeypatch.delenv("SEALYARD_TOKEN", raising=False)
    for name in PEOPLE:
        monkeypatch.setattr("sys.stdin", io.StringIO(running.token(f"USER:{name}")))
        value_of("login", running.url, "--name", name)


def _list_files(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_file()]


def _run_as(profile: str, *arguments: object) -> Any:
    return value_of("--profile", profile, *arguments)


def test_package_is_approved_and_downloaded(shared_server: ServedWorkspace, firmware: Path, tmp_path: Path) -> None:
    task = _run_as("developer", "package", "--device", "gateway", "--firmware", firmware, "--name", "over the wire")
    assert task["status"] == "WAITING"
    assert task["id"] in [each["id"] for each in _run_as("owner", "tasks", "--awaiting-approval")]
    assert _run_as("owner", "show", task["id"])["blockedReason"] == ""
    approved = _run_as("owner", "approve", task["id"], "--digest", task["approvalDigest"])
    assert approved["status"] == "DONE"
    downloads = _run_as("developer", "download", task["id"], "--out", tmp_path / "out")
    container = Path(downloads[0]["downloaded"]["path"])
    assert downloads[0]["downloaded"]["checked"] == "signature"

    certificate, key = tmp_path / "signer.pem", tmp_path / "device.key"
    certificate.write_text(_run_as("developer", "device", "certificates", "gateway")[0]["certificate"])
    _run_as("admin", "device", "export-key", "gateway", "--out", key, "--yes")
    extracted = value_of("extract", container, "--certificate", certificate, "--key", key, "--out", tmp_path / "opened")
    assert extracted
    assert (tmp_path / "opened" / "segment-0.bin").read_bytes() == FIRMWARE


def test_encryption_result_is_downloaded(shared_server: ServedWorkspace, firmware: Path, tmp_path: Path) -> None:
    done = _run_as("developer", "encrypt", firmware, "--device", "gateway", "--out", tmp_path / "out")
    assert done["status"] == "DONE"
    assert [each.stat().st_size for each in _list_files(tmp_path / "out")] == [done["result"]["size"]]
    task = _run_as("developer", "encrypt", firmware, "--device", "gateway", "--no-wait")
    assert _run_as("developer", "wait", task["id"])["status"] == "DONE"


def test_decisions_change_task_status(server: ServedWorkspace, workspace: CliWorkspace, firmware: Path) -> None:
    assert sealyard("--profile", "developer", "approve", workspace.waiting).code == 3
    arguments = ("package", "--device", "gateway", "--firmware", firmware)
    first, second = _run_as("developer", *arguments), _run_as("developer", *arguments)
    assert _run_as("owner", "reject", first["id"], "--reason", "too old")["status"] == "CANCELLED"
    assert _run_as("developer", "withdraw", second["id"], "--reason", "mine")["status"] == "CANCELLED"
    assert _run_as("developer", "cancel", workspace.waiting)["status"] == "CANCELLED"
    assert _run_as("developer", "renew", workspace.done)["result"]["state"] == "AVAILABLE"


def test_audit_log_is_verified_and_exported(shared_server: ServedWorkspace, tmp_path: Path) -> None:
    assert _run_as("auditor", "audit", "list", "--limit", "2")["next"] is not None
    assert _run_as("auditor", "audit", "verify")["size"] > 10
    _run_as("auditor", "audit", "export", "--format", "csv", "--out", tmp_path / "log.csv")
    assert (tmp_path / "log.csv").read_text().startswith('"seq"')
    assert sealyard("--profile", "developer", "audit", "list").code == 3


def test_subjects_rules_and_policy_are_editable(server: ServedWorkspace) -> None:
    assert _run_as("admin", "subject", "add", "anna")["id"] == "USER:anna"
    rule = _run_as("admin", "acl", "add", "USER:anna", "RESOURCE_TYPE:KEY", "VIEW")
    assert _run_as("admin", "acl", "remove", rule["id"]) == {"removed": rule["id"]}
    assert _run_as("admin", "policy", "set", "--approval", "none")["requiresApproval"] == []
    assert _run_as("developer", "device", "show", "gateway")["name"] == "gateway"
    assert sealyard("--profile", "owner", "subject", "list").code == 3


def test_unlink_removes_issuer_account(shared_server: ServedWorkspace) -> None:
    shared_server.sign_in("USER:auditor", "a1")
    assert sealyard("--profile", "developer", "subject", "unlink", "auditor").code == 3
    assert _run_as("admin", "subject", "unlink", "auditor") == {"unlinked": "USER:auditor"}
    assert sealyard("--profile", "admin", "subject", "unlink", "auditor").code == 4
    shared_server.sign_in("USER:auditor", "a2")


def test_wait_survives_server_restarts(shared_server: ServedWorkspace, firmware: Path, tmp_path: Path) -> None:
    arguments = ("package", "--device", "gateway", "--firmware", firmware, "--name", "patient", "--wait")
    with start_process("--profile", "developer", *arguments, "--out", tmp_path / "out", "--json") as process:
        wait_until(lambda: _find_waiting("patient") is not None)
        shared_server.stop()
        shared_server.start()
        task = _find_waiting("patient")
        assert task is not None
        shared_server.stop()
        shared_server.start()
        _run_as("owner", "approve", task["id"], "--no-wait")
        out, err = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, err
    assert json.loads(out)["status"] == "DONE"
    assert len(_list_files(tmp_path / "out")) == 1


def _find_waiting(name: str) -> Any:
    listed = _run_as("owner", "tasks", "--awaiting-approval", "--search", name)
    return listed[0] if listed else None


@pytest.mark.parametrize("on_server", [True, False])
def test_wait_exits_with_task_result(
    on_server: bool, workspace: CliWorkspace, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if on_server:
        request.getfixturevalue("shared_server")
    options = ("--profile", "developer") if on_server else ("--workspace", workspace.folder, "--profile", "developer")
    assert value_of(*options, "wait", workspace.done, "--out", tmp_path / "out")["status"] == "DONE"
    assert len(_list_files(tmp_path / "out")) == 1
    result = sealyard(*options, "wait", workspace.waiting, "--timeout", "0.2")
    assert result.code == 5
    assert workspace.waiting in result.out


def test_dry_run_stores_nothing_on_server(server: ServedWorkspace, workspace: CliWorkspace, firmware: Path) -> None:
    tasks, files = _run_as("developer", "tasks"), workspace.files()
    audit_size = _run_as("auditor", "audit", "verify")["size"]
    package = ("package", "--dry-run", "--device", "gateway", "--firmware", firmware)
    assert _run_as("developer", *package)["task"]["approvalsRequired"] == 1
    assert _run_as("developer", "encrypt", "--dry-run", "--device", "gateway", firmware)["eligibleApprovers"] == 1
    assert _run_as("developer", "sign", "--dry-run", "--device", "gateway", "--file", firmware)["dryRun"] is True
    assert _run_as("developer", "tasks") == tasks
    assert workspace.files() == files
    assert _run_as("auditor", "audit", "verify")["size"] == audit_size
    assert sealyard("--profile", "owner", *package).code == 3


def test_download_url_needs_no_token(shared_server: ServedWorkspace, workspace: CliWorkspace, tmp_path: Path) -> None:
    (downloaded,) = _run_as("developer", "download", workspace.done, "--out", tmp_path / "one")
    waited = _run_as("developer", "wait", workspace.done, "--out", tmp_path / "two")
    for value in (downloaded, waited):
        response = httpx.get(value["downloadUrl"])
        assert hashlib.sha256(response.content).hexdigest() == value["downloaded"]["sha256"]
    assert _run_as("developer", "wait", workspace.done)["downloadUrl"] == waited["downloadUrl"]
