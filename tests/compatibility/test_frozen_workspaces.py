"""Test that this version opens, verifies and continues the workspaces of earlier versions."""

from __future__ import annotations

import hashlib
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.freeze import FROZEN, INPUTS
from tests.compatibility.installation import Installation

ARCHIVES = sorted(FROZEN.glob("*.tar.gz"))
SEALYARD = Path(sys.executable).parent / "sealyard"


class FrozenInstallation(Installation):
    """This version on the files of an earlier one. ``record``: what the earlier version stored."""

    def __init__(self, root: Path, archive: Path) -> None:
        super().__init__(root, SEALYARD)
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
        self.record: dict[str, Any] = json.loads((root / "record.json").read_text())
        for user in ("admin", "dev", "owner"):
            self.run("profile", "add", user, "--identity", f"USER:{user}")

    def statuses(self) -> dict[str, str]:
        return {task["id"]: task["status"] for task in self.run("--profile", "admin", "tasks")}


@pytest.fixture(params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> FrozenInstallation:
    return FrozenInstallation(tmp_path, request.param)


def test_archives_cover_all_storage_formats() -> None:
    names = [path.name.removesuffix(".tar.gz") for path in ARCHIVES]
    assert names == ["2026-11-authenticated-store", "2026-11-before-key-holder", "2026-11-key-holder"]


def test_frozen_tasks_keep_their_state(frozen: FrozenInstallation) -> None:
    assert frozen.statuses() == frozen.record["tasks"]


def test_frozen_audit_log_is_valid(frozen: FrozenInstallation) -> None:
    report = frozen.run("--profile", "admin", "audit", "verify")
    assert report["size"] >= frozen.record["auditEntries"]
    exported = frozen.run_text("--profile", "admin", "audit", "export", "--format", "jsonl").splitlines()
    assert exported[: frozen.record["auditEntries"]] == (frozen.root / "audit.jsonl").read_text().splitlines()


def test_frozen_containers_are_valid(frozen: FrozenInstallation) -> None:
    for name, digest in frozen.record["downloads"].items():
        container = frozen.root / "downloads" / name
        assert hashlib.sha256(container.read_bytes()).hexdigest() == digest
    (container,) = (frozen.root / "downloads").glob("gateway-*")
    frozen.run("verify", str(container), "--certificate", str(frozen.root / "certificates.pem"))


def test_frozen_results_can_be_downloaded(frozen: FrozenInstallation) -> None:
    folder = frozen.root / "again"
    frozen.run("--profile", "dev", "download", *frozen.record["packages"], "--out", str(folder))
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert digests.items() >= frozen.record["downloads"].items()


def test_frozen_workspace_continues(frozen: FrozenInstallation) -> None:
    """The waiting task is approved and packaged with the old keys; the container holds the old files."""
    task = frozen.record["waiting"]
    frozen.run("--profile", "owner", "approve", task)
    assert frozen.statuses()[task] == "DONE"
    folder = frozen.root / "new"
    frozen.run("--profile", "dev", "download", task, "--out", str(folder))
    (container,) = folder.iterdir()
    key = frozen.root / "device.key"
    frozen.run("--profile", "admin", "device", "export-key", "gateway", "--yes", "--out", str(key))
    contents = frozen.root / "contents"
    certificates = frozen.root / "certificates.pem"
    frozen.run("extract", str(container), "--certificate", str(certificates), "--key", str(key), "--out", str(contents))
    extracted = {path.read_bytes() for path in contents.rglob("*") if path.is_file()}
    assert extracted >= {INPUTS["application.bin"], INPUTS["release.json"]}
    frozen.run("--profile", "admin", "audit", "verify")
