"""Test engines that reach the database through PgBouncer, and poolers that are killed during commits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from sealyard.model.errors import FencedError, StorageError
from sealyard.model.tasks import TaskStatus
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres import journal as journal_module
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.reader import PgStoreReader
from tests.support.engine_harness import DEV, EngineHarness
from tests.support.limits import TIMEOUT
from tests.support.pgbouncer import PgBouncer, PooledDatabase, running_pooler
from tests.support.postgres import PostgresServer, TestDatabase, running_server
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import INDEXES, read_documents

POOL_MODES = ("session", "transaction", "statement")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=POOL_MODES)
def pooler(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    with running_pooler(postgres_server, request.param) as pooler:
        yield pooler


@pytest.fixture
def pooled_database(database: TestDatabase, pooler: PgBouncer) -> PooledDatabase:
    return PooledDatabase(database, pooler)


def submit(store: TinyDocumentStore, identity: str) -> Future[None]:
    return store.submit(WriteBatch(puts=(("tasks", identity, {"n": 1}),)))


def put(store: TinyDocumentStore, identity: str) -> None:
    submit(store, identity).result(TIMEOUT)


@pytest.mark.anyio
async def test_workspace_behind_a_pooler(pooled_database: PooledDatabase, tmp_path: Path) -> None:
    """Create, use, close and open a workspace, with its audit log, checkpoints and lease."""
    harness = EngineHarness(tmp_path / "workspace", database=pooled_database)
    await harness.create()
    await harness.open()
    await harness.add_default_subjects()
    task = await harness.done_package()
    assert pooled_database.execute("SELECT count(*) FROM sealyard.audit_checkpoint")[0][0] > 0
    await harness.reopen()
    assert harness.engine.queries.get(DEV, task.id).status is TaskStatus.DONE
    report = await harness.engine.audit.verify(harness.administrator, None, None)
    assert report.size == len(await harness.audit_entries())
    pooled_database.execute("UPDATE sealyard.workspace SET term = term + 1")
    with pytest.raises(FencedError):
        await harness.package()
    await harness.close()


def test_commits_while_the_pooler_is_killed(pooled_database: PooledDatabase) -> None:
    store = open_pg_store(pooled_database.connection_string)
    pending: list[Future[None]] = []
    for restart in range(4):
        pending += [submit(store, f"{restart}-{number}") for number in range(50)]
        pooled_database.pooler.kill()
        pending.append(submit(store, f"{restart}-last"))
        pooled_database.pooler.start()
        put(store, f"{restart}-after")
    for future in pending:
        future.result(TIMEOUT)
    documents = read_documents(store)
    store.close()
    assert len(documents["tasks"]) == 4 * 52
    store = open_pg_store(pooled_database.connection_string)
    assert read_documents(store) == documents
    store.close()


def test_commits_while_connections_of_the_pooler_are_lost(pooled_database: PooledDatabase) -> None:
    store = open_pg_store(pooled_database.connection_string)
    for number in range(5):
        future = submit(store, f"t{number}")
        pooled_database.disconnect_engines()
        future.result(TIMEOUT)
    assert len(read_documents(store)["tasks"]) == 5
    store.close()


def test_unreachable_pooler_fails_commits(pooled_database: PooledDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "RESOLVE_SECONDS", 0.0)
    store = open_pg_store(pooled_database.connection_string)
    pooled_database.pooler.kill()
    with pytest.raises(StorageError, match="cannot be reached"):
        put(store, "a")
    pooled_database.pooler.start()
    put(store, "b")
    assert list(read_documents(store)["tasks"]) == ["b"]
    store.close()


def test_reader_needs_transactions(pooled_database: PooledDatabase, pooler: PgBouncer) -> None:
    """In statement mode, PgBouncer permits none; the documentation says so."""
    open_pg_store(pooled_database.connection_string).close()
    source = PgStoreReader(Database(pooled_database.connection_string), "w1")
    if pooler.pool_mode == "statement":
        with pytest.raises(StorageError, match="transaction blocks not allowed"):
            TinyDocumentStore.open_source(source, INDEXES)
    else:
        TinyDocumentStore.open_source(source, INDEXES).close()


def test_server_restarts_behind_the_pooler() -> None:
    with running_server() as server, running_pooler(server, "transaction") as pooler:
        store = open_pg_store(PooledDatabase(server.create_database(), pooler).connection_string)
        put(store, "before")
        server.stop()
        future = submit(store, "during")
        server.start()
        future.result(TIMEOUT)
        put(store, "after")
        assert sorted(read_documents(store)["tasks"]) == ["after", "before", "during"]
        store.close()
