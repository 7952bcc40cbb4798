"""Fixtures: the keys of a zone, its bus database and its object store. They are skipped without PostgreSQL or S3."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.worker_fixtures import workspace, workspace_template

_REQUIRED = ("boto3", "procrastinate", "psycopg")

if os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1" or all(map(importlib.util.find_spec, _REQUIRED)):
    from sealyard.model.keys import KeyInfo
    from tests.support.bus_database import BusDatabase, create_bus_database
    from tests.support.object_store import TestBucket
    from tests.support.object_store_fixtures import bucket, ministack
    from tests.support.postgres import PostgresServer
    from tests.support.postgres_fixtures import postgres_server
    from tests.support.scripted_engine import ScriptedEngine
    from tests.support.worker_fixtures import workspace, workspace_template
    from tests.support.worker_harness import WorkerWorkspace, create_test_workspace

    __all__ = ["bucket", "ministack", "postgres_server", "workspace", "workspace_template"]

    @pytest.fixture
    def anyio_backend() -> str:
        return "asyncio"

    @pytest.fixture(scope="session")
    def zone_keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, KeyInfo]]:
        folder = tmp_path_factory.mktemp("zone-keys")
        return folder / "keys", create_test_workspace(folder)

    @pytest.fixture
    def bus(postgres_server: PostgresServer) -> Iterator[BusDatabase]:
        yield create_bus_database(postgres_server)
        postgres_server.drop_databases()

    @pytest.fixture
    async def engine(bus: BusDatabase, bucket: TestBucket, tmp_path: Path) -> AsyncIterator[ScriptedEngine]:
        artifacts = bucket.open(tmp_path / "engine-artifacts")
        async with ScriptedEngine.open(bus, artifacts) as engine:
            yield engine

    @pytest.fixture
    def jobs(engine: ScriptedEngine, tmp_path: Path, zone_keys: tuple[Path, dict[str, KeyInfo]]) -> WorkerWorkspace:
        """A factory of jobs, whose inputs are stored in the object store."""
        return engine.create_jobs(tmp_path / "engine", zone_keys[1])
else:
    collect_ignore_glob = ["test_*.py"]
