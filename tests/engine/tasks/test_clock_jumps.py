"""Tests of a system clock that is wrong: nothing irreversible happens because of it."""

from __future__ import annotations

import pytest

from sealyard.model.tasks import ResultState, TaskStatus
from tests.support.engine_harness import DEV, EngineHarness

pytestmark = pytest.mark.anyio


async def test_start_with_wrong_clock_keeps_results(harness: EngineHarness) -> None:
    done_task = await harness.done_package()
    waiting_task = await harness.package()
    await harness.close()
    harness.clock.jump(days=60)
    await harness.open()
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(done_task.id)
    assert harness.task(waiting_task.id).status is TaskStatus.WAITING
    await harness.close()
    harness.clock.jump(days=-60)
    await harness.open()
    renewed_task = await harness.execute(DEV, harness.engine.delivery.renew(DEV, done_task.id))
    assert renewed_task.result is not None
    assert renewed_task.result.state is ResultState.AVAILABLE
    assert (await harness.approve(waiting_task)).status is not TaskStatus.CANCELLED


async def test_jump_while_running_keeps_results_for_an_hour(harness: EngineHarness) -> None:
    done_task = await harness.done_package()
    await harness.apply_deadlines()
    harness.clock.jump(days=60)
    await harness.advance_clock(minutes=59)
    await harness.apply_deadlines()
    assert harness.artifacts.has_result(done_task.id)
    health = await harness.engine.health.health()
    assert [check.name for check in health.failures] == ["clock"]
    await harness.advance_clock(hours=1)
    await harness.advance_clock(hours=1)
    await harness.wait_until(lambda: not harness.artifacts.has_result(done_task.id))


async def test_running_task_survives_a_jump(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.apply_deadlines()
    harness.clock.jump(days=60)
    await harness.apply_deadlines()
    assert harness.task(worker.id).status is TaskStatus.RUNNING
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"container")
    assert (await harness.wait_until_final(worker.id)).status is TaskStatus.DONE


async def test_scheduled_task_waits_for_a_trusted_clock(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    await harness.close()
    harness.clock.jump(days=60)
    await harness.open()
    await harness.wait_until(lambda: harness.engine.scheduler.start_error is not None)
    assert harness.task(task.id).status is TaskStatus.SCHEDULED
    assert task.id not in harness.bus.jobs
    harness.clock.jump(days=-60)
    await harness.advance_clock(seconds=1)
    await harness.wait_for_worker(task)


async def test_downtime_does_not_count_after_lost_worker(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    harness.bus.small_slots = 0
    worker.crash()
    await harness.wait_for_status(worker.id, TaskStatus.SCHEDULED)
    crash_copy = await harness.copy_as_if_killed()
    crash_copy.clock.advance(days=30)
    await crash_copy.open()
    await crash_copy.wait_for_worker(worker.id)
    time_limit_at = crash_copy.task(worker.id).time_limit_at
    assert time_limit_at is not None
    assert time_limit_at > crash_copy.clock.now()
    await crash_copy.close()
