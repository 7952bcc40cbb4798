"""Tests of the generations of the store that the engine records: a crash or an error at each step is repaired."""

from __future__ import annotations

import pytest

from sealyard.engine.state.open_store import compact_store, open_store, open_store_reader
from sealyard.engine.workspace import load_metadata
from sealyard.model.errors import KeyStoreLockedError, StoreCorruptedError
from sealyard.model.key_holder_messages import EngineKeys, StoreGeneration
from tests.support.engine_harness import EngineHarness
from tests.support.fake_bus import FakeBus

pytestmark = [pytest.mark.anyio, pytest.mark.file_store]

LOCKED = KeyStoreLockedError("The key holder has ended.", "Restart Sealyard.")


def number_of(generation: StoreGeneration | None) -> int:
    assert generation is not None
    return generation.number


def fail_to_record(bus: FakeBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the key holder unable to record a generation, as when it has died."""

    async def fail(_: StoreGeneration | None) -> StoreGeneration | None:
        raise LOCKED

    monkeypatch.setattr(bus, "update_store_generation", fail)


async def compact(harness: EngineHarness) -> None:
    await compact_store(harness.engine.store, harness.bus, 0)


async def test_each_generation_is_recorded(harness: EngineHarness) -> None:
    for number in (1, 2, 3):
        assert number_of(harness.engine.store.generation) == number
        assert harness.shelf.store_generation == harness.engine.store.generation
        await compact(harness)
    await harness.reopen()
    assert number_of(harness.shelf.store_generation) == 4


async def test_generation_that_could_not_be_recorded_is_recorded_before_the_next(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    bus = harness.bus

    async def record_nothing(generation: StoreGeneration | None) -> StoreGeneration | None:
        if generation is not None and generation.number == 2:
            raise LOCKED
        return harness.shelf.update_store_generation(generation)

    with monkeypatch.context() as patch:
        patch.setattr(bus, "update_store_generation", record_nothing)
        for _ in range(2):
            with pytest.raises(KeyStoreLockedError):
                await compact(harness)
            assert number_of(harness.engine.store.generation) == 2, "it is not two generations ahead"
            await harness.package()
    assert number_of(harness.shelf.store_generation) == 1
    await compact(harness)
    assert number_of(harness.engine.store.generation) == number_of(harness.shelf.store_generation) == 3


async def test_kill_before_generation_is_recorded_is_repaired(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    await compact(harness)
    recorded = harness.shelf.store_generation
    task = await harness.package()
    with monkeypatch.context() as patch:
        original = harness.bus.update_store_generation

        async def record_old_only(generation: StoreGeneration | None) -> StoreGeneration | None:
            if generation == recorded:
                return await original(generation)
            raise LOCKED

        patch.setattr(harness.bus, "update_store_generation", record_old_only)
        with pytest.raises(KeyStoreLockedError):
            await compact(harness)
        killed = await harness.copy_as_if_killed()
    assert killed.shelf.store_generation == recorded
    await killed.open()
    assert killed.task(task.id) == task
    assert number_of(killed.shelf.store_generation) == 3
    await killed.close()


async def test_locked_key_store_releases_the_store(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    await harness.close()
    bus = FakeBus(harness.shelf, harness.clock)

    async def fail() -> EngineKeys:
        raise LOCKED

    with monkeypatch.context() as patch:
        patch.setattr(bus, "get_engine_keys", fail)
        with pytest.raises(KeyStoreLockedError):
            await open_store(harness.paths, load_metadata(harness.paths), bus)
    with monkeypatch.context() as patch:
        fail_to_record(bus, patch)
        with pytest.raises(KeyStoreLockedError):
            await open_store(harness.paths, load_metadata(harness.paths), bus)
    await harness.open()


async def test_refused_store_can_be_opened_when_it_is_restored(harness: EngineHarness) -> None:
    recorded = harness.shelf.store_generation
    await harness.close()
    harness.shelf.store_generation = StoreGeneration(number=1, mac="00" * 32)
    for _ in range(2):
        with pytest.raises(StoreCorruptedError, match="does not follow"):
            await open_store(harness.paths, load_metadata(harness.paths), FakeBus(harness.shelf, harness.clock))
    harness.shelf.store_generation = recorded
    await harness.open()


async def test_reader_needs_no_key_and_has_no_generation(harness: EngineHarness) -> None:
    task = await harness.package()
    reader = open_store_reader(harness.paths)
    assert reader.get("tasks", task.id) is not None
    assert reader.generation is None
