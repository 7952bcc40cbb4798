"""Fixtures of the client tests: one workspace, used in this process and through a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.client_fixtures import client_workspace, folder
from tests.support.client_kinds import CLIENT_KINDS, ClientHarness, ClientKind

__all__ = ["client_workspace", "folder"]


@pytest.fixture(params=CLIENT_KINDS)
def harness(request: pytest.FixtureRequest, client_workspace: Path, tmp_path: Path) -> ClientHarness:
    kind: ClientKind = request.param
    return ClientHarness(kind, client_workspace, tmp_path)
