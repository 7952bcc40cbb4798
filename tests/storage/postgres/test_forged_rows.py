"""Test that a database administrator cannot change, remove, add or put back rows unnoticed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sealyard.model.errors import StoreCorruptedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.frame_chain import StoreCredentials
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import TestDatabase
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import CREDENTIALS

CHANGES = {
    "body of a document": """UPDATE sealyard.document SET body = '{"n":9}' WHERE id = 'a'""",
    "spelling of a document": """UPDATE sealyard.document SET body = '{"n": 2}' WHERE id = 'a'""",
    "id of a document": "UPDATE sealyard.document SET id = 'z' WHERE id = 'a'",
    "kind of a document": "UPDATE sealyard.document SET kind = 'policy' WHERE id = 'a'",
    "position of a document": "UPDATE sealyard.document SET position = position + 1 WHERE id = 'a'",
    "MAC of a document": "UPDATE sealyard.document SET mac = sha256(mac) WHERE id = 'a'",
    "document removed": "DELETE FROM sealyard.document WHERE id = 'b'",
    "all documents removed": "DELETE FROM sealyard.document",
    "document added": """
        INSERT INTO sealyard.document SELECT workspace, kind, 'c', body, position, mac FROM sealyard.document
        WHERE id = 'a'""",
    "two documents exchanged": """
        UPDATE sealyard.document d SET body = o.body, position = o.position, mac = o.mac
        FROM sealyard.document o WHERE (d.id, o.id) IN (('a', 'b'), ('b', 'a'))""",
    "event": """UPDATE sealyard.event SET body = '{"cursor":1,"x":0}'""",
    "event removed": "DELETE FROM sealyard.event WHERE cursor = 2",
    "all events removed": "DELETE FROM sealyard.event",
    "events exchanged": """
        UPDATE sealyard.event e SET body = o.body, mac = o.mac FROM sealyard.event o WHERE e.cursor <> o.cursor""",
    "event added": "INSERT INTO sealyard.event SELECT workspace, 3, body, mac FROM sealyard.event WHERE cursor = 2",
    "term": "UPDATE sealyard.workspace SET signed_term = signed_term + 1, term = term + 1",
    "term put back": "UPDATE sealyard.workspace SET term = 0",
    "generation": "UPDATE sealyard.workspace SET generation = generation + 1",
    "generation id": "UPDATE sealyard.workspace SET generation_id = repeat('0', 64)",
    "head position": "UPDATE sealyard.workspace SET position = position + 1",
    "audit position": "UPDATE sealyard.workspace SET next_seq = next_seq + 1",
    "audit hash": "UPDATE sealyard.workspace SET previous = repeat('1', 64)",
    "cursor": "UPDATE sealyard.workspace SET cursor = 1; DELETE FROM sealyard.event WHERE cursor = 2",
    "head MAC": "UPDATE sealyard.workspace SET mac = sha256(mac)",
}


def put(store: TinyDocumentStore, identity: str, number: int) -> None:
    store.submit(WriteBatch(puts=(("tasks", identity, {"n": number}),))).result()


@pytest.fixture
def filled(open_store: OpenPgStore) -> Callable[[], TinyDocumentStore]:
    """Fill and close the store; return a function that opens it."""
    store = open_store()
    put(store, "a", 1)
    put(store, "b", 1)
    put(store, "a", 2)
    store.submit(WriteBatch(events=({"cursor": 1}, {"cursor": 2}))).result()
    store.close()
    recorded = store.generation
    return lambda: open_store(recorded=recorded)


def test_unchanged_store_is_opened(filled: Callable[[], TinyDocumentStore]) -> None:
    assert filled().get("tasks", "a") == {"n": 2}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_rows_are_refused(filled: Callable[[], TinyDocumentStore], database: TestDatabase, change: str) -> None:
    database.execute(change)
    with pytest.raises(StoreCorruptedError):
        filled()


def test_older_version_of_one_row_is_refused(
    filled: Callable[[], TinyDocumentStore], open_store: OpenPgStore, database: TestDatabase
) -> None:
    rows = "workspace, kind, id, body, position, mac"
    database.execute(f"CREATE TABLE kept AS SELECT {rows} FROM sealyard.document WHERE id = 'a'")
    store = filled()
    put(store, "a", 3)
    store.close()
    database.execute("DELETE FROM sealyard.document WHERE id = 'a'")
    database.execute(f"INSERT INTO sealyard.document SELECT {rows} FROM kept")
    with pytest.raises(StoreCorruptedError, match="put back"):
        open_store(recorded=store.generation)


def test_rows_of_another_workspace_are_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    open_store().close()
    other = open_pg_store(database.connection_string, credentials=StoreCredentials(CREDENTIALS.key, "w2"))
    put(other, "a", 1)
    other.close()
    database.execute("UPDATE sealyard.document SET workspace = 'w1'")
    with pytest.raises(StoreCorruptedError, match="document a of tasks"):
        open_store()


def test_deleted_document_cannot_be_put_back(open_store: OpenPgStore, database: TestDatabase) -> None:
    store = open_store()
    put(store, "a", 1)
    database.execute("CREATE TABLE kept AS SELECT * FROM sealyard.document")
    store.submit(WriteBatch(deletes=(("tasks", "a"),))).result()
    store.close()
    database.execute("INSERT INTO sealyard.document SELECT * FROM kept")
    with pytest.raises(StoreCorruptedError, match="put back"):
        open_store()


def test_row_that_exists_twice_is_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    """Two equal addends must not hide each other."""
    store = open_store()
    put(store, "a", 1)
    store.close()
    database.execute("ALTER TABLE sealyard.document DROP CONSTRAINT document_pkey")
    database.execute("INSERT INTO sealyard.document SELECT * FROM sealyard.document")
    with pytest.raises(StoreCorruptedError, match="exists twice"):
        open_store()


def test_older_state_of_all_rows_is_refused(open_store: OpenPgStore, database: TestDatabase) -> None:
    """All rows of an earlier generation have valid MACs; the worker state knows the newer one."""
    store = open_store()
    put(store, "a", 1)
    store.close()
    tables = ("document", "workspace")
    for table in tables:
        database.execute(f"CREATE TABLE kept_{table} AS SELECT * FROM sealyard.{table}")
    for number in (2, 3):
        store = open_store(recorded=store.generation)
        put(store, "a", number)
        store.close()
    for table in tables:
        database.execute(f"DELETE FROM sealyard.{table}")
    for table in reversed(tables):
        database.execute(f"INSERT INTO sealyard.{table} SELECT * FROM kept_{table}")
    with pytest.raises(StoreCorruptedError, match="older state"):
        open_store(recorded=store.generation)


def test_refused_store_is_not_changed_and_can_be_opened_after_the_repair(
    filled: Callable[[], TinyDocumentStore], database: TestDatabase
) -> None:
    query = "SELECT signed_term, generation, position, mac FROM sealyard.workspace"
    head = database.execute(query)
    database.execute("UPDATE sealyard.document SET id = 'z' WHERE id = 'a'")
    with pytest.raises(StoreCorruptedError):
        filled()
    assert database.execute(query) == head
    database.execute("UPDATE sealyard.document SET id = 'a' WHERE id = 'z'")
    filled()
