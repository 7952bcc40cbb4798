"""From SCHEDULED to an end: what a worker says, what the engine does about it, and in which order it is durable."""

from __future__ import annotations

import asyncio
import base64

import pytest
from house import CLIENT, DEV, OWNER, SECOND, House, listen, sha256
from troubled_disk import Disk

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

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_a_package_goes_all_the_way(house: House) -> None:
    task = await house.approved_package(files=2)
    worker = await house.worker(task)
    assert (worker.job.task.status, worker.job.task.fencing_token, worker.job.task.worker) == (S.RUNNING, 1, "worker-1")
    assert worker.job.certificate == house.shelf.infos["local:gateway-signing"].current.certificate
    worker.seal(0)
    worker.seal(1)
    worker.intend(b"header")
    await house.until(lambda: worker.permitted)
    worker.finish(b"a container")
    done = await house.reaches(task, S.DONE)
    assert done.result is not None
    assert (done.result.state, done.result.sha256, done.result.size) == (
        ResultState.AVAILABLE,
        sha256(b"a container"),
        11,
    )
    assert done.result.file_name == f"gateway-{task.id}.se-1"
    assert house.artifacts.result_path(task.id).read_bytes() == b"a container"
    assert {each.status for each in done.subtasks} == {S.DONE}
    assert house.engine.repository.get(CHECKPOINTS, task.id) is None
    assert house.artifacts.tasks_with_work_dir() == ()
    assert list(house.artifacts.stored_inputs()) == []


async def test_a_signature_stands_in_the_task(house: House) -> None:
    task = await house.approve(await house.signing())
    worker = await house.worker(task)
    worker.intend(b"sign me")
    await house.until(lambda: worker.permitted)
    worker.finish_signature(b"signed")
    done = await house.reaches(task, S.DONE)
    assert done.result is not None
    assert done.result.signature == base64.b64encode(b"signed").decode()
    assert (done.result.link, done.result.expires_at, done.result.retained_until) == (None, None, None)


async def test_an_encrypted_file_is_named_after_its_input(house: House) -> None:
    worker = await house.worker(await house.encryption())
    worker.finish(b"encrypted")
    done = await house.reaches(worker.id, S.DONE)
    assert done.result is not None
    assert done.result.file_name == "firmware.bin.encrypted"


async def test_a_sealed_segment_is_durable_before_the_intent(house: House) -> None:
    worker = await house.worker(await house.approved_package(files=2))
    segments = (worker.seal(1), worker.seal(0))
    worker.intend()
    await house.until(lambda: worker.permitted)
    on_disk = TinyDocumentStore.open(house.places.store, {}, write=False)
    work = on_disk.get(CHECKPOINTS.name, worker.id)
    assert work is not None
    assert [each["index"] for each in work["segments"]] == [1, 0]
    assert {each["sha256"] for each in work["segments"]} == {each.sha256 for each in segments}
    assert work["header"] == worker.header


async def test_the_intent_is_durable_and_audited_before_the_key_may_be_used(house: House) -> None:
    worker = await house.worker(await house.approved_package())
    seen: list[object] = []
    permit = house.bus.permit_signing

    async def looking(task_id: str, fence: int) -> None:
        on_disk = TinyDocumentStore.open(house.places.store, {}, write=False)
        seen.append(on_disk.get("tasks", task_id)["intent"])  # type: ignore[index]
        seen.append([each["change"] for each in on_disk.pending_audit()])
        await permit(task_id, fence)

    house.bus.permit_signing = looking  # type: ignore[method-assign]
    worker.intend(b"header")
    await house.until(lambda: worker.permitted)
    intent, changes = seen
    assert intent["sha256"] == sha256(b"header")  # type: ignore[index]
    assert "KEY_USED" in changes  # type: ignore[operator]


async def test_progress_is_told(house: House) -> None:
    worker = await house.worker(await house.encryption())
    listening = listen(house.engine.events, None)
    waiting = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    worker.beat(4, 16)
    event = await waiting
    assert isinstance(event, TaskProgressed)
    assert (event.task_id, event.bytes_done, event.bytes_total) == (worker.id, 4, 16)
    assert event.cursor == house.engine.events.cursor
    live = house.engine.queries.get(DEV, worker.id).live
    assert live is not None
    assert (live.bytes_done, live.bytes_total) == (4, 16)
    await listening.aclose()  # type: ignore[attr-defined]
    worker.finish()
    await house.ended(worker.id)
    assert house.engine.queries.get(DEV, worker.id).live is None


# ---- workers that die


