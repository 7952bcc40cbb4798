"""Those who watch over a workspace see how much there is of what."""

from __future__ import annotations

import pytest

from sealyard.engine.health import collect_stats
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness

pytestmark = pytest.mark.anyio


async def test_an_empty_workspace_has_nothing_of_anything(empty: EngineHarness) -> None:
    figures = await collect_stats(empty.engine.store, empty.engine.scheduler, empty.engine.bus)
    assert dict(figures.tasks) == dict.fromkeys(TaskStatus, 0)
    assert (figures.queued, figures.workers, figures.pending_deliveries, figures.dead_letters) == (0, 0, 0, 0)


async def test_tasks_are_counted_by_their_status(house: EngineHarness) -> None:
    for _ in range(3):
        await house.package()
    await house.cancel(await house.package())
    await house.done_package()
    figures = await collect_stats(house.engine.store, house.engine.scheduler, house.engine.bus)
    counted = {status: count for status, count in figures.tasks.items() if count}
    assert counted == {TaskStatus.WAITING: 3, TaskStatus.CANCELLED: 1, TaskStatus.DONE: 1}


async def test_what_waits_for_a_worker_is_counted(house: EngineHarness) -> None:
    house.bus.small_slots = 1
    for _ in range(3):
        await house.approved_package()
    await house.wait_until(lambda: house.bus.jobs)
    figures = await collect_stats(house.engine.store, house.engine.scheduler, house.engine.bus)
    assert figures.queued == 2
    assert (figures.tasks[TaskStatus.RUNNING], figures.tasks[TaskStatus.SCHEDULED]) == (1, 2)
