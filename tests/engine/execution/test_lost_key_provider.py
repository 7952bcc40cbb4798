"""Tests of tasks whose key provider is unavailable: they wait for it with their approvals, within the time limit."""

from __future__ import annotations

import pytest

from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness
from tests.support.fake_bus import FakeWorker
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio


async def lose_provider(harness: EngineHarness, worker: FakeWorker) -> None:
    worker.fail(KeyProviderUnavailableError("The token seal was removed.", "Insert it."))
    await harness.wait_for_status(worker.id, TaskStatus.SCHEDULED)


async def test_task_continues_when_the_provider_is_back(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    await lose_provider(harness, await harness.wait_for_worker(task))
    waiting_task = harness.task(task.id)
    assert waiting_task.reason == "Waiting for a key provider: The token seal was removed. Insert it."
    assert waiting_task.reason_code == "key-provider-unavailable"
    assert waiting_task.lease_losses == 0
    await harness.advance_clock(seconds=1)
    worker = await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is TaskStatus.DONE


async def test_delay_grows_with_each_attempt(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    for delay in (1, 2, 4):
        await lose_provider(harness, await harness.wait_for_worker(task))
        await harness.wait_until(lambda delay=delay: harness.clock.has_sleeper(delay))  # type: ignore[misc]
        harness.clock.advance(seconds=delay - 0.5)
        await harness.wait_until_durable()
        assert task.id not in harness.bus.jobs
        harness.clock.advance(seconds=0.5)


async def test_time_limit_bounds_the_wait(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    task = await harness.approved_package()
    await lose_provider(harness, await harness.wait_for_worker(task))
    harness.clock.advance(seconds=61)
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, "time-limit")


async def test_refused_settings_fail_the_task(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    worker.fail(KeyProviderError("The PIN of the token seal is wrong.", "Correct it."))
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, "key-provider")
    assert "PIN" in final_task.reason


async def test_close_does_not_wait_for_provider(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    await lose_provider(harness, await harness.wait_for_worker(task))
    await harness.wait_until(lambda: harness.clock.has_sleeper(1))
    assert await harness.engine.scheduler.drain(TIMEOUT) == 0
    assert harness.task(task.id).status is TaskStatus.SCHEDULED
