"""Fixtures: a workspace of people with one device configuration, created once per session and copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client_kinds import create_test_workspace
from tests.support.workspace_copies import copy_workspace, create_template


@pytest.fixture(scope="session")
def client_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_template(tmp_path_factory, create_test_workspace)


@pytest.fixture
def folder(client_workspace: Path, tmp_path: Path) -> Path:
    return copy_workspace(client_workspace, tmp_path / "workspace")
