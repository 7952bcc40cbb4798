"""Test reading the store without its key, while an engine writes it, with a role that may only read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealyard.model.errors import StorageError, WorkspaceError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres.connection import Database
from sealyard.storage.postgres.reader import PgStoreReader
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.postgres import AUDITOR, TestDatabase
from tests.support.store_helpers import INDEXES, read_documents


@pytest.fixture
def source(store: TinyDocumentStore, database: TestDatabase) -> PgStoreReader:
    put(store, "a", 1)
    put(store, "b", 1)
    return PgStoreReader(Database(database.server.connection_string(database.name, AUDITOR)), "w1")


@pytest.fixture
def reader(source: PgStoreReader) -> Iterator[TinyDocumentStore]:
    reader = TinyDocumentStore.open_source(source, INDEXES)
    yield reader
    reader.close()


def put(store: TinyDocumentStore, identity: str, number: int) -> None:
    batch = WriteBatch(puts=(("tasks", identity, {"n": number}),), events=({"cursor": len(store.recent_events()) + 1},))
    store.submit(batch).result()


def delete(store: TinyDocumentStore, identity: str) -> None:
    store.submit(WriteBatch(deletes=(("tasks", identity),))).result()


def require_same_content(reader: TinyDocumentStore, store: TinyDocumentStore) -> None:
    assert read_documents(reader) == read_documents(store)
    assert reader.recent_events() == store.recent_events()


def test_reader_loads_documents_and_events(reader: TinyDocumentStore, store: TinyDocumentStore) -> None:
    require_same_content(reader, store)
    assert reader.generation is None
    assert not reader.refresh()


def test_reader_loads_new_commits_only(
    source: PgStoreReader, store: TinyDocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = TinyDocumentStore.open_source(source, INDEXES)
    monkeypatch.setattr(source, "load", None)
    put(store, "a", 2)
    put(store, "c", 1)
    assert reader.refresh()
    require_same_content(reader, store)
    assert not reader.refresh()
    put(store, "c", 2)
    assert reader.refresh()
    require_same_content(reader, store)
    reader.close()


def test_reader_follows_deletions(reader: TinyDocumentStore, store: TinyDocumentStore) -> None:
    delete(store, "a")
    assert reader.refresh()
    require_same_content(reader, store)
    delete(store, "b")
    put(store, "c", 1)
    assert reader.refresh()
    require_same_content(reader, store)


def test_reader_follows_the_next_engine(
    reader: TinyDocumentStore, store: TinyDocumentStore, open_store: OpenPgStore
) -> None:
    store.close()
    next_store = open_store()
    put(next_store, "d", 1)
    assert reader.refresh()
    require_same_content(reader, next_store)


def test_reader_follows_a_restored_database(
    reader: TinyDocumentStore, store: TinyDocumentStore, database: TestDatabase
) -> None:
    older = database.copy()
    put(store, "a", 2)
    put(store, "c", 1)
    assert reader.refresh()
    database.put_back(older)
    assert reader.refresh()
    assert read_documents(reader) == {"tasks": {"a": {"n": 1}, "b": {"n": 1}}}


def test_reader_connects_again(reader: TinyDocumentStore, store: TinyDocumentStore, database: TestDatabase) -> None:
    database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", (AUDITOR,))
    put(store, "a", 2)
    with pytest.raises(StorageError, match="reading the store"):
        reader.refresh()
    assert reader.refresh()
    require_same_content(reader, store)


def test_reader_sees_one_commit(source: PgStoreReader, store: TinyDocumentStore, database: TestDatabase) -> None:
    """What is committed after the first statement of a load is left to the next one."""
    read_position = source._read_position

    def commit_meanwhile(connection: object) -> object:
        position = read_position(connection)  # type: ignore[arg-type]
        put(store, "a", 2)
        return position

    source._read_position = commit_meanwhile  # type: ignore[method-assign,assignment]
    reader = TinyDocumentStore.open_source(source, INDEXES)
    assert read_documents(reader)["tasks"]["a"] == {"n": 1}
    source._read_position = read_position  # type: ignore[method-assign]
    assert reader.refresh()
    require_same_content(reader, store)
    reader.close()


def test_missing_workspace_is_an_error(database: TestDatabase) -> None:
    source = PgStoreReader(Database(database.connection_string), "other")
    with pytest.raises(WorkspaceError, match="does not contain"):
        TinyDocumentStore.open_source(source, INDEXES)


def test_newer_format_is_refused(source: PgStoreReader, database: TestDatabase) -> None:
    database.execute("UPDATE sealyard.workspace SET format = 99")
    with pytest.raises(WorkspaceError, match="format 99"):
        source.load()
    source.close()
