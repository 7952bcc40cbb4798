"""An engine that closed or was killed: the next one finds every task where the last one left it."""

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

pytestmark = pytest.mark.anyio

S = TaskStatus


async def finish(harness: EngineHarness, task: Task) -> Task:
    worker = await harness.wait_for_worker(task)
    if worker.job.task.signing_key is not None:
        worker.request_signing()
        await harness.wait_until(lambda: worker.permitted)
    worker.finish()
    return await harness.wait_until_final(task)


async def test_a_task_left_created_moves_on(harness: EngineHarness) -> None:
    task = await harness.package()
    created = msgspec.structs.replace(task, status=S.CREATED, history=task.history[:1], approval_expires_at=None)
    await harness.insert_tasks(created)
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert killed.task(task.id).status is S.WAITING
    await killed.close()


async def test_a_task_left_approved_is_scheduled(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.package()
    decision = Decision(by=OWNER, verdict=Verdict.APPROVED, at=harness.clock.now(), digest=task.approval_digest)
    await harness.insert_tasks(advance(task, DecisionMade(decision=decision), harness.clock.now()))
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert (await finish(killed, task)).status is S.DONE
    await killed.close()


async def test_a_waiting_task_waits_on(harness: EngineHarness) -> None:
    task = await harness.package()
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert killed.task(task.id) == task
    assert (await killed.approve(task)).status is S.SCHEDULED
    assert (await finish(killed, task)).status is S.DONE
    await killed.close()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
async def test_a_scheduled_task_is_taken_up(harness: EngineHarness, kill: bool) -> None:
    harness.bus.small_slots = 0
    task = await harness.approved_package()
    await harness.wait_until_durable()
    if kill:
        harness = await harness.copy_as_if_killed()
        await harness.open()
    else:
        await harness.reopen()
    assert (await finish(harness, task)).status is S.DONE
    await harness.close()


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "closed"])
async def test_a_running_task_is_run_again_with_what_was_recorded(harness: EngineHarness, kill: bool) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segment = worker.encrypt_segment(0)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    before = harness.task(worker.id)
    await harness.advance_clock(hours=1)
    if kill:
        harness = await harness.copy_as_if_killed()
        await harness.open()
    else:
        await harness.reopen()
    again = await harness.wait_for_worker(worker.id)
    assert (again.fence, again.job.task.lease_losses) == (2, 0)
    assert again.job.checkpoint.segments == (segment,)
    assert again.job.checkpoint.header == worker.header
    assert again.job.task.intent == before.intent
    assert before.time_limit_at is not None
    assert again.job.task.time_limit_at == before.time_limit_at + timedelta(hours=1)
    again.request_signing(b"header")
    await harness.wait_until(lambda: again.permitted)
    again.finish()
    assert (await harness.wait_until_final(worker.id)).status is S.DONE
    await harness.close()


async def test_an_engine_killed_again_and_again_never_counts_it_against_the_task(harness: EngineHarness) -> None:
    task = await harness.encryption()
    for fence in range(1, 6):
        assert (await harness.wait_for_worker(task)).fence == fence
        await harness.reopen()
    assert harness.task(task.id).lease_losses == 0


async def test_a_result_that_was_published_and_not_recorded_is_taken_back(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.output_path("container").write_bytes(b"a container")
    harness.artifacts.publish_result(worker.id, worker.output_path("container"))
    killed = await harness.copy_as_if_killed()
    await killed.open()
    again = await killed.wait_for_worker(worker.id)
    assert again.output_path("container").read_bytes() == b"a container"
    assert not killed.artifacts.has_result(worker.id)
    again.request_signing()
    await killed.wait_until(lambda: again.permitted)
    again.finish()
    assert (await killed.wait_until_final(worker.id)).status is S.DONE
    await killed.close()


async def test_a_result_that_was_recorded_stays(harness: EngineHarness) -> None:
    done = await harness.done_package(b"a container")
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert killed.task(done.id) == done
    assert killed.artifacts.result_path(done.id).read_bytes() == b"a container"
    await killed.close()


async def test_inputs_of_ended_tasks_and_unclaimed_uploads_are_dropped(harness: EngineHarness) -> None:
    ended, waiting = await harness.upload(b"ended"), await harness.upload(b"waiting")
    over = await harness.package(firmware=(ended,))
    await harness.decide(over, OWNER, Verdict.REJECTED, "no")
    await harness.package(firmware=(waiting,))
    harness.artifacts.ingest_bytes(b"ended")  # as if it had not been dropped in time
    await harness.upload(b"never claimed")
    killed = await harness.copy_as_if_killed()
    await killed.open()
    assert list(killed.artifacts.stored_inputs()) == [sha256(b"waiting")]
    await killed.close()


async def test_what_belongs_to_no_unfinished_task_is_cleared_away(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    done = await harness.done_package()
    for task_id in (worker.id, done.id, "stranger"):
        (harness.artifacts.work_dir(task_id) / "container").write_bytes(b"left")
    killed = await harness.copy_as_if_killed()
    (killed.paths.artifacts / "incoming" / "half").write_bytes(b"half")
    await killed.open()
    assert killed.artifacts.tasks_with_work_dir() == (worker.id,)
    assert not (killed.paths.artifacts / "incoming" / "half").exists()
    await killed.close()


async def test_a_lost_right_is_noticed_at_the_next_start(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    killed = await harness.copy_as_if_killed()
    await killed.open(work=False)
    for each in killed.engine.access.access(ADMIN).rules:
        if each.subject == DEV:
            await killed.execute(ADMIN, killed.engine.access.remove_rule(ADMIN, each.id, confirmed=True))
    await killed.reopen()
    over = await killed.wait_until_final(worker.id)
    assert (over.status, over.reason_code) == (S.CANCELLED, "right-lost")
    assert killed.engine.repository.get(CHECKPOINTS, worker.id) is None
    await killed.close()


async def test_periods_run_while_no_engine_does(harness: EngineHarness) -> None:
    waiting = await harness.package()
    done = await harness.done_package()
    killed = await harness.copy_as_if_killed()
    killed.clock.advance(days=30)
    await killed.open()
    assert (await killed.wait_until_final(waiting)).reason_code == "approval-period"
    await killed.wait_until(lambda: not killed.artifacts.has_result(done.id))
    await killed.wait_until(lambda: killed.task(done.id).result.state is ResultState.GONE)  # type: ignore[union-attr]
    await killed.close()


async def test_a_second_engine_is_told_who_holds_the_workspace(harness: EngineHarness) -> None:
    with pytest.raises(WorkspaceLockedError, match="test"):
        WorkspaceLock.acquire(harness.paths.lock, "another")
    await harness.close()
    WorkspaceLock.acquire(harness.paths.lock, "another").release()


async def test_without_work_nothing_is_given_to_a_worker(harness: EngineHarness) -> None:
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
