"""Tests of the scheduler: cancellation and timeouts of tasks."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    InvalidTransitionError,
    PermissionDeniedError,
)
from sealyard.model.grants import InputGrant
from sealyard.model.tasks import TaskStatus
from sealyard.model.worker_messages import Job
from tests.support.engine_harness import CLIENT, DEV, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

S = TaskStatus


# ---- cancellation


async def test_cancel_of_queued_task_is_immediate(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    final_task = await harness.cancel(task)
    assert (final_task.status, final_task.reason) == (S.CANCELLED, "Cancelled by USER:dev.")
    assert harness.engine.queries.get(DEV, task.id).live is None
    with pytest.raises(InvalidTransitionError):
        await harness.cancel(task)


async def test_cancel_of_running_task_waits_for_worker(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    cancellation = asyncio.create_task(harness.cancel(harness.task(worker.id), OWNER))
    await harness.wait_until(lambda: worker.was_cancelled)
    assert harness.task(worker.id).status is S.RUNNING
    assert not cancellation.done()
    worker.stop()
    final_task = await cancellation
    assert (final_task.status, final_task.reason) == (S.CANCELLED, "Cancelled by USER:owner.")
    assert (await harness.audit_entries(AuditAction.CANCELLED))[-1].author == OWNER


async def test_worker_crash_during_cancel_cancels_task(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    cancellation = asyncio.create_task(harness.cancel(harness.task(worker.id)))
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.crash()
    assert (await cancellation).status is S.CANCELLED


async def test_cancel_during_job_dispatch_stops_worker(harness: EngineHarness) -> None:
    run, dispatch_allowed = harness.bus.run, asyncio.Event()

    async def run_when_allowed(job: Job, inputs: tuple[InputGrant, ...] = ()) -> None:
        await dispatch_allowed.wait()
        await run(job, inputs)

    harness.bus.run = run_when_allowed  # type: ignore[method-assign]
    task = await harness.encryption()
    await harness.wait_for_status(task, S.RUNNING)
    cancellation = asyncio.create_task(harness.cancel(task))
    await harness.wait_until(lambda: harness.engine.scheduler._running[task.id].attempt._stop_trigger is not None)
    dispatch_allowed.set()
    worker = await harness.wait_for_worker(task)
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await cancellation).status is S.CANCELLED


async def test_cancel_requires_requester_or_approver(harness: EngineHarness) -> None:
    task = await harness.package()
    with pytest.raises(PermissionDeniedError):
        await harness.cancel(task, CLIENT)
    assert (await harness.cancel(task, SECOND)).status is S.CANCELLED


# ---- timeouts, immediately before and at each limit


async def test_approval_timeout_cancels_waiting_task(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=60)
    task = await harness.package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.WAITING
    await harness.advance_clock(microseconds=1)
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "approval-period")


async def test_approval_after_timeout_is_rejected(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=60)
    timely_task, late_task = await harness.package(), await harness.package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    assert (await harness.approve(timely_task)).status is S.SCHEDULED
    await harness.advance_clock(microseconds=1)
    with pytest.raises(ConflictError, match="period"):
        await harness.approve(late_task)
    assert (await harness.wait_until_final(late_task)).reason_code == "approval-period"


async def test_execution_timeout_cancels_queued_task(harness: EngineHarness) -> None:
    harness.bus.small_slots = 0
    await harness.set_policy(execution_timeout=60)
    task = await harness.approved_package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.SCHEDULED
    await harness.advance_clock(microseconds=1)
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "execution-period")


async def test_tasks_expired_while_closed_never_run(harness: EngineHarness) -> None:
    await harness.set_policy(execution_timeout=60)
    await harness.reopen(work=False)
    tasks = [await harness.approved_package() for _ in range(5)]
    await harness.close()
    harness.clock.advance(seconds=60)
    await harness.open()
    for each in tasks:
        assert (await harness.wait_until_final(each)).reason_code == "execution-period"
    assert {each.status for task in tasks for each in harness.task(task.id).history} & {S.RUNNING} == set()


async def test_time_limit_fails_running_task(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert not worker.was_cancelled
    await harness.advance_clock(microseconds=1)
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (S.FAILED, "time-limit")


async def test_time_limit_continues_between_workers(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    worker = await harness.wait_for_worker(await harness.encryption())
    harness.bus.small_slots = 0
    worker.crash()
    await harness.wait_for_status(worker.id, S.SCHEDULED)
    await harness.advance_clock(seconds=60)
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (S.FAILED, "time-limit")
