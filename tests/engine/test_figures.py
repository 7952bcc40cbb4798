"""Those who watch over a workspace see how much there is of what."""

from __future__ import annotations

import pytest

from sealyard.engine.health import collect_stats
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness

pytestmark = pytest.mark.anyio


async def test_an_empty_workspace_has_nothing_of_anything(empty_harness: EngineHarness) -> None:
    figures = await collect_stats(empty_harness.engine.store, empty_harness.engine.scheduler, empty_harness.engine.bus)
    assert dict(figures.tasks) == dict.fromkeys(TaskStatus, 0)
    assert (figures.queued, figures.workers, figures.pending_deliveries, figures.dead_letters) == (0, 0, 0, 0)


async def test_tasks_are_counted_by_their_status(harness: EngineHarness) -> None:
    for _ in range(3):
        await harness.package()
    await harness.cancel(await harness.package())
    await harness.done_package()
    figures = await collect_stats(harness.engine.store, harness.engine.scheduler, harness.engine.bus)
    counted = {status: count for status, count in figures.tasks.items() if count}
    assert counted == {TaskStatus.WAITING: 3, TaskStatus.CANCELLED: 1, TaskStatus.DONE: 1}


async def test_what_waits_for_a_worker_is_counted(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    for _ in range(3):
        await harness.approved_package()
    await harness.wait_until(lambda: harness.bus.jobs)
    figures = await collect_stats(harness.engine.store, harness.engine.scheduler, harness.engine.bus)
    assert figures.queued == 2
    assert (figures.tasks[TaskStatus.RUNNING], figures.tasks[TaskStatus.SCHEDULED]) == (1, 2)
