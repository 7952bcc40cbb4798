"""Tests of recovery: an engine resumes the tasks of a predecessor that was closed or killed."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.audit import AuditAction
from sealyard.model.errors import WorkspaceLockedError
from sealyard.model.lifecycle import advance
from sealyard.model.tasks import Decision, ResultState, Task, TaskStatus, Verdict
from sealyard.model.triggers import DecisionMade
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness, sha256
from tests.support.store_helpers import publish_result

pytestmark = pytest.mark.anyio

S = TaskStatus


async def finish_task(harness: EngineHarness, task: Task) -> Task:
    worker = await harness.wait_for_worker(task)
    if worker.job.task.signing_key is not None:
        worker.request_signing()
        await harness.wait_until(lambda: worker.permitted)
    worker.finish()
    return await harness.wait_until_final(task)


async def test_created_task_becomes_waiting(harness: EngineHarness) -> None:
    task = await harness.package()
    created_task = msgspec.structs.replace(task, status=S.CREATED, history=task.history[:1], approval_expires_at=None)
    await harness.insert_tasks(created_task)
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert crash_copy.task(task.id).status is S.WAITING
    await crash_copy.close()


async def test_approved_task_is_scheduled(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.package()
    decision = Decision(by=OWNER, verdict=Verdict.APPROVED, at=harness.clock.now(), digest=task.approval_digest)
    await harness.insert_tasks(advance(task, DecisionMade(decision=decision), harness.clock.now()))
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert (await finish_task(crash_copy, task)).status is S.DONE
    await crash_copy.close()


async def test_waiting_task_stays_waiting(harness: EngineHarness) -> None:
    task = await harness.package()
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert crash_copy.task(task.id) == task
    assert (await crash_copy.approve(task)).status is S.SCHEDULED
    assert (await finish_task(crash_copy, task)).status is S.DONE
    await crash_copy.close()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
async def test_scheduled_task_is_executed(harness: EngineHarness, kill: bool) -> None:
    harness.bus.small_slots = 0
    task = await harness.approved_package()
    await harness.wait_until_durable()
    if kill:
        harness = await harness.copy_as_if_killed()
        await harness.open()
    else:
        await harness.reopen()
    assert (await finish_task(harness, task)).status is S.DONE
    await harness.close()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
async def test_running_task_resumes_from_checkpoint(harness: EngineHarness, kill: bool) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segment = worker.encrypt_segment(0)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    old_task = harness.task(worker.id)
    await harness.advance_clock(hours=1)
    if kill:
        harness = await harness.copy_as_if_killed()
        await harness.open()
    else:
        await harness.reopen()
    second_worker = await harness.wait_for_worker(worker.id)
    assert (second_worker.fencing_token, second_worker.job.task.lease_losses) == (2, 0)
    assert second_worker.job.checkpoint.segments == (segment,)
    assert second_worker.job.checkpoint.header == worker.header
    assert second_worker.job.task.intent == old_task.intent
    assert old_task.time_limit_at is not None
    assert second_worker.job.task.time_limit_at == old_task.time_limit_at + timedelta(hours=1)
    second_worker.request_signing(b"header")
    await harness.wait_until(lambda: second_worker.permitted)
    second_worker.finish()
    assert (await harness.wait_until_final(worker.id)).status is S.DONE
    await harness.close()


async def test_restarts_do_not_count_as_lease_losses(harness: EngineHarness) -> None:
    task = await harness.encryption()
    for fence in range(1, 6):
        assert (await harness.wait_for_worker(task)).fencing_token == fence
        await harness.reopen()
    assert harness.task(task.id).lease_losses == 0


async def test_unrecorded_result_returns_to_work_dir(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.output_path("container").write_bytes(b"a container")
    publish_result(harness.artifacts, worker.id, worker.output_path("container"))
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    second_worker = await crash_copy.wait_for_worker(worker.id)
    assert second_worker.output_path("container").read_bytes() == b"a container"
    assert not crash_copy.artifacts.has_result(worker.id)
    second_worker.request_signing()
    await crash_copy.wait_until(lambda: second_worker.permitted)
    second_worker.finish()
    assert (await crash_copy.wait_until_final(worker.id)).status is S.DONE
    await crash_copy.close()


async def test_recorded_result_is_kept(harness: EngineHarness) -> None:
    done_task = await harness.done_package(b"a container")
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert crash_copy.task(done_task.id) == done_task
    assert crash_copy.artifacts.result_path(done_task.id).read_bytes() == b"a container"
    await crash_copy.close()


async def test_unneeded_inputs_are_removed(harness: EngineHarness) -> None:
    rejected_input, waiting_input = await harness.upload(b"ended"), await harness.upload(b"waiting")
    final_task = await harness.package(firmware=(rejected_input,))
    await harness.decide(final_task, OWNER, Verdict.REJECTED, "no")
    await harness.package(firmware=(waiting_input,))
    harness.artifacts.ingest_bytes(b"ended")  # as if its removal had failed
    await harness.upload(b"never claimed")
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open()
    assert list(crash_copy.artifacts.stored_inputs()) == [sha256(b"waiting")]
    await crash_copy.close()


async def test_orphaned_work_files_are_removed(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    done_task = await harness.done_package()
    for task_id in (worker.id, done_task.id, "stranger"):
        (harness.artifacts.work_dir(task_id) / "container").write_bytes(b"left")
    crash_copy = await harness.copy_as_if_killed()
    (crash_copy.paths.artifacts / "incoming" / "half").write_bytes(b"half")
    await crash_copy.open()
    assert crash_copy.artifacts.tasks_with_work_dir() == (worker.id,)
    assert not (crash_copy.paths.artifacts / "incoming" / "half").exists()
    await crash_copy.close()


async def test_revoked_permission_cancels_running_task(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    crash_copy = await harness.copy_as_if_killed()
    await crash_copy.open(work=False)
    for each in crash_copy.engine.access.access(ADMIN).rules:
        if each.subject == DEV:
            await crash_copy.execute(ADMIN, crash_copy.engine.access.remove_rule(ADMIN, each.id, confirmed=True))
    await crash_copy.reopen()
    final_task = await crash_copy.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "right-lost")
    assert crash_copy.engine.repository.get(CHECKPOINTS, worker.id) is None
    await crash_copy.close()


async def test_deadlines_expire_while_closed(harness: EngineHarness) -> None:
    waiting_task = await harness.package()
    done_task = await harness.done_package()
    crash_copy = await harness.copy_as_if_killed()
    crash_copy.clock.advance(days=30)
    await crash_copy.open()
    await crash_copy.advance_clock(hours=1)  # a downtime looks like a clock that jumped
    assert (await crash_copy.wait_until_final(waiting_task)).reason_code == "approval-period"
    await crash_copy.wait_until(lambda: not crash_copy.artifacts.has_result(done_task.id))
    await crash_copy.wait_until(lambda: crash_copy.task(done_task.id).result.state is ResultState.GONE)  # type: ignore[union-attr]
    await crash_copy.close()


async def test_locked_workspace_error_names_lock_holder(harness: EngineHarness) -> None:
    with pytest.raises(WorkspaceLockedError, match="test"):
        WorkspaceLock.acquire(harness.paths.lock, "another")
    await harness.close()
    WorkspaceLock.acquire(harness.paths.lock, "another").release()


async def test_open_without_work_starts_no_worker(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.SCHEDULED
    assert harness.bus.places == {}
    assert [each.change for each in await harness.audit_entries(about=f"TASK:{task.id}")] == [
        AuditAction.CREATED,
        AuditAction.STATUS_CHANGED,
        AuditAction.APPROVED,
        AuditAction.STATUS_CHANGED,
        AuditAction.STATUS_CHANGED,
    ]
