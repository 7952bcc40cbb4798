"""Fixtures: a workspace with keys, created once per session and copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealyard.model.keys import KeyInfo
from tests.support.worker_harness import WorkerWorkspace, create_test_workspace


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, KeyInfo]]:
    root = tmp_path_factory.mktemp("template") / "workspace"
    return root, create_test_workspace(root)


@pytest.fixture
def workspace(tmp_path: Path, workspace_template: tuple[Path, dict[str, KeyInfo]]) -> WorkerWorkspace:
    root, keys = workspace_template
    shutil.copytree(root, tmp_path / "workspace")
    return WorkerWorkspace(tmp_path / "workspace", keys)
