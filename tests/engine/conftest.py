"""Workspaces for the tests of the engine, and a journal that fails or waits when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.engine_harness import EngineHarness
from tests.support.failing_disk import FailingDisk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(root: Path, *, demo: bool) -> EngineHarness:
    house = EngineHarness(root)
    await house.create(demo=demo)
    await house.open()
    return house


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    """A workspace with nobody but its administrator."""
    house = await opened(tmp_path / "workspace", demo=False)
    yield house
    if house.is_open:
        await house.close()


@pytest.fixture
async def house(empty: EngineHarness) -> EngineHarness:
    """A workspace with people and the configuration gateway: dev asks, owner or second approves."""
    await empty.add_default_subjects()
    return empty


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    house = await opened(tmp_path / "demo", demo=True)
    await house.add_default_subjects()
    yield house
    if house.is_open:
        await house.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    made = FailingDisk(monkeypatch)
    yield made
    made.unblock()
