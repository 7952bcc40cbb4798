"""Fixtures of the client tests: one workspace, used in this process and through a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client_fixtures import client_workspace, folder
from tests.support.client_kinds import CLIENT_KINDS, ClientHarness, ClientKind, SharedHarness

__all__ = ["client_workspace", "folder"]


@pytest.fixture(params=CLIENT_KINDS)
def harness(request: pytest.FixtureRequest, client_workspace: Path, tmp_path: Path) -> ClientHarness:
    kind: ClientKind = request.param
    return ClientHarness(kind, client_workspace, tmp_path)


@pytest.fixture(scope="module", params=CLIENT_KINDS)
def shared_harness(
    request: pytest.FixtureRequest, client_workspace: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClientHarness]:
    kind: ClientKind = request.param
    harness = SharedHarness(kind, client_workspace, tmp_path_factory.mktemp("shared"))
    yield harness
    harness.close()
