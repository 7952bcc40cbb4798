"""One workspace, reached in both ways: with the engine in this process, and over HTTP from a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.client_kinds import WAYS, Way, Yard, found


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract") / "workspace"
    asyncio.run(found(folder))
    return folder


@pytest.fixture(params=WAYS)
def yard(request: pytest.FixtureRequest, founded: Path, tmp_path: Path) -> Yard:
    way: Way = request.param
    return Yard(way, founded, tmp_path)
