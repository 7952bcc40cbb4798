"""Fixtures: a PostgreSQL server for the test session, and a database for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.bus_database import BusDatabase, create_bus_database
from tests.support.pgbouncer import PgBouncer, running_pooler
from tests.support.postgres import PostgresServer, TestDatabase, running_server


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def transaction_pooler(postgres_server: PostgresServer) -> Iterator[PgBouncer]:
    """Yield a pooler that may assign another session of the server to each transaction."""
    with running_pooler(postgres_server, "transaction") as pooler:
        yield pooler


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[TestDatabase]:
    """Yield a new database; it is dropped with its copies at the end."""
    yield postgres_server.create_database()
    postgres_server.drop_databases()


@pytest.fixture
def bus_database(postgres_server: PostgresServer) -> Iterator[BusDatabase]:
    """Yield a new bus database of a crypto zone; it is dropped at the end."""
    yield create_bus_database(postgres_server)
    postgres_server.drop_databases()