async def test_a_lost_worker_is_followed_by_another_with_what_was_recorded(house: House) -> None:
    worker = await house.worker(await house.approved_package(files=2))
    segment = worker.seal(0)
    worker.intend(b"header")
    await house.until(lambda: worker.permitted)
    worker.die()
    await house.until(lambda: house.task(worker.id).lease_losses == 1)
    again = await house.worker(worker.id)
    assert (again.fence, again.job.task.status, again.job.task.lease_losses) == (2, S.RUNNING, 1)
    assert again.job.checkpoint.segments == (segment,)
    assert again.job.checkpoint.header == worker.header
    assert again.job.task.intent is not None
    assert again.job.task.intent.sha256 == sha256(b"header")
    again.intend(b"header")
    await house.until(lambda: again.permitted)
    again.finish()
    assert (await house.ended(worker.id)).status is S.DONE
    used = [each.message for each in await house.audit(AuditAction.KEY_USED)]
    assert used == ["signing key used", "signing key used again for the same data, after the signature was lost"]


async def test_a_second_attempt_never_signs_anything_else(house: House) -> None:
    worker = await house.worker(await house.approved_package())
    worker.intend(b"header")
    await house.until(lambda: worker.permitted)
    worker.die()
    await house.until(lambda: house.task(worker.id).lease_losses == 1)
    again = await house.worker(worker.id)
    again.intend(b"another header")
    await house.until(lambda: again.told_to_stop)
    assert not again.permitted
    again.leave()
    over = await house.ended(worker.id)
    assert over.status is S.FAILED
    assert "does not sign twice" in over.reason
    assert len(await house.audit(AuditAction.KEY_USED)) == 1


async def test_the_third_lost_worker_fails_the_task(house: House) -> None:
    task = await house.encryption()
    for losses in (1, 2, 3):
        worker = await house.worker(task)
        assert worker.fence == losses
        worker.die()
        await house.until(lambda: house.task(task.id).lease_losses == losses)  # noqa: B023
    over = await house.ended(task)
    assert (over.status, over.reason_code) == (S.FAILED, "worker")
    assert house.artifacts.tasks_with_work_dir() == ()


async def test_what_an_old_worker_says_is_ignored(house: House) -> None:
    old = await house.worker(await house.approved_package())
    old.die()
    await house.until(lambda: house.task(old.id).lease_losses == 1)
    worker = await house.worker(old.id)
    old.seal(0)
    old.intend(b"old")
    house.bus._reports.put_nowait(JobFinished(task_id=old.id, fencing_token=1, sha256="00" * 32, size=0))
    worker.intend(b"new")
    await house.until(lambda: worker.permitted)
    task = house.task(old.id)
    assert task.intent is not None
    assert task.intent.sha256 == sha256(b"new")
    assert house.engine.repository.get(CHECKPOINTS, old.id).segments == ()  # type: ignore[union-attr]
    assert (old.id, 1) not in house.bus.permits
    worker.finish()
    assert (await house.ended(old.id)).status is S.DONE


async def test_what_a_worker_cannot_do_fails_the_task_with_its_words(house: House) -> None:
    worker = await house.worker(await house.encryption())
    worker.break_down(StorageError("The disk is full.", "Free some space and submit the request again."))
    over = await house.ended(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "storage")
    assert over.reason == "The disk is full. Free some space and submit the request again."


async def test_a_finished_report_without_its_file_fails_the_task(house: House) -> None:
    for lie in ("missing", "short"):
        worker = await house.worker(await house.encryption())
        if lie == "short":
            worker.product("encrypted").write_bytes(b"x")
        worker.finish_without_a_file()
        over = await house.ended(worker.id)
        assert (over.status, over.reason_code) == (S.FAILED, "storage")
    assert house.bus.places == {}


async def test_a_job_that_cannot_be_handed_over_is_tried_again(house: House) -> None:
    house.bus.deaf = WorkerError("The worker died.")
    task = await house.encryption()
    await house.until(lambda: house.task(task.id).lease_losses == 1 or house.task(task.id).status is S.SCHEDULED)
    house.bus.deaf = None
    worker = await house.worker(task)
    worker.finish()
    assert (await house.ended(task)).status is S.DONE
    assert house.bus.places == {}


async def test_a_task_waits_while_no_worker_can_be_started(house: House) -> None:
    house.bus.trouble = WorkerError("The worker cannot be started.", "Look into the log.")
    task = await house.encryption()
    await house.until(lambda: house.engine.scheduler.start_error is not None)
    with pytest.raises(WorkerError):
        await house.engine.scheduler.wait_idle()
    assert house.task(task.id).status is S.SCHEDULED
    assert house.bus.places == {}
    house.bus.trouble = None
    await house.until(lambda: house.clock.sleeping(1))
    await house.later(seconds=1)
    (await house.worker(task)).finish()
    await house.ended(task)
    await house.engine.scheduler.wait_idle()


# ---- cancelling


