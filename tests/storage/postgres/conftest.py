"""Fixtures: a test database, and a store in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from sealyard.model.key_holder_messages import StoreGeneration
from sealyard.storage.documents import TinyDocumentStore
from tests.support.postgres import TestDatabase
from tests.support.postgres_fixtures import database, postgres_server
from tests.support.postgres_store import open_pg_store

__all__ = ["database", "postgres_server"]

OpenPgStore = Callable[..., TinyDocumentStore]


@pytest.fixture
def open_store(database: TestDatabase) -> Iterator[OpenPgStore]:
    """Return a function that opens the store; all stores are closed at the end."""
    stores: list[TinyDocumentStore] = []

    def open_at(*, recorded: StoreGeneration | None = None) -> TinyDocumentStore:
        stores.append(open_pg_store(database.connection_string, recorded))
        return stores[-1]

    yield open_at
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: OpenPgStore) -> TinyDocumentStore:
    return open_store()
