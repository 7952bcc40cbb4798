"""Fixtures for the tests of the engine: workspaces in several states, and a journal that can fail or block.

The store and the audit log of these workspaces are in their folders. The tests of some modules run a second time with
both in PostgreSQL, those of all modules with ``SEALYARD_FULL=1``, except the tests that are marked with ``file_store``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.engine_harness import EngineHarness
from tests.support.extent import IS_FULL
from tests.support.failing_disk import FailingDisk
from tests.support.pgbouncer import PooledDatabase
from tests.support.postgres import TestDatabase
from tests.support.postgres_fixtures import database, postgres_server, transaction_pooler

__all__ = ["database", "postgres_server", "transaction_pooler"]

POSTGRES_MODULES = (
    "access.test_otp",
    "audit.test_checkpointing",
    "audit.test_service",
    "execution.test_scheduler",
    "state.test_events",
    "state.test_unit_of_work",
    "tasks.test_create",
    "tasks.test_recovery",
    "webhooks.test_registry",
)
"""The modules whose tests also run on PostgreSQL in a normal run."""

POOLED_MODULES = ("audit.test_checkpointing", "state.test_unit_of_work")
"""The modules whose tests also run through a pooler in a normal run; in a full run, those above do."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_database" not in metafunc.fixturenames or metafunc.definition.get_closest_marker("file_store"):
        return
    module = metafunc.module.__name__.removeprefix("tests.engine.")
    databases = ["files"]
    if IS_FULL or module in POSTGRES_MODULES:
        databases.append("postgres")
    if module in (POSTGRES_MODULES if IS_FULL else POOLED_MODULES):
        databases.append("pooler")
    if len(databases) > 1:
        metafunc.parametrize("store_database", databases, indirect=True)


@pytest.fixture
def store_database(request: pytest.FixtureRequest) -> TestDatabase | None:
    """Return the database of the workspace, None if its store is in files."""
    kind = getattr(request, "param", "files")
    if kind == "files":
        return None
    database: TestDatabase = request.getfixturevalue("database")
    return PooledDatabase(database, request.getfixturevalue("transaction_pooler")) if kind == "pooler" else database


async def open_workspace(root: Path, database: TestDatabase | None, *, demo: bool) -> EngineHarness:
    harness = EngineHarness(root, database=database)
    await harness.create(demo=demo)
    await harness.open()
    return harness


@pytest.fixture
async def empty_harness(tmp_path: Path, store_database: TestDatabase | None) -> AsyncIterator[EngineHarness]:
    """Yield an open workspace whose only subject is its administrator."""
    harness = await open_workspace(tmp_path / "workspace", store_database, demo=False)
    yield harness
    if harness.is_open:
        await harness.close()


@pytest.fixture
async def harness(empty_harness: EngineHarness) -> EngineHarness:
    """Return a workspace with the default subjects and the configuration gateway.

    dev submits requests; owner or second approves them.
    """
    await empty_harness.add_default_subjects()
    return empty_harness


@pytest.fixture
async def demo_harness(tmp_path: Path, store_database: TestDatabase | None) -> AsyncIterator[EngineHarness]:
    """Yield an open demo workspace with the default subjects and the configuration gateway."""
    harness = await open_workspace(tmp_path / "demo", store_database, demo=True)
    await harness.add_default_subjects()
    yield harness
    if harness.is_open:
        await harness.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    failing_disk = FailingDisk(monkeypatch)
    yield failing_disk
    failing_disk.unblock()
