"""Tests of units of work: a commit fails if its tasks were changed since they were read."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.engine.state.tables import TASKS
from sealyard.model.audit import AuditAction
from sealyard.model.errors import InvalidTransitionError, InvariantError, StaleTaskError, StorageError
from sealyard.model.tasks import TaskStatus, Verdict
from sealyard.model.triggers import Cancelled, IntentRecorded, Withdrawn
from tests.support.engine_harness import DEV, OWNER, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus
WITHDRAWN = Withdrawn(by=DEV, reason="wrong file")


async def test_commit_of_changed_task_stores_nothing(harness: EngineHarness) -> None:
    task = await harness.package()
    draft = harness.engine.repository.begin()
    draft.advance(task.id, Cancelled(by=DEV))
    await harness.execute(DEV, harness.engine.decisions.withdraw(DEV, task.id, "wrong file"))
    entry_count = len(await harness.audit_entries(about=f"TASK:{task.id}"))
    with pytest.raises(StaleTaskError):
        await draft.commit()
    assert harness.task(task.id).reason_code == "withdrawn"
    assert len(await harness.audit_entries(about=f"TASK:{task.id}")) == entry_count


async def test_commit_after_rollback_of_task_raises(harness: EngineHarness, disk: FailingDisk) -> None:
    """The change that the unit of work is based on was rolled back."""
    task = await harness.package()
    disk.block()
    disk.fail()
    first = harness.engine.repository.begin()
    first.change_task(task.id, warning="look")
    commit = asyncio.ensure_future(first.commit())
    await asyncio.sleep(0)
    second = harness.engine.repository.begin()
    second.advance(task.id, WITHDRAWN)
    disk.unblock()
    with pytest.raises(StorageError):
        await commit
    with pytest.raises(StaleTaskError):
        await second.commit()
    assert harness.task(task.id) == task


async def test_create_task_with_existing_id_raises(harness: EngineHarness) -> None:
    task = await harness.package()
    draft = harness.engine.repository.begin()
    draft.create_task(task)
    with pytest.raises(StaleTaskError):
        await draft.commit()


async def test_key_use_for_waiting_task_raises(harness: EngineHarness) -> None:
    task = await harness.package()
    draft = harness.engine.repository.begin()
    with pytest.raises(InvalidTransitionError):
        draft.record_key_use(task.id, IntentRecorded(fencing_token=0, sha256="cc" * 32))


async def test_change_outside_life_cycle_is_rejected(harness: EngineHarness) -> None:
    task = await harness.package()
    draft = harness.engine.repository.begin()
    draft.change_task(task.id, status=S.APPROVED)
    with pytest.raises(InvariantError):
        await draft.commit()
    assert harness.task(task.id) == task


async def test_put_of_task_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(InvariantError):
        harness.engine.repository.begin().put(TASKS, "t1", await harness.package())


async def test_cancel_of_finishing_task_raises(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    cancellation = asyncio.ensure_future(harness.cancel(harness.task(worker.id)))
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.finish()
    with pytest.raises(InvalidTransitionError, match=r"Cannot cancel task .*: it is DONE"):
        await cancellation
    assert (await harness.wait_until_final(worker.id)).status is S.DONE
    assert not await harness.audit_entries(AuditAction.CANCELLED)


async def test_second_cancel_of_running_task_raises(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    first = asyncio.ensure_future(harness.cancel(harness.task(worker.id), DEV))
    second = asyncio.ensure_future(harness.cancel(harness.task(worker.id), OWNER))
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await first).reason == f"Cancelled by {DEV}."
    with pytest.raises(InvalidTransitionError, match=f"Cancelled by {DEV}"):
        await second
    (entry,) = await harness.audit_entries(AuditAction.CANCELLED)
    assert entry.author == DEV


async def test_decision_on_withdrawn_task_raises(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.execute(DEV, harness.engine.decisions.withdraw(DEV, task.id, "wrong file"))
    with pytest.raises(InvalidTransitionError, match=r"Cannot decide on task .*: it is WITHDRAWN .*wrong file"):
        await harness.decide(task, OWNER, Verdict.APPROVED)
