"""Fixtures: the keys of a zone, its bus database and its object store. They are skipped without PostgreSQL or S3."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

_REQUIRED = ("boto3", "procrastinate", "psycopg")

if os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1" or all(map(importlib.util.find_spec, _REQUIRED)):
    from tests.support.bus_database import BusDatabase, create_bus_database
    from tests.support.crypto_host import EnrolledHost, RunningHost, copy_host, enroll_host, running_host
    from tests.support.object_store import TestBucket
    from tests.support.object_store_fixtures import bucket, ministack
    from tests.support.postgres import PostgresServer
    from tests.support.postgres_fixtures import postgres_server
    from tests.support.scripted_engine import ScriptedEngine
    from tests.support.worker_harness import WorkerWorkspace

    __all__ = ["bucket", "ministack", "postgres_server"]

    @pytest.fixture
    def anyio_backend() -> str:
        return "asyncio"

    @pytest.fixture(scope="session")
    def enrolled_host(tmp_path_factory: pytest.TempPathFactory) -> EnrolledHost:
        return enroll_host(tmp_path_factory.mktemp("zone"))

    @pytest.fixture
    def bus(postgres_server: PostgresServer) -> Iterator[BusDatabase]:
        yield create_bus_database(postgres_server)
        postgres_server.drop_databases()

    @pytest.fixture
    async def engine(
        bus: BusDatabase, bucket: TestBucket, tmp_path: Path, enrolled_host: EnrolledHost
    ) -> AsyncIterator[ScriptedEngine]:
        async with ScriptedEngine.open(bus, bucket.open(tmp_path / "engine-artifacts")) as engine:
            engine.zone_keys = enrolled_host.public_keys
            yield engine

    @pytest.fixture
    def jobs(engine: ScriptedEngine, tmp_path: Path, enrolled_host: EnrolledHost) -> WorkerWorkspace:
        """A factory of jobs, whose inputs are stored in the object store."""
        return engine.create_jobs(tmp_path / "engine", enrolled_host.keys)

    @pytest.fixture
    async def host(bus: BusDatabase, tmp_path: Path, enrolled_host: EnrolledHost) -> AsyncIterator[RunningHost]:
        async with running_host(copy_host(enrolled_host, tmp_path / "host"), bus.agent) as host:
            yield host
else:
    collect_ignore_glob = ["test_*.py"]
