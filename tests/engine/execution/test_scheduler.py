"""From SCHEDULED to an end: what a worker says, what the engine does about it, and in which order it is durable."""

from __future__ import annotations

import asyncio
import base64

import pytest

from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConflictError,
    InvalidTransitionError,
    PermissionDeniedError,
    StorageError,
    WorkerError,
)
from sealyard.model.events import TaskProgressed
from sealyard.model.tasks import InputFile, ResultState, TaskKind, TaskStatus
from sealyard.model.worker_messages import JobFinished
from sealyard.storage.documents import TinyDocumentStore
from tests.support.engine_harness import CLIENT, DEV, OWNER, SECOND, EngineHarness, listen, sha256
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_a_package_goes_all_the_way(harness: EngineHarness) -> None:
    task = await harness.approved_package(files=2)
    worker = await harness.wait_for_worker(task)
    assert (worker.job.task.status, worker.job.task.fencing_token, worker.job.task.worker) == (S.RUNNING, 1, "worker-1")
    assert worker.job.certificate == harness.shelf.infos["local:gateway-signing"].current.certificate
    worker.encrypt_segment(0)
    worker.encrypt_segment(1)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"a container")
    done = await harness.wait_for_status(task, S.DONE)
    assert done.result is not None
    assert (done.result.state, done.result.sha256, done.result.size) == (
        ResultState.AVAILABLE,
        sha256(b"a container"),
        11,
    )
    assert done.result.file_name == f"gateway-{task.id}.se-1"
    assert harness.artifacts.result_path(task.id).read_bytes() == b"a container"
    assert {each.status for each in done.subtasks} == {S.DONE}
    assert harness.engine.repository.get(CHECKPOINTS, task.id) is None
    assert harness.artifacts.tasks_with_work_dir() == ()
    assert list(harness.artifacts.stored_inputs()) == []


async def test_a_signature_stands_in_the_task(harness: EngineHarness) -> None:
    task = await harness.approve(await harness.signing())
    worker = await harness.wait_for_worker(task)
    worker.request_signing(b"sign me")
    await harness.wait_until(lambda: worker.permitted)
    worker.finish_signature(b"signed")
    done = await harness.wait_for_status(task, S.DONE)
    assert done.result is not None
    assert done.result.signature == base64.b64encode(b"signed").decode()
    assert (done.result.link, done.result.expires_at, done.result.retained_until) == (None, None, None)


