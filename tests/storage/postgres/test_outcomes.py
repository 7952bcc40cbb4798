"""Test commits whose connection is lost, engines that were replaced, and databases that lost commits."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

from sealyard.model.errors import FencedError, StorageError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres import journal as journal_module
from sealyard.storage.postgres import lease as lease_module
from sealyard.storage.postgres.connection import Database
from tests.storage.postgres.conftest import OpenPgStore
from tests.support.limits import TIMEOUT
from tests.support.postgres import PostgresServer, TestDatabase, running_server
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import read_documents


def put(store: TinyDocumentStore, identity: str, number: int = 0) -> None:
    store.submit(WriteBatch(puts=(("tasks", identity, {"n": number}),))).result(TIMEOUT)


def list_ids(store: TinyDocumentStore) -> list[str]:
    return store.ids("tasks", "")


def test_commit_after_lost_connections_succeeds(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    for number in range(5):
        assert database.disconnect_engines()
        put(store, f"t{number}")
    store.close()
    assert list_ids(open_store()) == [f"t{number}" for number in range(5)]


class _CutConnection:
    """A connection that is lost at the next commit: before the statement, or after it was committed."""

    def __init__(self, database: TestDatabase, journal: journal_module.PgJournal, *, after_commit: bool) -> None:
        self._database = database
        self._journal = journal
        self._connection = journal._connection
        self._after_commit = after_commit
        self.closed = False
        journal._connection = self  # type: ignore[assignment]

    def execute(self, statement: str, parameters: dict[str, Any]) -> object:
        if self._after_commit:
            self._connection.execute(statement, parameters)
        self._connection.close()
        self.closed = True
        raise psycopg.OperationalError("the connection was lost")


def journal_of(store: TinyDocumentStore) -> journal_module.PgJournal:
    assert store._committer is not None
    journal = store._committer._journal
    assert isinstance(journal, journal_module.PgJournal)
    return journal


@pytest.mark.parametrize("after_commit", [True, False], ids=["committed", "not committed"])
def test_unknown_outcome_is_resolved(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase, after_commit: bool
) -> None:
    put(store, "first")
    position = journal_of(store).head.position
    _CutConnection(database, journal_of(store), after_commit=after_commit)
    put(store, "second")
    put(store, "third")
    assert journal_of(store).head.position == position + 2
    store.close()
    assert list_ids(open_store()) == ["first", "second", "third"]


def test_error_of_the_server_fails_only_its_group(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    database.execute("ALTER TABLE sealyard.document ADD CONSTRAINT no_x CHECK (id <> 'x')")
    with pytest.raises(StorageError, match="SQLSTATE 23514") as caught:
        put(store, "x", 4711)
    assert "4711" not in str(caught.value)
    assert list_ids(store) == []
    put(store, "y")
    store.close()
    assert list_ids(open_store()) == ["y"]


def test_server_that_became_read_only_is_left(store: TinyDocumentStore) -> None:
    journal_of(store)._connection.execute("SET default_transaction_read_only = on")
    with pytest.raises(StorageError, match="25006"):
        put(store, "a")
    put(store, "b")
    assert list_ids(store) == ["b"]


def test_replaced_engine_is_fenced(store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase) -> None:
    put(store, "a")
    database.expire_lease()
    successor = open_store()
    put(successor, "b")
    for identity in ("c", "d"):
        with pytest.raises(FencedError, match="taken over"):
            put(store, identity)
    assert list_ids(store) == ["a"]
    put(successor, "e")
    successor.close()
    store.close()
    assert list_ids(open_store()) == ["a", "b", "e"]


def test_replaced_engine_is_fenced_even_if_its_term_is_put_back(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    database.expire_lease()
    open_store()
    database.execute("UPDATE sealyard.workspace SET term = term - 1")
    with pytest.raises(FencedError):
        put(store, "a")
    assert database.execute("SELECT count(*) FROM sealyard.document") == [(0,)]


def test_fenced_engine_closes_without_releasing_the_lease_of_its_successor(
    store: TinyDocumentStore, open_store: OpenPgStore, database: TestDatabase
) -> None:
    database.expire_lease()
    successor = open_store()
    store.close()
    assert database.execute("SELECT lease_until > clock_timestamp() FROM sealyard.workspace") == [(True,)]
    put(successor, "a")


def test_database_that_lost_commits_is_refused(store: TinyDocumentStore, database: TestDatabase) -> None:
    put(store, "a")
    database.execute("CREATE TABLE kept AS SELECT position, mac FROM sealyard.workspace")
    put(store, "b")
    database.execute("DELETE FROM sealyard.document WHERE id = 'b'")
    database.execute("UPDATE sealyard.workspace SET (position, mac) = (SELECT position, mac FROM kept)")
    for identity in ("c", "d"):
        with pytest.raises(FencedError, match="lost acknowledged commits"):
            put(store, identity)


def test_term_and_position_that_are_used_again_after_a_restore_do_not_match(
    open_store: OpenPgStore, database: TestDatabase
) -> None:
    open_store().close()
    older = database.copy()
    old_engine = open_store()
    put(old_engine, "a")
    database.put_back(older)
    engine = open_store()
    put(engine, "b")
    assert journal_of(engine).head[:2] == journal_of(old_engine).head[:2]
    assert journal_of(engine).head.position == journal_of(old_engine).head.position
    with pytest.raises(FencedError, match="taken over"):
        put(old_engine, "c")
    put(engine, "d")
    assert database.execute("SELECT id FROM sealyard.document ORDER BY id") == [("b",), ("d",)]


@pytest.mark.parametrize("after_commit", [False, True], ids=["not committed", "committed"])
def test_commit_fails_while_the_database_is_unreachable(
    store: TinyDocumentStore,
    open_store: OpenPgStore,
    database: TestDatabase,
    monkeypatch: pytest.MonkeyPatch,
    after_commit: bool,
) -> None:
    """If the change turns out to be committed, memory and database differ, and the engine stops."""
    monkeypatch.setattr(journal_module, "RESOLVE_SECONDS", 0.0)
    journal = journal_of(store)
    reachable, journal._database = journal._database, Database("host=/nonexistent")
    _CutConnection(database, journal, after_commit=after_commit)
    for identity in ("a", "b"):
        with pytest.raises(StorageError, match="cannot be reached"):
            put(store, identity)
    assert list_ids(store) == []
    journal._database = reachable
    if after_commit:
        with pytest.raises(FencedError, match="reported as failed"):
            put(store, "c")
    else:
        put(store, "c")
    store.close()
    assert list_ids(open_store()) == (["a"] if after_commit else ["c"])


@pytest.fixture(scope="module")
def other_server() -> Iterator[PostgresServer]:
    """Yield a server that a test may stop."""
    with running_server() as server:
        yield server


def test_commits_wait_for_a_restart_of_the_server(other_server: PostgresServer) -> None:
    database = other_server.create_database()
    store = open_pg_store(database.connection_string)
    put(store, "before")
    other_server.stop()
    future = store.submit(WriteBatch(puts=(("tasks", "during", {}),)))
    started = Event()

    def wait_for_commit() -> None:
        started.set()
        future.result(TIMEOUT)

    waiter = Thread(target=wait_for_commit)
    waiter.start()
    started.wait(TIMEOUT)
    assert not future.done()
    other_server.start()
    waiter.join(TIMEOUT)
    put(store, "after")
    store.close()
    store = open_pg_store(database.connection_string)
    assert list_ids(store) == ["after", "before", "during"]
    store.close()


def test_lease_is_renewed_and_released(
    open_store: OpenPgStore, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.2)
    store = open_store()
    lease = journal_of(store)._lease
    database.expire_lease()
    query = "SELECT lease_until > clock_timestamp() FROM sealyard.workspace"
    while database.execute(query) != [(True,)]:
        assert lease._thread.is_alive()
    assert read_documents(store) == {}
    store.close()
    assert database.execute("SELECT holder, lease_until = '-infinity' FROM sealyard.workspace") == [("", True)]


def test_lost_lease_fences_an_idle_engine(
    open_store: OpenPgStore, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 0.2)
    store = open_store()
    database.execute("UPDATE sealyard.workspace SET term = term + 1")
    journal_of(store)._lease._thread.join(TIMEOUT)
    with pytest.raises(FencedError, match="taken over"):
        put(store, "a")


def test_start_waits_for_the_lease_of_a_crashed_engine(
    open_store: OpenPgStore, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store().close()
    monkeypatch.setattr(lease_module, "LEASE_SECONDS", 1.0)
    database.execute("UPDATE sealyard.workspace SET lease_until = clock_timestamp() + interval '1 second'")
    put(open_store(), "a")


def test_start_does_not_wait_for_a_longer_lease(open_store: OpenPgStore, database: TestDatabase) -> None:
    """An administrator can reserve a workspace."""
    open_store().close()
    database.execute("UPDATE sealyard.workspace SET lease_until = 'infinity', holder = 'maintenance'")
    with pytest.raises(WorkspaceLockedError, match="maintenance"):
        open_store()
