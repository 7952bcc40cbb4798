"""Test the failover from a primary to its standby, with both in the connection string."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealyard.model.errors import FencedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.support.limits import TIMEOUT
from tests.support.postgres import ENGINE, PostgresServer, running_server, running_standby
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import read_documents


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[PostgresServer]:
    with running_standby(primary) as server:
        yield server


def put(store: TinyDocumentStore, identity: str) -> None:
    store.submit(WriteBatch(puts=(("tasks", identity, {}),))).result(TIMEOUT)


def open_store(primary: PostgresServer, standby: PostgresServer, name: str) -> TinyDocumentStore:
    return open_pg_store(f"host={primary.folder},{standby.folder} dbname={name} user={ENGINE}")


def test_engine_continues_with_a_promoted_synchronous_standby(primary: PostgresServer, standby: PostgresServer) -> None:
    primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.execute("SELECT pg_reload_conf()")
    name = primary.create_database().name
    store = open_store(primary, standby, name)
    for number in range(20):
        put(store, f"before-{number}")
    pending = [store.submit(WriteBatch(puts=(("tasks", f"during-{number}", {}),))) for number in range(20)]
    primary.kill()
    standby.promote()
    for future in pending:
        future.result(TIMEOUT)
    put(store, "after")
    documents = read_documents(store)
    assert len(documents["tasks"]) == 41
    store.close()
    store = open_store(primary, standby, name)
    assert read_documents(store) == documents
    store.close()


def test_promoted_standby_that_lacks_commits_is_refused(primary: PostgresServer, standby: PostgresServer) -> None:
    name = primary.create_database().name
    store = open_store(primary, standby, name)
    put(store, "replicated")
    primary.wait_for_standby()
    standby.stop()
    put(store, "lost")
    primary.kill()
    standby.start()
    standby.promote()
    for _ in range(2):
        with pytest.raises(FencedError, match="lost acknowledged commits"):
            put(store, "refused")
    store.close()
    assert standby.execute("SELECT id FROM sealyard.document", name) == [("replicated",)]
