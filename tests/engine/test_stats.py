"""Tests of the workspace statistics."""

from __future__ import annotations

import pytest

from sealyard.engine.health import collect_stats
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness

pytestmark = pytest.mark.anyio


async def test_empty_workspace_has_zero_counts(empty_harness: EngineHarness) -> None:
    stats = await collect_stats(
        empty_harness.engine.store,
        empty_harness.engine.scheduler,
        empty_harness.engine.bus,
        empty_harness.engine.provider_monitor,
    )
    assert dict(stats.tasks) == dict.fromkeys(TaskStatus, 0)
    assert (stats.queued, stats.workers, stats.pending_deliveries, stats.dead_letters) == (0, 0, 0, 0)


async def test_tasks_are_counted_by_status(harness: EngineHarness) -> None:
    for _ in range(3):
        await harness.package()
    await harness.cancel(await harness.package())
    await harness.done_package()
    stats = await collect_stats(
        harness.engine.store, harness.engine.scheduler, harness.engine.bus, harness.engine.provider_monitor
    )
    counts = {status: count for status, count in stats.tasks.items() if count}
    assert counts == {TaskStatus.WAITING: 3, TaskStatus.CANCELLED: 1, TaskStatus.DONE: 1}


async def test_queued_tasks_are_counted(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    for _ in range(3):
        await harness.approved_package()
    await harness.wait_until(lambda: harness.bus.jobs)
    stats = await collect_stats(
        harness.engine.store, harness.engine.scheduler, harness.engine.bus, harness.engine.provider_monitor
    )
    assert stats.queued == 2
    assert (stats.tasks[TaskStatus.RUNNING], stats.tasks[TaskStatus.SCHEDULED]) == (1, 2)
