"""Fixtures of the interop tests."""

from __future__ import annotations

import pytest

from tests.support.node import Node, require_node


@pytest.fixture(scope="session")
def node() -> Node:
    """Node.js with all packages of ``package.json``."""
    return require_node("@redocly/cli", "eventsource", "oidc-provider", "openapi-typescript", "tus-js-client")
