"""A search through many tasks holds nobody up, and ends with whoever asked."""

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

PARTS = 4


@pytest.fixture
async def long(harness: EngineHarness) -> EngineHarness:
    """Some parts of equal tasks, named by their number; all matter of a search that finds none or few."""
    model = await harness.package()
    tasks = [
        msgspec.structs.replace(model, id=f"many{number:04}", name=f"number {number:04}")
        for number in range(PARTS * BATCH)
    ]
    puts = tuple((TASKS.name, each.id, msgspec.to_builtins(each)) for each in tasks)
    await asyncio.wrap_future(harness.engine.store.submit(WriteBatch(puts=puts)))
    return harness


async def test_others_have_their_turn_while_a_search_finds_nothing(long: EngineHarness) -> None:
    searching = asyncio.create_task(long.engine.queries.list_tasks(DEV, TaskFilter(text="nowhere"), None, 10))
    turns = 0
    while not searching.done():
        turns += 1
        await asyncio.sleep(0)
    assert searching.result().tasks == ()
    assert turns > PARTS


async def test_a_search_ends_when_nobody_waits_for_it(long: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = 0
    read = long.engine.store.page_json

    def counted(*arguments: object, **options: object) -> object:
        nonlocal parts
        parts += 1
        return read(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(long.engine.store, "page_json", counted)
    searching = asyncio.create_task(long.engine.queries.list_tasks(DEV, TaskFilter(text="nowhere"), None, 10))
    while not parts:
        await asyncio.sleep(0)
    searching.cancel()
    await asyncio.gather(searching, return_exceptions=True)
    assert searching.cancelled()
    assert parts < PARTS


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
@pytest.mark.parametrize("text", ["9", "NUMBER 01", "number"])
async def test_pages_of_a_search_hold_each_match_once_and_in_order(long: EngineHarness, text: str, limit: int) -> None:
    if limit * 100 < PARTS * BATCH and text == "number":
        limit = 100
    found: list[str] = []
    after: str | None = None
    while True:
        page = await long.engine.queries.list_tasks(DEV, TaskFilter(text=text, oldest_first=True), after, limit)
        assert len(page.tasks) == limit or page.next is None
        found += [each.name for each in page.tasks]
        if (after := page.next) is None:
            break
    numbers = (f"number {number:04}" for number in range(PARTS * BATCH))
    assert [each for each in found if each.startswith("number")] == [each for each in numbers if text.lower() in each]
