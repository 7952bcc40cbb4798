"""A workspace with keys for each test, made once and copied."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sealyard.model.keys import KeyInfo
from tests.support.worker_harness import WorkerWorkspace, create_test_workspace


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, KeyInfo]]:
    root = tmp_path_factory.mktemp("founded") / "workspace"
    return root, create_test_workspace(root)


@pytest.fixture
def house(tmp_path: Path, founded: tuple[Path, dict[str, KeyInfo]]) -> WorkerWorkspace:
    root, keys = founded
    shutil.copytree(root, tmp_path / "workspace")
    return WorkerWorkspace(tmp_path / "workspace", keys)