async def test_a_queued_task_is_cancelled_at_once(house: House) -> None:
    await house.reopen(work=False)
    task = await house.approved_package()
    over = await house.cancel(task)
    assert (over.status, over.reason) == (S.CANCELLED, "Cancelled by USER:dev.")
    assert house.engine.queries.get(DEV, task.id).live is None
    with pytest.raises(InvalidTransitionError):
        await house.cancel(task)


async def test_a_running_task_is_cancelled_when_its_worker_has_stopped(house: House) -> None:
    worker = await house.worker(await house.approved_package())
    cancelling = asyncio.create_task(house.cancel(house.task(worker.id), OWNER))
    await house.until(lambda: worker.told_to_stop)
    assert house.task(worker.id).status is S.RUNNING
    assert not cancelling.done()
    worker.leave()
    over = await cancelling
    assert (over.status, over.reason) == (S.CANCELLED, "Cancelled by USER:owner.")
    assert (await house.audit(AuditAction.CANCELLED))[-1].author == OWNER


async def test_a_worker_that_dies_of_being_stopped_ends_the_task_all_the_same(house: House) -> None:
    worker = await house.worker(await house.approved_package())
    cancelling = asyncio.create_task(house.cancel(house.task(worker.id)))
    await house.until(lambda: worker.told_to_stop)
    worker.die()
    assert (await cancelling).status is S.CANCELLED


async def test_a_task_cancelled_while_its_job_is_handed_over_is_stopped(house: House) -> None:
    run, going = house.bus.run, asyncio.Event()

    async def slowly(job: object) -> None:
        await going.wait()
        await run(job)  # type: ignore[arg-type]

    house.bus.run = slowly  # type: ignore[method-assign]
    task = await house.encryption()
    await house.reaches(task, S.RUNNING)
    cancelling = asyncio.create_task(house.cancel(task))
    await house.until(lambda: house.engine.scheduler._running[task.id].attempt._stop_trigger is not None)
    going.set()
    worker = await house.worker(task)
    await house.until(lambda: worker.told_to_stop)
    worker.leave()
    assert (await cancelling).status is S.CANCELLED


async def test_cancelling_is_for_the_requester_and_approvers(house: House) -> None:
    task = await house.package()
    with pytest.raises(PermissionDeniedError):
        await house.cancel(task, CLIENT)
    assert (await house.cancel(task, SECOND)).status is S.CANCELLED


# ---- periods, on both sides of each edge


async def test_the_approval_period_ends_a_waiting_task(house: House) -> None:
    await house.policy(approval_timeout=60)
    task = await house.package()
    await house.later(seconds=59, microseconds=999_999)
    await house.durable()
    assert house.task(task.id).status is S.WAITING
    await house.later(microseconds=1)
    over = await house.ended(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "approval-period")


async def test_an_approval_a_moment_before_the_end_counts_and_one_after_does_not(house: House) -> None:
    await house.policy(approval_timeout=60)
    in_time, late = await house.package(), await house.package()
    await house.later(seconds=59, microseconds=999_999)
    assert (await house.approve(in_time)).status is S.SCHEDULED
    await house.later(microseconds=1)
    with pytest.raises(ConflictError, match="period"):
        await house.approve(late)
    assert (await house.ended(late)).reason_code == "approval-period"


async def test_the_execution_period_ends_a_task_that_no_worker_takes(house: House) -> None:
    house.bus.small_places = 0
    await house.policy(execution_timeout=60)
    task = await house.approved_package()
    await house.later(seconds=59, microseconds=999_999)
    await house.durable()
    assert house.task(task.id).status is S.SCHEDULED
    await house.later(microseconds=1)
    over = await house.ended(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "execution-period")


async def test_tasks_whose_period_ended_while_no_engine_ran_are_not_given_to_workers(house: House) -> None:
    await house.policy(execution_timeout=60)
    await house.reopen(work=False)
    tasks = [await house.approved_package() for _ in range(5)]
    await house.close()
    house.clock.move(seconds=60)
    await house.open()
    for each in tasks:
        assert (await house.ended(each)).reason_code == "execution-period"
    assert {each.status for task in tasks for each in house.task(task.id).history} & {S.RUNNING} == set()


async def test_the_time_limit_ends_a_running_task(house: House) -> None:
    await house.policy(time_limit=60)
    worker = await house.worker(await house.encryption())
    await house.later(seconds=59, microseconds=999_999)
    await house.durable()
    assert not worker.told_to_stop
    await house.later(microseconds=1)
    await house.until(lambda: worker.told_to_stop)
    worker.leave()
    over = await house.ended(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "time-limit")


async def test_the_time_limit_runs_on_while_a_task_waits_for_another_worker(house: House) -> None:
    await house.policy(time_limit=60)
    worker = await house.worker(await house.encryption())
    house.bus.small_places = 0
    worker.die()
    await house.reaches(worker.id, S.SCHEDULED)
    await house.later(seconds=60)
    over = await house.ended(worker.id)
    assert (over.status, over.reason_code) == (S.FAILED, "time-limit")


