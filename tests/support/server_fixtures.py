"""Fixtures: the asyncio backend, and a test workspace of a server, created once and copied for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.server_harness import create_test_workspace
from tests.support.workspace_copies import copy_workspace, create_template


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return create_template(tmp_path_factory, create_test_workspace)


@pytest.fixture
def folder(workspace_template: Path, tmp_path: Path) -> Path:
    return copy_workspace(workspace_template, tmp_path / "workspace")


@pytest.fixture(scope="module")
def shared_folder(workspace_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for a server that all tests of a module use. They do not rely on what the workspace contains."""
    return copy_workspace(workspace_template, tmp_path_factory.mktemp("shared") / "workspace")
