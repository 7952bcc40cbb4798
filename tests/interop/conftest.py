"""Fixtures of the interop tests."""

from __future__ import annotations

import pytest

from tests.support.node import Node, require_node
from tests.support.server_fixtures import anyio_backend, folder, workspace_template

__all__ = ["anyio_backend", "folder", "node", "workspace_template"]


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with all packages of ``package.json``."""
    return require_node("@redocly/cli", "eventsource", "oidc-provider", "openapi-typescript", "tus-js-client")
