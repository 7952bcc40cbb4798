"""Test justifications, `resubmit`, and the statuses REJECTED and WITHDRAWN on the command line."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import CliWorkspace


@pytest.fixture
def rejected(workspace: CliWorkspace, firmware: Path, tmp_path: Path) -> Any:
    """A package with metadata and a justification that the owner rejected."""
    metadata = tmp_path / "version.json"
    metadata.write_text("{}")
    options = ("--metadata", metadata, "--name", "release 1", "--justification", "fixes the watchdog")
    task = workspace.package(firmware, *options)
    return workspace.value("owner", "reject", task["id"], "--reason", "wrong version")


def test_show_prints_justification(workspace: CliWorkspace, rejected: Any) -> None:
    result = workspace.run("owner", "show", rejected["id"])
    assert re.search(r"^justification +fixes the watchdog$", result.out, re.M)
    assert workspace.value("owner", "show", rejected["id"])["justification"] == "fixes the watchdog"


def test_justification_is_escaped(workspace: CliWorkspace, firmware: Path) -> None:
    task = workspace.package(firmware, "--justification", "\x1b]2;title\x07 \u202e")
    assert "justification     \\x1b]2;title\\x07 \\u202e" in workspace.run("owner", "show", task["id"]).out


def test_status_of_ended_tasks(workspace: CliWorkspace, rejected: Any) -> None:
    withdrawn = workspace.value("developer", "withdraw", workspace.waiting, "--reason", "not needed")
    assert (rejected["status"], rejected["detailedStatus"]) == ("CANCELLED", "REJECTED")
    assert (withdrawn["status"], withdrawn["detailedStatus"]) == ("CANCELLED", "WITHDRAWN")
    for status, ids in (
        ("rejected", [rejected["id"]]),
        ("WITHDRAWN", [workspace.waiting]),
        ("cancelled", [rejected["id"], workspace.waiting]),
    ):
        listed = workspace.value("developer", "tasks", "--status", status)
        assert [each["id"] for each in listed] == ids
    table = workspace.run("developer", "tasks", "--status", "rejected").out
    assert "REJECTED" in table
    assert "Rejected by USER:owner: wrong version" in table
    unknown = workspace.run("developer", "tasks", "--status", "refused")
    assert (unknown.code, "REJECTED" in unknown.err) == (2, True)


def test_resubmit_uploads_same_files(workspace: CliWorkspace, rejected: Any) -> None:
    task = workspace.value("developer", "resubmit", rejected["id"][:6])
    assert task["resubmissionOf"] == rejected["id"]
    for field in ("name", "inputs", "metadata", "justification", "contentType", "configId"):
        assert task[field] == rejected[field]
    shown = workspace.run("owner", "show", task["id"]).out
    assert f"resubmission of   {rejected['id']} release 1, REJECTED: Rejected by USER:owner: wrong version" in shown
    assert workspace.value("owner", "show", task["id"])["resubmitted"]["detailedStatus"] == "REJECTED"


def test_resubmit_replaces_file_with_same_name(workspace: CliWorkspace, rejected: Any, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed" / "firmware.bin"
    fixed.parent.mkdir()
    fixed.write_bytes(b"fixed")
    options = ("--file", fixed, "--name", "release 2", "--justification", "rebuilt")
    task = workspace.value("developer", "resubmit", rejected["id"], *options)
    assert task["inputs"][0]["size"] == 5
    assert task["metadata"] == rejected["metadata"]
    assert (task["name"], task["justification"]) == ("release 2", "rebuilt")


def test_resubmit_names_missing_files(workspace: CliWorkspace, rejected: Any, firmware: Path, tmp_path: Path) -> None:
    firmware.unlink()
    (tmp_path / "version.json").unlink()
    result = workspace.run("developer", "resubmit", rejected["id"])
    assert (result.code, "Not found on this machine: firmware.bin, version.json." in result.err) == (1, True)
    assert "--file" in result.err


def test_resubmit_detects_changed_file(workspace: CliWorkspace, rejected: Any, firmware: Path) -> None:
    firmware.write_bytes(bytes(firmware.stat().st_size))
    result = workspace.run("developer", "resubmit", rejected["id"])
    assert (result.code, "firmware.bin has changed since the earlier task" in result.err) == (1, True)
    assert workspace.value("developer", "resubmit", rejected["id"], "--file", firmware)["status"] == "WAITING"


def test_resubmit_rejects_unknown_file_name(workspace: CliWorkspace, rejected: Any, tmp_path: Path) -> None:
    other = tmp_path / "other.bin"
    other.write_bytes(b"x")
    result = workspace.run("developer", "resubmit", rejected["id"], "--file", other)
    assert (result.code, "no file named other.bin" in result.err) == (2, True)


def test_waiting_task_cannot_be_resubmitted(workspace: CliWorkspace, firmware: Path) -> None:
    result = workspace.run("developer", "resubmit", workspace.waiting, "--file", firmware)
    assert (result.code, "cannot be submitted again" in result.err) == (2, True)


@pytest.mark.parametrize("size", [20, 10_000])
def test_signing_task_is_resubmitted(workspace: CliWorkspace, tmp_path: Path, size: int) -> None:
    message = tmp_path / "message.bin"
    message.write_bytes(os.urandom(size))
    task = workspace.value("developer", "sign", "--device", "gateway", "--file", message, "--justification", "nonce")
    workspace.value("developer", "withdraw", task["id"], "--reason", "too early")
    again = workspace.value("developer", "resubmit", task["id"])
    assert (again["kind"], again["inputs"], again["justification"]) == ("signing", task["inputs"], "nonce")
    if size < 1000:
        assert base64.b64decode(again["inputs"][0]["inline"]) == message.read_bytes()


def test_cancelled_encryption_is_resubmitted(workspace: CliWorkspace, firmware: Path) -> None:
    task = workspace.value("developer", "encrypt", firmware, "--device", "gateway", "--no-wait")
    workspace.value("developer", "cancel", task["id"])
    again = workspace.value("developer", "resubmit", task["id"])
    assert (again["kind"], again["status"], again["resubmissionOf"]) == ("encryption", "DONE", task["id"])
