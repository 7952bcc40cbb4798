"""Fixtures of the client tests: one workspace, used in this process and through a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.client_kinds import CLIENT_KINDS, ClientHarness, ClientKind, create_test_workspace


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract") / "workspace"
    asyncio.run(create_test_workspace(folder))
    return folder


@pytest.fixture(params=CLIENT_KINDS)
def harness(request: pytest.FixtureRequest, workspace_template: Path, tmp_path: Path) -> ClientHarness:
    kind: ClientKind = request.param
    return ClientHarness(kind, workspace_template, tmp_path)
