"""A unit of work changes tasks only as they are stored when it is committed."""

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


async def test_commit_of_changed_task_raises_and_stores_nothing(house: EngineHarness) -> None:
    task = await house.package()
    stale = house.engine.repository.begin()
    stale.advance(task.id, Cancelled(by=DEV))
    await house.execute(DEV, house.engine.decisions.withdraw(DEV, task.id, "wrong file"))
    before = len(await house.audit_entries(about=f"TASK:{task.id}"))
    with pytest.raises(StaleTaskError):
        await stale.commit()
    assert house.task(task.id).reason_code == "withdrawn"
    assert len(await house.audit_entries(about=f"TASK:{task.id}")) == before


async def test_commit_of_task_that_was_rolled_back_raises(house: EngineHarness, disk: FailingDisk) -> None:
    """The change that the unit of work was computed from is not there any more."""
    task = await house.package()
    disk.block()
    disk.fail()
    first = house.engine.repository.begin()
    first.change_task(task.id, warning="look")
    failing = asyncio.ensure_future(first.commit())
    await asyncio.sleep(0)
    second = house.engine.repository.begin()
    second.advance(task.id, WITHDRAWN)
    disk.unblock()
    with pytest.raises(StorageError):
        await failing
    with pytest.raises(StaleTaskError):
        await second.commit()
    assert house.task(task.id) == task


async def test_create_task_with_existing_id_raises(house: EngineHarness) -> None:
    task = await house.package()
    again = house.engine.repository.begin()
    again.create_task(task)
    with pytest.raises(StaleTaskError):
        await again.commit()


async def test_key_use_for_task_that_does_not_run_is_not_stored(house: EngineHarness) -> None:
    task = await house.package()
    draft = house.engine.repository.begin()
    with pytest.raises(InvalidTransitionError):
        draft.record_key_use(task.id, IntentRecorded(fencing_token=0, sha256="cc" * 32))


async def test_change_outside_the_life_cycle_is_not_stored(house: EngineHarness) -> None:
    task = await house.package()
    draft = house.engine.repository.begin()
    draft.change_task(task.id, status=S.APPROVED)
    with pytest.raises(InvariantError):
        await draft.commit()
    assert house.task(task.id) == task


async def test_put_of_a_task_is_refused(house: EngineHarness) -> None:
    with pytest.raises(InvariantError):
        house.engine.repository.begin().put(TASKS, "t1", await house.package())


async def test_cancel_of_finishing_task_raises_what_happened(house: EngineHarness) -> None:
    worker = await house.wait_for_worker(await house.approved_package())
    worker.request_signing()
    await house.wait_until(lambda: worker.permitted)
    cancelling = asyncio.ensure_future(house.cancel(house.task(worker.id)))
    await house.wait_until(lambda: worker.was_cancelled)
    worker.finish()
    with pytest.raises(InvalidTransitionError, match=r"Cannot cancel task .*: it is DONE"):
        await cancelling
    assert (await house.wait_until_final(worker.id)).status is S.DONE
    assert not await house.audit_entries(AuditAction.CANCELLED)


async def test_second_cancel_of_running_task_raises(house: EngineHarness) -> None:
    worker = await house.wait_for_worker(await house.encryption())
    first = asyncio.ensure_future(house.cancel(house.task(worker.id), DEV))
    second = asyncio.ensure_future(house.cancel(house.task(worker.id), OWNER))
    await house.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await first).reason == f"Cancelled by {DEV}."
    with pytest.raises(InvalidTransitionError, match=f"Cancelled by {DEV}"):
        await second
    (entry,) = await house.audit_entries(AuditAction.CANCELLED)
    assert entry.author == DEV


async def test_decision_on_withdrawn_task_raises_what_happened(house: EngineHarness) -> None:
    task = await house.package()
    await house.execute(DEV, house.engine.decisions.withdraw(DEV, task.id, "wrong file"))
    with pytest.raises(InvalidTransitionError, match=r"Cannot decide on task .*: it is CANCELLED .*wrong file"):
        await house.decide(task, OWNER, Verdict.APPROVED)
