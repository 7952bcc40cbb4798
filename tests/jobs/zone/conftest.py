"""Fixtures: a bus database, and both ends of a zone."""

from __future__ import annotations

import pytest

from sealyard.jobs.zone import hosts, report_inbox
from tests.support.bus_database import BusDatabase
from tests.support.postgres_fixtures import bus_database, postgres_server
from tests.support.zone_bus import ZoneHarness

__all__ = ["bus_database", "postgres_server"]

SHORT_LEASE = 1.0


@pytest.fixture
def database(bus_database: BusDatabase) -> BusDatabase:
    return bus_database


@pytest.fixture
def zone(bus_database: BusDatabase) -> ZoneHarness:
    return ZoneHarness(bus_database)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts are lost after one second without a heartbeat."""
    for module in (hosts, report_inbox):
        monkeypatch.setattr(module, "HOST_LEASE_SECONDS", SHORT_LEASE)
