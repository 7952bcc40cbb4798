"""One workspace, reached in both ways: with the engine in this process, and over HTTP from a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.client_kinds import CLIENT_KINDS, ClientHarness, ClientKind, create_test_workspace


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract") / "workspace"
    asyncio.run(create_test_workspace(folder))
    return folder


@pytest.fixture(params=CLIENT_KINDS)
def yard(request: pytest.FixtureRequest, founded: Path, tmp_path: Path) -> ClientHarness:
    way: ClientKind = request.param
    return ClientHarness(way, founded, tmp_path)
