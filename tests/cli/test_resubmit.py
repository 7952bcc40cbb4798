"""Test justifications, `resubmit`, and the statuses REJECTED and WITHDRAWN on the command line."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import CliWorkspace, run_engine


@pytest.fixture
def rejected(shared_workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> Any:
    """A package with metadata and a justification that the owner rejected."""
    return _create_rejected(shared_workspace, firmware, tmp_path)


def _create_rejected(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> Any:
    metadata = tmp_path / "version.json"
    metadata.write_text("{}")
    options = ("--metadata", metadata, "--name", "release 1", "--justification", "fixes the watchdog")
    task = workspace.package(firmware, *options)
    return workspace.value("owner", "reject", task["id"], "--reason", "wrong version")


def test_show_prints_justification(shared_workspace: CliWorkspace, rejected: Any) -> None:
    result = shared_workspace.run("owner", "show", rejected["id"])
    assert re.search(r"^justification +fixes the watchdog$", result.out, re.M)
    assert shared_workspace.value("owner", "show", rejected["id"])["justification"] == "fixes the watchdog"


def test_justification_is_escaped(shared_workspace: CliWorkspace, firmware: Path) -> None:
    task = shared_workspace.package(firmware, "--justification", "\x1b]2;title\x07 \u202e")
    assert "justification     \\x1b]2;title\\x07 \\u202e" in shared_workspace.run("owner", "show", task["id"]).out


def test_status_of_ended_tasks(running_workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    rejected = _create_rejected(running_workspace, firmware, tmp_path)
    withdrawn = running_workspace.value("developer", "withdraw", running_workspace.waiting, "--reason", "not needed")
    assert (rejected["status"], rejected["detailedStatus"]) == ("CANCELLED", "REJECTED")
    assert (withdrawn["status"], withdrawn["detailedStatus"]) == ("CANCELLED", "WITHDRAWN")
    for status, ids in (
        ("rejected", [rejected["id"]]),
        ("WITHDRAWN", [running_workspace.waiting]),
        ("cancelled", [rejected["id"], running_workspace.waiting]),
    ):
        listed = running_workspace.value("developer", "tasks", "--status", status)
        assert [each["id"] for each in listed] == ids
    table = running_workspace.run("developer", "tasks", "--status", "rejected").out
    assert "REJECTED" in table
    assert "Rejected by USER:owner: wrong version" in table
    unknown = running_workspace.run("developer", "tasks", "--status", "refused")
    assert (unknown.code, "REJECTED" in unknown.err) == (2, True)


def test_resubmit_uploads_same_files(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> None:
    with run_engine(workspace.folder, work=False):
        rejected = _create_rejected(workspace, firmware, tmp_path)
    task = workspace.value("developer", "resubmit", rejected["id"][:6])
    assert task["resubmissionOf"] == rejected["id"]
    for field in ("name", "inputs", "metadata", "justification", "contentType", "configId"):
        assert task[field] == rejected[field]
    shown = workspace.run("owner", "show", task["id"]).out
    assert f"resubmission of   {rejected['id']} release 1, REJECTED: Rejected by USER:owner: wrong version" in shown
    assert workspace.value("owner", "show", task["id"])["resubmitted"]["detailedStatus"] == "REJECTED"


def test_resubmit_replaces_file_with_same_name(shared_workspace: CliWorkspace, rejected: Any, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed" / "firmware.bin"
    fixed.parent.mkdir()
    fixed.write_bytes(b"fixed")
    options = ("--file", fixed, "--name", "release 2", "--justification", "rebuilt")
    task = shared_workspace.value("developer", "resubmit", rejected["id"], *options)
    assert task["inputs"][0]["size"] == 5
    assert task["metadata"] == rejected["metadata"]
    assert (task["name"], task["justification"]) == ("release 2", "rebuilt")


def test_resubmit_names_missing_files(
    shared_workspace: CliWorkspace, rejected: Any, firmware: Path, tmp_path: Path
) -> None:
    firmware.unlink()
    (tmp_path / "version.json").unlink()
    result = shared_workspace.run("developer", "resubmit", rejected["id"])
    assert (result.code, "Not found on this machine: firmware.bin, version.json." in result.err) == (1, True)
    assert "--file" in result.err


def test_resubmit_detects_changed_file(shared_workspace: CliWorkspace, rejected: Any, firmware: Path) -> None:
    firmware.write_bytes(bytes(firmware.stat().st_size))
    result = shared_workspace.run("developer", "resubmit", rejected["id"])
    assert (result.code, "firmware.bin has changed since the earlier task" in result.err) == (1, True)
    assert shared_workspace.value("developer", "resubmit", rejected["id"], "--file", firmware)["status"] == "WAITING"


def test_resubmit_rejects_unknown_file_name(shared_workspace: CliWorkspace, rejected: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"x")
    result = shared_workspace.run("developer", "resubmit", rejected["id"], "--file", other)
    assert (result.code, "no file named other.bin" in result.err) == (2, True)


def test_waiting_task_cannot_be_resubmitted(shared_workspace: CliWorkspace, firmware: Path) -> None:
    result = shared_workspace.run("developer", "resubmit", shared_workspace.waiting, "--file", firmware)
    assert (result.code, "cannot be submitted again" in result.err) == (2, True)


@pytest.mark.parametrize("size", [20, 10_000])
def test_signing_task_is_resubmitted(shared_workspace: CliWorkspace, tmp_path: Path, size: int) -> None:
    message = tmp_path / "message.bin"
    message.write_bytes(os.urandom(size))
    task = shared_workspace.value(
        "developer", "sign", "--device", "gateway", "--file", message, "--justification", "nonce"
    )
    shared_workspace.value("developer", "withdraw", task["id"], "--reason", "too early")
    again = shared_workspace.value("developer", "resubmit", task["id"])
    assert (again["kind"], again["inputs"], again["justification"]) == ("signing", task["inputs"], "nonce")
    if size < 1000:
        assert base64.b64decode(again["inputs"][0]["inline"]) == message.read_bytes()


def test_cancelled_encryption_is_resubmitted(workspace: CliWorkspace, firmware: Path) -> None:
    with run_engine(workspace.folder, work=False):
        task = workspace.value("developer", "encrypt", firmware, "--device", "gateway", "--no-wait")
        workspace.value("developer", "cancel", task["id"])
    again = workspace.value("developer", "resubmit", task["id"])
    assert (again["kind"], again["status"], again["resubmissionOf"]) == ("encryption", "DONE", task["id"])
