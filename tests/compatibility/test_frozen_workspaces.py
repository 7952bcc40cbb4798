"""Test that this version opens, verifies and continues the workspaces of earlier versions."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.model.workspace import WorkspacePaths
from tests.compatibility.freeze import FROZEN, INPUTS
from tests.compatibility.installation import CommandError, Installation
from tests.support.cli_runner import sealyard

ARCHIVES = sorted(FROZEN.glob("*.tar.gz"))
SEALYARD = Path(sys.executable).parent / "sealyard"


class FrozenInstallation(Installation):
    """This version on the files of an earlier one. ``record``: what the earlier version stored."""

    def __init__(self, root: Path, archive: Path) -> None:
        super().__init__(root, SEALYARD)
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
        self.record: dict[str, Any] = json.loads((root / "record.json").read_text())
        profiles = tuple(Profile(name=user, identity=f"USER:{user}") for user in ("admin", "dev", "owner"))
        write_profiles(WorkspacePaths(root / "workspace").profiles, ProfileFile(profiles=profiles))

    def run_text(self, *arguments: str) -> str:
        """Run a command of this version in this process."""
        with patch.dict(os.environ, self.environment, clear=True):
            result = sealyard(*arguments)
        if result.code:
            raise CommandError(f"`sealyard {' '.join(arguments)}` exited with {result.code}: {result.err}")
        return result.out

    def statuses(self) -> dict[str, str]:
        return {task["id"]: task["status"] for task in self.run("--profile", "admin", "tasks")}


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.gz"))
def archive(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


@pytest.fixture(scope="module")
def frozen(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> FrozenInstallation:
    """Return an installation that several tests use, which change no task."""
    return FrozenInstallation(tmp_path_factory.mktemp("frozen"), archive)


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


def test_frozen_workspace_continues(archive: Path, tmp_path: Path) -> None:
    """The waiting task is approved and packaged with the old keys; the container holds the old files."""
    frozen = FrozenInstallation(tmp_path, archive)
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
