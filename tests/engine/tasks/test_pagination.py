"""Tests of text search over more tasks than one batch."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from sealyard.engine.state.tables import TASKS
from sealyard.engine.tasks.query import BATCH
from sealyard.model.requests import TaskFilter
from sealyard.storage.documents import WriteBatch
from tests.support.engine_harness import DEV, EngineHarness

pytestmark = pytest.mark.anyio

BATCH_COUNT = 4


@pytest.fixture
async def large_harness(harness: EngineHarness) -> EngineHarness:
    """Return a workspace with several batches of tasks, named by their number."""
    template = await harness.package()
    tasks = [
        msgspec.structs.replace(template, id=f"many{number:04}", name=f"number {number:04}")
        for number in range(BATCH_COUNT * BATCH)
    ]
    puts = tuple((TASKS.name, each.id, msgspec.to_builtins(each)) for each in tasks)
    await asyncio.wrap_future(harness.engine.store.submit(WriteBatch(puts=puts)))
    return harness


async def test_search_yields_to_event_loop(large_harness: EngineHarness) -> None:
    search = asyncio.create_task(large_harness.engine.queries.list_tasks(DEV, TaskFilter(text="nowhere"), None, 10))
    turns = 0
    while not search.done():
        turns += 1
        await asyncio.sleep(0)
    assert search.result().tasks == ()
    assert turns > BATCH_COUNT


async def test_cancelled_search_stops_reading(large_harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    batch_count = 0
    page_json = large_harness.engine.store.page_json

    def count_batch(*arguments: object, **options: object) -> object:
        nonlocal batch_count
        batch_count += 1
        return page_json(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(large_harness.engine.store, "page_json", count_batch)
    search = asyncio.create_task(large_harness.engine.queries.list_tasks(DEV, TaskFilter(text="nowhere"), None, 10))
    while not batch_count:
        await asyncio.sleep(0)
    search.cancel()
    await asyncio.gather(search, return_exceptions=True)
    assert search.cancelled()
    assert batch_count < BATCH_COUNT


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.parametrize("text", ["9", "NUMBER 01", "number"])
async def test_search_pages_contain_matches_in_order(large_harness: EngineHarness, text: str, limit: int) -> None:
    if limit * 100 < BATCH_COUNT * BATCH and text == "number":
        limit = 100
    names: list[str] = []
    after: str | None = None
    while True:
        page = await large_harness.engine.queries.list_tasks(
            DEV, TaskFilter(text=text, oldest_first=True), after, limit
        )
        assert len(page.tasks) == limit or page.next is None
        names += [each.name for each in page.tasks]
        if (after := page.next) is None:
            break
    all_names = (f"number {number:04}" for number in range(BATCH_COUNT * BATCH))
    assert [each for each in names if each.startswith("number")] == [each for each in all_names if text.lower() in each]
