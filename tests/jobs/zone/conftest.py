"""Fixtures: a bus database, and both ends of a zone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sealyard.jobs.zone import hosts, report_inbox
from tests.support.bus_database import BusDatabase, create_bus_database
from tests.support.postgres import PostgresServer
from tests.support.postgres_fixtures import postgres_server
from tests.support.zone_bus import ZoneHarness

__all__ = ["postgres_server"]

SHORT_LEASE = 1.0


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[BusDatabase]:
    """Yield a new bus database; it is dropped at the end."""
    yield create_bus_database(postgres_server)
    postgres_server.drop_databases()


@pytest.fixture
def zone(database: BusDatabase) -> ZoneHarness:
    return ZoneHarness(database)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts are lost after one second without a heartbeat."""
    for module in (hosts, report_inbox):
        monkeypatch.setattr(module, "HOST_LEASE_SECONDS", SHORT_LEASE)