async def test_an_encrypted_file_is_named_after_its_input(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    worker.finish(b"encrypted")
    done = await harness.wait_for_status(worker.id, S.DONE)
    assert done.result is not None
    assert done.result.file_name == "firmware.bin.encrypted"


async def test_a_sealed_segment_is_durable_before_the_intent(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segments = (worker.encrypt_segment(1), worker.encrypt_segment(0))
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    on_disk = TinyDocumentStore.open(harness.paths.store, {}, write=False)
    work = on_disk.get(CHECKPOINTS.name, worker.id)
    assert work is not None
    assert [each["index"] for each in work["segments"]] == [1, 0]
    assert {each["sha256"] for each in work["segments"]} == {each.sha256 for each in segments}
    assert work["header"] == worker.header


async def test_the_intent_is_durable_and_audited_before_the_key_may_be_used(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    seen: list[object] = []
    permit = harness.bus.permit_signing

    async def looking(task_id: str, fence: int) -> None:
        on_disk = TinyDocumentStore.open(harness.paths.store, {}, write=False)
        seen.append(on_disk.get("tasks", task_id)["intent"])  # type: ignore[index]
        seen.append([each["change"] for each in on_disk.pending_audit()])
        await permit(task_id, fence)

    harness.bus.permit_signing = looking  # type: ignore[method-assign]
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    intent, changes = seen
    assert intent["sha256"] == sha256(b"header")  # type: ignore[index]
    assert "KEY_USED" in changes  # type: ignore[operator]


async def test_progress_is_told(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    listening = listen(harness.engine.events, None)
    waiting = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    worker.send_heartbeat(4, 16)
    event = await waiting
    assert isinstance(event, TaskProgressed)
    assert (event.task_id, event.bytes_done, event.bytes_total) == (worker.id, 4, 16)
    assert event.cursor == harness.engine.events.cursor
    live = harness.engine.queries.get(DEV, worker.id).live
    assert live is not None
    assert (live.bytes_done, live.bytes_total) == (4, 16)
    await listening.aclose()  # type: ignore[attr-defined]
    worker.finish()
    await harness.wait_until_final(worker.id)
    assert harness.engine.queries.get(DEV, worker.id).live is None


# ---- workers that die


async def test_a_lost_worker_is_followed_by_another_with_what_was_recorded(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segment = worker.encrypt_segment(0)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.crash()
    await harness.wait_until(lambda: harness.task(worker.id).lease_losses == 1)
    again = await harness.wait_for_worker(worker.id)
    assert (again.fence, again.job.task.status, again.job.task.lease_losses) == (2, S.RUNNING, 1)
    assert again.job.checkpoint.segments == (segment,)
    assert again.job.checkpoint.header == worker.header
    assert again.job.task.intent is not None
    assert again.job.task.intent.sha256 == sha256(b"header")
    again.request_signing(b"header")
    await harness.wait_until(lambda: again.permitted)
    again.finish()
    assert (await harness.wait_until_final(worker.id)).status is S.DONE
    used = [each.message for each in await harness.audit_entries(AuditAction.KEY_USED)]
    assert used == ["signing key used", "signing key used again for the same data, after the signature was lost"]


async def test_a_second_attempt_never_signs_anything_else(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.crash()
    await harness.wait_until(lambda: harness.task(worker.id).lease_losses == 1)
    again = await harness.wait_for_worker(worker.id)
    again.request_signing(b"another header")
    await harness.wait_until(lambda: again.was_cancelled)
    assert not again.permitted
    again.stop()
    over = await harness.wait_until_final(worker.id)
    assert over.status is S.FAILED
    assert "does not sign twice" in over.reason
    assert len(await harness.audit_entries(AuditAction.KEY_USED)) == 1


async def test_the_third_lost_worker_fails_the_task(harness: EngineHarness) -> None:
    task = await harness.encryption()
    for losses in (1, 2, 3):
        worker = await harness.wait_for_worker(task)
        assert worker.fence == losses
        worker.crash()
        await harness.wait_until(lambda: harness.task(task.id).lease_losses == losses)  # noqa: B023
    over = await harness.wait_until_final(task)
    assert (over.status, over.reason_code) == (S.FAILED, "worker")
    assert harness.artifacts.tasks_with_work_dir() == ()


async def test_what_an_old_worker_says_is_ignored(harness: EngineHarness) -> None:
    old = await harness.wait_for_worker(await harness.approved_package())
    old.crash()
    await harness.wait_until(lambda: harness.task(old.id).lease_losses == 1)
    worker = await harness.wait_for_worker(old.id)
    old.encrypt_segment(0)
    old.request_signing(b"old")
    harness.bus._reports.put_nowait(JobFinished(task_id=old.id, fencing_token=1, sha256="00" * 32, size=0))
    worker.request_signing(b"new")
    await harness.wait_until(lambda: worker.permitted)
    task = harness.task(old.id)
    assert task.intent is not None
    assert task.intent.sha256 == sha256(b"new")
    assert harness.engine.repository.get(CHECKPOINTS, old.id).segments == ()  # type: ignore[union-attr]
    assert (old.id, 1) not in harness.bus.permits
    worker.finish()
    assert (await harness.wait_until_final(old.id)).status is S.DONE


async def test_what_a_worker_cannot_do_fails_the_task_with_its_words(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    worker.fail(StorageError("The disk is full.", "Free some space and submit the request again."))
    over = await harness.wait_until_final(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "storage")
    assert over.reason == "The disk is full. Free some space and submit the request again."


async def test_a_finished_report_without_its_file_fails_the_task(harness: EngineHarness) -> None:
    for lie in ("missing", "short"):
        worker = await harness.wait_for_worker(await harness.encryption())
        if lie == "short":
            worker.output_path("encrypted").write_bytes(b"x")
        worker.finish_without_a_file()
        over = await harness.wait_until_final(worker.id)
        assert (over.status, over.reason_code) == (S.FAILED, "storage")
    assert harness.bus.places == {}


async def test_a_job_that_cannot_be_handed_over_is_tried_again(harness: EngineHarness) -> None:
    harness.bus.send_error = WorkerError("The worker died.")
    task = await harness.encryption()
    await harness.wait_until(
        lambda: harness.task(task.id).lease_losses == 1 or harness.task(task.id).status is S.SCHEDULED
    )
    harness.bus.send_error = None
    worker = await harness.wait_for_worker(task)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is S.DONE
    assert harness.bus.places == {}


async def test_a_task_waits_while_no_worker_can_be_started(harness: EngineHarness) -> None:
    harness.bus.start_error = WorkerError("The worker cannot be started.", "Look into the log.")
    task = await harness.encryption()
    await harness.wait_until(lambda: harness.engine.scheduler.start_error is not None)
    with pytest.raises(WorkerError):
        await harness.engine.scheduler.wait_idle()
    assert harness.task(task.id).status is S.SCHEDULED
    assert harness.bus.places == {}
    harness.bus.start_error = None
    await harness.wait_until(lambda: harness.clock.has_sleeper(1))
    await harness.advance_clock(seconds=1)
    (await harness.wait_for_worker(task)).finish()
    await harness.wait_until_final(task)
    await harness.engine.scheduler.wait_idle()


# ---- cancelling


async def test_a_queued_task_is_cancelled_at_once(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    over = await harness.cancel(task)
    assert (over.status, over.reason) == (S.CANCELLED, "Cancelled by USER:dev.")
    assert harness.engine.queries.get(DEV, task.id).live is None
    with pytest.raises(InvalidTransitionError):
        await harness.cancel(task)


async def test_a_running_task_is_cancelled_when_its_worker_has_stopped(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    cancelling = asyncio.create_task(harness.cancel(harness.task(worker.id), OWNER))
    await harness.wait_until(lambda: worker.was_cancelled)
    assert harness.task(worker.id).status is S.RUNNING
    assert not cancelling.done()
    worker.stop()
    over = await cancelling
    assert (over.status, over.reason) == (S.CANCELLED, "Cancelled by USER:owner.")
    assert (await harness.audit_entries(AuditAction.CANCELLED))[-1].author == OWNER


async def test_a_worker_that_dies_of_being_stopped_ends_the_task_all_the_same(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    cancelling = asyncio.create_task(harness.cancel(harness.task(worker.id)))
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.crash()
    assert (await cancelling).status is S.CANCELLED


async def test_a_task_cancelled_while_its_job_is_handed_over_is_stopped(harness: EngineHarness) -> None:
    run, going = harness.bus.run, asyncio.Event()

    async def slowly(job: object) -> None:
        await going.wait()
        await run(job)  # type: ignore[arg-type]

    harness.bus.run = slowly  # type: ignore[method-assign]
    task = await harness.encryption()
    await harness.wait_for_status(task, S.RUNNING)
    cancelling = asyncio.create_task(harness.cancel(task))
    await harness.wait_until(lambda: harness.engine.scheduler._running[task.id].attempt._stop_trigger is not None)
    going.set()
    worker = await harness.wait_for_worker(task)
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await cancelling).status is S.CANCELLED


async def test_cancelling_is_for_the_requester_and_approvers(harness: EngineHarness) -> None:
    task = await harness.package()
    with pytest.raises(PermissionDeniedError):
        await harness.cancel(task, CLIENT)
    assert (await harness.cancel(task, SECOND)).status is S.CANCELLED


# ---- periods, on both sides of each edge


async def test_the_approval_period_ends_a_waiting_task(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=60)
    task = await harness.package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.WAITING
    await harness.advance_clock(microseconds=1)
    over = await harness.wait_until_final(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "approval-period")


async def test_an_approval_a_moment_before_the_end_counts_and_one_after_does_not(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=60)
    in_time, late = await harness.package(), await harness.package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    assert (await harness.approve(in_time)).status is S.SCHEDULED
    await harness.advance_clock(microseconds=1)
    with pytest.raises(ConflictError, match="period"):
        await harness.approve(late)
    assert (await harness.wait_until_final(late)).reason_code == "approval-period"


async def test_the_execution_period_ends_a_task_that_no_worker_takes(harness: EngineHarness) -> None:
    harness.bus.small_slots = 0
    await harness.set_policy(execution_timeout=60)
    task = await harness.approved_package()
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.SCHEDULED
    await harness.advance_clock(microseconds=1)
    over = await harness.wait_until_final(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "execution-period")


async def test_tasks_whose_period_ended_while_no_engine_ran_are_not_given_to_workers(harness: EngineHarness) -> None:
    await harness.set_policy(execution_timeout=60)
    await harness.reopen(work=False)
    tasks = [await harness.approved_package() for _ in range(5)]
    await harness.close()
    harness.clock.advance(seconds=60)
    await harness.open()
    for each in tasks:
        assert (await harness.wait_until_final(each)).reason_code == "execution-period"
    assert {each.status for task in tasks for each in harness.task(task.id).history} & {S.RUNNING} == set()


async def test_the_time_limit_ends_a_running_task(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.advance_clock(seconds=59, microseconds=999_999)
    await harness.wait_until_durable()
    assert not worker.was_cancelled
    await harness.advance_clock(microseconds=1)
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    over = await harness.wait_until_final(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "time-limit")


async def test_the_time_limit_runs_on_while_a_task_waits_for_another_worker(harness: EngineHarness) -> None:
    await harness.set_policy(time_limit=60)
    worker = await harness.wait_for_worker(await harness.encryption())
    harness.bus.small_slots = 0
    worker.crash()
    await harness.wait_for_status(worker.id, S.SCHEDULED)
    await harness.advance_clock(seconds=60)
    over = await harness.wait_until_final(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "time-limit")


# ---- the queue


async def test_a_small_job_is_not_stuck_behind_large_ones(harness: EngineHarness) -> None:
    large = await harness.upload()
    path = harness.artifacts.input_path(large.sha256)
    with path.open("r+b") as file:
        file.truncate(LARGE_JOB_BYTES)
    file_of = InputFile(name="large.bin", size=LARGE_JOB_BYTES, sha256=large.sha256)
    tasks = [await harness.encryption(file=file_of) for _ in range(3)]
    await harness.wait_for_worker(tasks[0])
    small = await harness.encryption(file=await harness.upload(b"small"))
    assert (await harness.wait_for_worker(small)).job.task.kind is TaskKind.ENCRYPTION
    assert [harness.task(each.id).status for each in tasks] == [S.RUNNING, S.SCHEDULED, S.SCHEDULED]


async def test_the_place_in_the_queue_and_an_estimate_are_shown(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    tasks = [await harness.encryption(file=await harness.upload(b"f" * 1000)) for _ in range(3)]
    worker = await harness.wait_for_worker(tasks[0])

    def lives() -> list[object]:
        return [harness.engine.queries.get(DEV, each.id).live for each in tasks]

    running, second, third = lives()
    assert [running.queue_position, second.queue_position, third.queue_position] == [None, 1, 2]  # type: ignore[attr-defined]
    assert 0 < second.eta_seconds < third.eta_seconds  # type: ignore[attr-defined]
    worker.finish()
    await harness.wait_for_worker(tasks[1])
    assert lives()[2].queue_position == 1  # type: ignore[attr-defined]


async def test_first_come_is_first_served(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    tasks = [await harness.encryption() for _ in range(4)]
    for each in tasks:
        worker = await harness.wait_for_worker(each)
        assert list(harness.bus.jobs) == [each.id]
        worker.finish()
        await harness.wait_until_final(each)


# ---- a disk that refuses for a while


async def test_a_full_disk_loses_no_task_whichever_commit_meets_it(harness: EngineHarness, disk: FailingDisk) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    for act in (lambda: worker.encrypt_segment(0), worker.request_signing, worker.finish):
        disk.fail()
        act()
        await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
        assert harness.task(task.id).status is S.RUNNING
        assert not worker.permitted or act == worker.finish
        await harness.advance_clock(seconds=1)
        await harness.wait_until(lambda: not harness.clock.has_sleeper(1))
        if act == worker.request_signing:
            await harness.wait_until(lambda: worker.permitted)
    assert (await harness.wait_until_final(task)).status is S.DONE
    assert len(await harness.audit_entries(AuditAction.KEY_USED)) == 1


async def test_a_lease_that_could_not_be_stored_does_not_undo_what_came_between(
    harness: EngineHarness, disk: FailingDisk
) -> None:
    harness.bus.small_slots = 0
    task = await harness.approved_package()
    await harness.wait_until_durable()
    disk.fail()
    harness.bus.small_slots = 4
    harness.engine.scheduler._queue_changed.set()
    await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
    assert harness.task(task.id).status is S.SCHEDULED
    assert (await harness.cancel(task)).status is S.CANCELLED
    await harness.advance_clock(seconds=1)
    await harness.wait_until(lambda: not harness.engine.scheduler._running)
    await harness.wait_until_durable()
    assert harness.task(task.id).status is S.CANCELLED
    assert harness.bus.jobs == {}


async def test_a_lease_that_could_not_be_stored_is_tried_again(harness: EngineHarness, disk: FailingDisk) -> None:
    disk_is_full_at_the_lease = asyncio.Event()
    prepare = harness.bus.prepare

    async def preparing(task_id: str) -> str:
        if not disk_is_full_at_the_lease.is_set():
            disk.fail()
            disk_is_full_at_the_lease.set()
        return await prepare(task_id)

    harness.bus.prepare = preparing  # type: ignore[method-assign]
    task = await harness.encryption()
    await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
    await harness.advance_clock(seconds=1)
    worker = await harness.wait_for_worker(task)
    assert (worker.fence, harness.task(task.id).lease_losses) == (1, 0)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is S.DONE


async def test_a_disk_that_refuses_to_clear_up_stops_nothing(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: str) -> None:
        raise StorageError("The disk refuses.")

    monkeypatch.setattr(harness.artifacts, "delete_work", refuse)
    monkeypatch.setattr(harness.artifacts, "delete_input", refuse)
    for _ in range(2):
        done = await harness.done_package()
        assert done.status is S.DONE
    await harness.engine.scheduler.wait_idle()