# ---- the queue


async def test_a_small_job_is_not_stuck_behind_large_ones(house: House) -> None:
    large = await house.upload()
    path = house.artifacts.input_path(large.sha256)
    with path.open("r+b") as file:
        file.truncate(LARGE_JOB_BYTES)
    file_of = InputFile(name="large.bin", size=LARGE_JOB_BYTES, sha256=large.sha256)
    tasks = [await house.encryption(file=file_of) for _ in range(3)]
    await house.worker(tasks[0])
    small = await house.encryption(file=await house.upload(b"small"))
    assert (await house.worker(small)).job.task.kind is TaskKind.ENCRYPTION
    assert [house.task(each.id).status for each in tasks] == [S.RUNNING, S.SCHEDULED, S.SCHEDULED]


async def test_the_place_in_the_queue_and_an_estimate_are_shown(house: House) -> None:
    house.bus.small_places = 1
    tasks = [await house.encryption(file=await house.upload(b"f" * 1000)) for _ in range(3)]
    worker = await house.worker(tasks[0])

    def lives() -> list[object]:
        return [house.engine.queries.get(DEV, each.id).live for each in tasks]

    running, second, third = lives()
    assert [running.queue_position, second.queue_position, third.queue_position] == [None, 1, 2]  # type: ignore[attr-defined]
    assert 0 < second.eta_seconds < third.eta_seconds  # type: ignore[attr-defined]
    worker.finish()
    await house.worker(tasks[1])
    assert lives()[2].queue_position == 1  # type: ignore[attr-defined]


async def test_first_come_is_first_served(house: House) -> None:
    house.bus.small_places = 1
    tasks = [await house.encryption() for _ in range(4)]
    for each in tasks:
        worker = await house.worker(each)
        assert list(house.bus.jobs) == [each.id]
        worker.finish()
        await house.ended(each)


# ---- a disk that refuses for a while


async def test_a_full_disk_loses_no_task_whichever_commit_meets_it(house: House, disk: Disk) -> None:
    task = await house.approved_package()
    worker = await house.worker(task)
    for act in (lambda: worker.seal(0), worker.intend, worker.finish):
        disk.fail()
        act()
        await house.until(lambda: disk.failed_all and house.clock.sleeping(1))
        assert house.task(task.id).status is S.RUNNING
        assert not worker.permitted or act == worker.finish
        await house.later(seconds=1)
        await house.until(lambda: not house.clock.sleeping(1))
        if act == worker.intend:
            await house.until(lambda: worker.permitted)
    assert (await house.ended(task)).status is S.DONE
    assert len(await house.audit(AuditAction.KEY_USED)) == 1


async def test_a_lease_that_could_not_be_stored_does_not_undo_what_came_between(house: House, disk: Disk) -> None:
    house.bus.small_places = 0
    task = await house.approved_package()
    await house.durable()
    disk.fail()
    house.bus.small_places = 4
    house.engine.scheduler._queue_changed.set()
    await house.until(lambda: disk.failed_all and house.clock.sleeping(1))
    assert house.task(task.id).status is S.SCHEDULED
    assert (await house.cancel(task)).status is S.CANCELLED
    await house.later(seconds=1)
    await house.until(lambda: not house.engine.scheduler._running)
    await house.durable()
    assert house.task(task.id).status is S.CANCELLED
    assert house.bus.jobs == {}


async def test_a_lease_that_could_not_be_stored_is_tried_again(house: House, disk: Disk) -> None:
    disk_is_full_at_the_lease = asyncio.Event()
    prepare = house.bus.prepare

    async def preparing(task_id: str) -> str:
        if not disk_is_full_at_the_lease.is_set():
            disk.fail()
            disk_is_full_at_the_lease.set()
        return await prepare(task_id)

    house.bus.prepare = preparing  # type: ignore[method-assign]
    task = await house.encryption()
    await house.until(lambda: disk.failed_all and house.clock.sleeping(1))
    await house.later(seconds=1)
    worker = await house.worker(task)
    assert (worker.fence, house.task(task.id).lease_losses) == (1, 0)
    worker.finish()
    assert (await house.ended(task)).status is S.DONE


async def test_a_disk_that_refuses_to_clear_up_stops_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: str) -> None:
        raise StorageError("The disk refuses.")

    monkeypatch.setattr(house.artifacts, "delete_work", refuse)
    monkeypatch.setattr(house.artifacts, "delete_input", refuse)
    for _ in range(2):
        done = await house.done_package()
        assert done.status is S.DONE
    await house.engine.scheduler.wait_idle()
