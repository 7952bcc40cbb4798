"""Tests of tasks that wait for a disk, a key provider or the object store: with approvals, within the time limit."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sealyard.model.errors import (
    ArtifactStoreError,
    DiskFullError,
    KeyProviderError,
    KeyProviderUnavailableError,
    SealyardError,
)
from sealyard.model.tasks import TaskStatus
from tests.support.engine_harness import EngineHarness
from tests.support.fake_bus import FakeWorker
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio


class Cause(NamedTuple):
    """Why a task waits. ``delay``: the seconds before its second attempt, which double with each attempt."""

    error: SealyardError
    reason: str
    delay: int

    async def suspend(self, harness: EngineHarness, worker: FakeWorker) -> None:
        worker.fail(self.error)
        await harness.wait_for_status(worker.id, TaskStatus.SCHEDULED)


@pytest.fixture(params=["disk-full", "key-provider-unavailable", "artifact-store"])
def cause(request: pytest.FixtureRequest) -> Cause:
    if request.param == DiskFullError.code:
        return Cause(DiskFullError("The disk is full."), "Waiting for disk space", 2)
    if request.param == ArtifactStoreError.code:
        store_error = ArtifactStoreError("The object store s3.example cannot be reached.", "Check the network.")
        reason = "Waiting for the object store: The object store s3.example cannot be reached. Check the network."
        return Cause(store_error, reason, 2)
    error = KeyProviderUnavailableError("The token seal was removed.", "Insert it.")
    return Cause(error, "Waiting for a key provider: The token seal was removed. Insert it.", 1)


async def test_task_continues_after_suspension(harness: EngineHarness, cause: Cause) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    approvals = harness.task(task.id).approvals
    await cause.suspend(harness, worker)
    waiting_task = harness.task(task.id)
    assert waiting_task.reason.startswith(cause.reason)
    assert waiting_task.reason_code == cause.error.code
    assert waiting_task.approvals == approvals
    assert waiting_task.lease_losses == 0
    await harness.wait_until(lambda: harness.clock.has_sleeper_for(cause.delay))
    harness.clock.advance(seconds=cause.delay)
    worker = await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is TaskStatus.DONE


async def test_delay_grows_with_each_attempt(harness: EngineHarness, cause: Cause) -> None:
    task = await harness.approved_package()
    for factor in (1, 2, 4):
        delay = factor * cause.delay
        await cause.suspend(harness, await harness.wait_for_worker(task))
        await harness.wait_until(lambda delay=delay: harness.clock.has_sleeper_for(delay))  # type: ignore[misc]
        harness.clock.advance(seconds=delay - 0.5)
        await harness.wait_until_durable()
        assert task.id not in harness.bus.jobs
        harness.clock.advance(seconds=0.5)


async def test_time_limit_bounds_the_wait(harness: EngineHarness, cause: Cause) -> None:
    await harness.set_policy(time_limit=60)
    task = await harness.approved_package()
    await cause.suspend(harness, await harness.wait_for_worker(task))
    harness.clock.advance(seconds=61)
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, "time-limit")


async def test_waiting_task_can_be_cancelled(harness: EngineHarness, cause: Cause) -> None:
    task = await harness.approved_package()
    await cause.suspend(harness, await harness.wait_for_worker(task))
    assert (await harness.cancel(task)).status is TaskStatus.CANCELLED
    await harness.advance_clock(seconds=cause.delay)
    await harness.wait_until_durable()
    assert task.id not in harness.bus.jobs


async def test_waiting_task_survives_a_restart(harness: EngineHarness, cause: Cause) -> None:
    task = await harness.approved_package()
    await cause.suspend(harness, await harness.wait_for_worker(task))
    await harness.reopen()
    await harness.wait_for_worker(task)
    assert harness.task(task.id).status is TaskStatus.RUNNING


async def test_close_does_not_wait_for_attempt(harness: EngineHarness, cause: Cause) -> None:
    task = await harness.approved_package()
    await cause.suspend(harness, await harness.wait_for_worker(task))
    await harness.wait_until(lambda: harness.clock.has_sleeper_for(cause.delay))
    assert await harness.engine.scheduler.drain(TIMEOUT) == 0
    assert harness.task(task.id).status is TaskStatus.SCHEDULED


async def test_refused_settings_fail_the_task(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    worker.fail(KeyProviderError("The PIN of the token seal is wrong.", "Correct it."))
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (TaskStatus.FAILED, "key-provider")
    assert "PIN" in final_task.reason
