"""Fixtures of the interop tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.node import Node, require_node
from tests.support.server_harness import copy_workspace, create_test_workspace


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def workspace_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template") / "workspace"
    asyncio.run(create_test_workspace(folder))
    return folder


@pytest.fixture
def folder(workspace_template: Path, tmp_path: Path) -> Path:
    return copy_workspace(workspace_template, tmp_path / "workspace")


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with all packages of ``package.json``."""
    return require_node("@redocly/cli", "eventsource", "oidc-provider", "openapi-typescript", "tus-js-client")
