"""Fixtures: a workspace with a crypto zone and one crypto host, of which each test gets a copy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bus_database import create_bus_database
from tests.support.ministack import MiniStack
from tests.support.object_store import TestBucket, use_credentials
from tests.support.postgres import PostgresServer
from tests.support.server_harness import ADMIN, GATEWAY, populate_test_workspace
from tests.support.zone_harness import ZoneHarness

DEVICE_KEY = "device.key"
"""The name of the file with the key of the device configuration, in the folder of the template."""


@pytest.fixture(scope="module")
def zone_template(
    postgres_server: PostgresServer, ministack: MiniStack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ZoneHarness]:
    with pytest.MonkeyPatch.context() as patch:
        use_credentials(patch)
        bucket = TestBucket(ministack)
        zone = ZoneHarness(tmp_path_factory.mktemp("zone"), create_bus_database(postgres_server, prefix="zone"), bucket)
        try:
            asyncio.run(_create(zone))
            yield zone
        finally:
            zone.close()


async def _create(zone: ZoneHarness) -> None:
    host = await zone.create()
    await host.start()
    async with zone.run_engine() as engine:
        await populate_test_workspace(engine)
        await engine.client(ADMIN).export_device_key(GATEWAY, zone.root / DEVICE_KEY, confirmed=True)
    assert await host.stop() == 0


@pytest.fixture
def zone(zone_template: ZoneHarness, bucket: TestBucket, tmp_path: Path) -> Iterator[ZoneHarness]:
    zone = zone_template.copy(tmp_path, bucket)
    try:
        yield zone
    finally:
        zone.close()
