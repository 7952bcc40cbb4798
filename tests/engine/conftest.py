"""Fixtures for the tests of the engine: workspaces in several states, and a journal that can fail or block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support.engine_harness import EngineHarness
from tests.support.failing_disk import FailingDisk


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def open_workspace(root: Path, *, demo: bool) -> EngineHarness:
    harness = EngineHarness(root)
    await harness.create(demo=demo)
    await harness.open()
    return harness


@pytest.fixture
async def empty_harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    """Yield an open workspace whose only subject is its administrator."""
    harness = await open_workspace(tmp_path / "workspace", demo=False)
    yield harness
    if harness.is_open:
        await harness.close()


@pytest.fixture
async def harness(empty_harness: EngineHarness) -> EngineHarness:
    """Return a workspace with the default subjects and the configuration gateway.

    dev submits requests; owner or second approves them.
    """
    await empty_harness.add_default_subjects()
    return empty_harness


@pytest.fixture
async def demo_harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    """Yield an open demo workspace with the default subjects and the configuration gateway."""
    harness = await open_workspace(tmp_path / "demo", demo=True)
    await harness.add_default_subjects()
    yield harness
    if harness.is_open:
        await harness.close()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingDisk]:
    failing_disk = FailingDisk(monkeypatch)
    yield failing_disk
    failing_disk.unblock()
