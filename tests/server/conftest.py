"""A founded workspace, made once, and copies of it to serve."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.server_harness import copy_workspace, create_test_workspace


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("founded") / "yard"
    asyncio.run(create_test_workspace(folder))
    return folder


@pytest.fixture
def folder(founded: Path, tmp_path: Path) -> Path:
    return copy_workspace(founded, tmp_path / "yard")
