"""Workspaces for the tests of the engine, and a journal that fails when told to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from house import House

from sealyard.model.errors import StorageError
from sealyard.storage.journal import Journal


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def opened(root: Path, *, demo: bool) -> House:
    house = House(root)
    await house.found(demo=demo)
    await house.open()
    return house


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[House]:
    """A workspace with nobody but its administrator."""
    house = await opened(tmp_path / "workspace", demo=False)
    yield house
    if house.is_open:
        await house.close()


@pytest.fixture
async def house(empty: House) -> House:
    """A workspace with people and the configuration gateway: dev asks, owner or second approves."""
    await empty.settle()
    return empty


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[House]:
    house = await opened(tmp_path / "demo", demo=True)
    await house.settle()
    yield house
    if house.is_open:
        await house.close()


class Disk:
    """Lets the next commits fail, as a full disk would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failures = 0
        self.failed = 0
        append = Journal.append

        def failing(journal: Journal, units: Sequence[bytes]) -> None:
            if self.failures > self.failed:
                self.failed += 1
                raise StorageError("The disk is full.", "Make room.")
            append(journal, units)

        monkeypatch.setattr(Journal, "append", failing)

    def fail(self, times: int = 1) -> None:
        self.failures += times

    @property
    def failed_all(self) -> bool:
        return self.failed == self.failures


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)
