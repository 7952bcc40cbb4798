"""Tests of the lease of one of several servers: it is read by the others, and lapses by the local clock."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Event

import pytest

from sealyard.model.cluster import LeaseSettings
from sealyard.model.errors import FencedError, SealyardError, WorkspaceLockedError
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from sealyard.storage.postgres import lease as lease_module
from sealyard.storage.postgres.lease_reader import LeaseReader
from tests.support.limits import TIMEOUT
from tests.support.postgres import TestDatabase, running_server
from tests.support.postgres_store import open_pg_store
from tests.support.store_helpers import CREDENTIALS

SETTINGS = LeaseSettings(url="https://one.example:8751", seconds=1.0)

Open = Callable[..., TinyDocumentStore]


@pytest.fixture(autouse=True)
def short_margin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "LAPSE_MARGIN_SECONDS", 0.2)


@pytest.fixture
def open_shared(database: TestDatabase) -> Iterator[Open]:
    """Return a function that opens the store as one of several servers; all stores are closed at the end."""
    stores: list[TinyDocumentStore] = []

    def open_as(settings: LeaseSettings = SETTINGS) -> TinyDocumentStore:
        stores.append(open_pg_store(database.connection_string, settings=settings))
        return stores[-1]

    yield open_as
    for store in stores:
        store.close()


def put(store: TinyDocumentStore, identity: str) -> Future[None]:
    return store.submit(WriteBatch(puts=(("tasks", identity, {"n": 1}),)))


def remaining_seconds(store: TinyDocumentStore) -> float:
    assert store.lease is not None
    assert store.lease.remaining_seconds is not None
    return store.lease.remaining_seconds


def test_reader_describes_the_holder(database: TestDatabase, open_shared: Open) -> None:
    reader = LeaseReader(database.connection_string, CREDENTIALS.workspace_id)
    assert reader.read() is None
    store = open_shared()
    holder = reader.read()
    assert holder is not None
    assert (holder.term, holder.url) == (1, SETTINGS.url)
    assert holder.name.endswith(f":{os.getpid()}")
    assert 0 < holder.remaining_seconds <= SETTINGS.seconds
    assert database.disconnect_engines()
    with pytest.raises(SealyardError):
        reader.read()
    store.close()
    holder = reader.read()
    assert holder is not None
    assert (holder.name, holder.url) == ("", "")
    assert holder.remaining_seconds < 0
    reader.close()


def test_second_server_does_not_wait(open_shared: Open) -> None:
    open_shared()
    with pytest.raises(WorkspaceLockedError, match="Another engine"):
        open_shared()


def test_renewed_lease_does_not_lapse(open_shared: Open) -> None:
    store = open_shared()
    lapses: list[SealyardError] = []
    store.on_fenced(lapses.append)
    deadline = time.monotonic() + 2 * SETTINGS.seconds
    while time.monotonic() < deadline:
        put(store, "a").result(TIMEOUT)
        assert remaining_seconds(store) > 0
    assert not lapses


def test_lease_lapses_while_the_database_hangs() -> None:
    """A commit in progress fails, and the store can be closed, although the database does not respond."""
    with running_server() as server:
        database = server.create_database()
        store = open_pg_store(database.connection_string, settings=SETTINGS)
        put(store, "before").result(TIMEOUT)
        has_lapsed = Event()
        store.on_fenced(lambda _: has_lapsed.set())
        with server.suspended():
            pending = put(store, "during")
            assert has_lapsed.wait(TIMEOUT)
            with pytest.raises(FencedError, match="lapsed"):
                pending.result(TIMEOUT)
            assert remaining_seconds(store) == 0
            store.close()


def test_lapsed_engine_commits_nothing_more(
    open_shared: Open, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_shared()
    has_lapsed = Event()
    store.on_fenced(lambda _: has_lapsed.set())
    database.execute("ALTER TABLE sealyard.workspace RENAME COLUMN lease_until TO lease_until_then")
    assert has_lapsed.wait(TIMEOUT)
    database.execute("ALTER TABLE sealyard.workspace RENAME COLUMN lease_until_then TO lease_until")
    with pytest.raises(FencedError, match="lapsed"):
        put(store, "a").result(TIMEOUT)
    store.close()
    database.expire_lease()
    successor = open_shared()
    put(successor, "b").result(TIMEOUT)
    assert successor.ids("tasks", "") == ["b"]
