"""Tests of tasks whose worker finds the disk full: they wait for space with their approvals, within the time limit."""

from __future__ import annotations

import pytest

from sealyard.model.errors import DiskFullError
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness
from tests.support.fake_bus import FakeWorker

pytestmark = pytest.mark.anyio


async def fill_disk(harness: EngineHarness, worker: FakeWorker) -> None:
    worker.fail(DiskFullError("The disk is full."))
    await harness.wait_for_status(worker.id, TaskStatus.SCHEDULED)


async def test_task_continues_when_there_is_space(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    await fill_disk(harness, worker)
    waiting_task = harness.task(task.id)
    assert "Waiting for disk space" in waiting_task.reason
    assert waiting_task.reason_code == "disk-full"
    assert waiting_task.approvals == harness.task(task.id).approvals
    assert waiting_task.lease_losses == 0
    await harness.advance_clock(seconds=2)
    worker = await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is TaskStatus.DONE


async def test_delay_grows_with_each_attempt(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    for delay in (2, 4, 8):
        await fill_disk(harness, await harness.wait_for_worker(task))
        await harness.wait_until(lambda delay=delay: harness.clock.has_sleeper(delay))  # type: ignore[misc]
        harness.clock.advance(seconds=delay - 0.5)
        await harness.wait_until_durable()
        assert task.id not in harness.bus.jobs
        harness.clock.advance(seconds=0.5)


async def test_time_limit_bounds_the_wait(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    task = await harness.approved_package()
    await fill_disk(harness, await harness.wait_for_worker(task))
    harness.clock.advance(seconds=61)
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, "time-limit")


async def test_waiting_task_can_be_cancelled(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    await fill_disk(harness, await harness.wait_for_worker(task))
    assert (await harness.cancel(task)).status is TaskStatus.CANCELLED
    await harness.advance_clock(seconds=2)
    await harness.wait_until_durable()
    assert task.id not in harness.bus.jobs


async def test_waiting_task_survives_a_restart(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    await fill_disk(harness, await harness.wait_for_worker(task))
    await harness.reopen()
    await harness.wait_for_worker(task)
    assert harness.task(task.id).status is TaskStatus.RUNNING
