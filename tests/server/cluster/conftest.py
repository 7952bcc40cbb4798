"""Fixtures: a workspace in a database, created once and copied for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.cluster_harness import (
    TEMPLATE,
    ClusterNode,
    ClusterTemplate,
    ClusterWorkspace,
    create_cluster_template,
    run_nodes,
)
from tests.support.postgres import PostgresServer
from tests.support.postgres_fixtures import postgres_server

__all__ = ["postgres_server"]


@pytest.fixture(scope="session")
def cluster_template(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> ClusterTemplate:
    return asyncio.run(create_cluster_template(postgres_server, tmp_path_factory.mktemp("cluster") / "workspace"))


@pytest.fixture
def workspace(
    cluster_template: ClusterTemplate, postgres_server: PostgresServer, tmp_path: Path
) -> Iterator[ClusterWorkspace]:
    database = postgres_server.create_database(TEMPLATE)
    yield ClusterWorkspace(cluster_template, database, tmp_path)
    postgres_server.drop_databases()


@pytest.fixture
async def nodes(workspace: ClusterWorkspace, anyio_backend: str) -> AsyncIterator[list[ClusterNode]]:
    """Yield an active server and a standby that run in this process."""
    async with run_nodes(workspace, "first", "second") as nodes:
        yield nodes
