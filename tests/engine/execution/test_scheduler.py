"""Tests of the scheduler: worker reports, the queue, and failures of workers and of the disk."""

from __future__ import annotations

import asyncio
import base64

import pytest

from sealyard.engine.execution.transitions import RETRY_SECONDS
from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.jobs.bus import LARGE_JOB_BYTES
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    KeyStoreLockedError,
    StorageError,
    WorkerError,
)
from sealyard.model.events import TaskProgressed
from sealyard.model.tasks import InputFile, ResultState, TaskKind, TaskStatus
from sealyard.model.worker_messages import JobFinished
from sealyard.storage.documents import TinyDocumentStore
from tests.support.engine_harness import DEV, EngineHarness, listen, sha256
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_package_task_runs_until_done(harness: EngineHarness) -> None:
    task = await harness.approved_package(files=2)
    worker = await harness.wait_for_worker(task)
    assert (worker.job.task.status, worker.job.task.fencing_token, worker.job.task.worker) == (S.RUNNING, 1, "worker-1")
    assert worker.job.certificate == harness.shelf.infos["local:gateway-signing"].current.certificate
    worker.encrypt_segment(0)
    worker.encrypt_segment(1)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.finish(b"a container")
    done_task = await harness.wait_for_status(task, S.DONE)
    assert done_task.result is not None
    assert (done_task.result.state, done_task.result.sha256, done_task.result.size) == (
        ResultState.AVAILABLE,
        sha256(b"a container"),
        11,
    )
    assert done_task.result.file_name == f"gateway-{task.id}.se-1"
    assert harness.artifacts.result_path(task.id).read_bytes() == b"a container"
    assert {each.status for each in done_task.subtasks} == {S.DONE}
    assert harness.engine.repository.get(CHECKPOINTS, task.id) is None
    assert harness.artifacts.tasks_with_work_dir() == ()
    assert list(harness.artifacts.stored_inputs()) == []


async def test_signing_result_contains_signature(harness: EngineHarness) -> None:
    task = await harness.approve(await harness.signing())
    worker = await harness.wait_for_worker(task)
    worker.request_signing(b"sign me")
    await harness.wait_until(lambda: worker.permitted)
    worker.finish_signature(b"signed")
    done_task = await harness.wait_for_status(task, S.DONE)
    assert done_task.result is not None
    assert done_task.result.signature == base64.b64encode(b"signed").decode()
    assert (done_task.result.link, done_task.result.expires_at, done_task.result.retained_until) == (None, None, None)


async def test_encryption_result_is_named_after_input(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    worker.finish(b"encrypted")
    done_task = await harness.wait_for_status(worker.id, S.DONE)
    assert done_task.result is not None
    assert done_task.result.file_name == "firmware.bin.encrypted"


@pytest.mark.file_store
async def test_encrypted_segments_are_durable_before_intent(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segments = (worker.encrypt_segment(1), worker.encrypt_segment(0))
    worker.request_signing()
    await harness.wait_until(lambda: worker.permitted)
    on_disk = TinyDocumentStore.open_reader(harness.paths.store, {})
    work = on_disk.get(CHECKPOINTS.name, worker.id)
    assert work is not None
    assert [each["index"] for each in work["segments"]] == [1, 0]
    assert {each["sha256"] for each in work["segments"]} == {each.sha256 for each in segments}
    assert work["header"] == worker.header


@pytest.mark.file_store
async def test_intent_is_durable_before_signing_permission(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    observations: list[object] = []
    permit_signing = harness.bus.permit_signing

    async def record_state(task_id: str, fencing_token: int, sha256: str) -> None:
        on_disk = TinyDocumentStore.open_reader(harness.paths.store, {})
        observations.append(on_disk.get("tasks", task_id)["intent"])  # type: ignore[index]
        observations.append([each["change"] for each in on_disk.pending_audit()])
        await permit_signing(task_id, fencing_token, sha256)

    harness.bus.permit_signing = record_state  # type: ignore[method-assign]
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    intent, changes = observations
    assert intent["sha256"] == sha256(b"header")  # type: ignore[index]
    assert "KEY_USED" in changes  # type: ignore[operator]


async def test_heartbeat_publishes_progress(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    events = listen(harness.engine.events, None)
    next_event = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    worker.send_heartbeat(4, 16)
    event = await next_event
    assert isinstance(event, TaskProgressed)
    assert (event.task_id, event.bytes_done, event.bytes_total) == (worker.id, 4, 16)
    assert event.cursor == harness.engine.events.cursor
    progress = harness.engine.queries.get(DEV, worker.id).live
    assert progress is not None
    assert (progress.bytes_done, progress.bytes_total) == (4, 16)
    await events.aclose()  # type: ignore[attr-defined]
    worker.finish()
    await harness.wait_until_final(worker.id)
    assert harness.engine.queries.get(DEV, worker.id).live is None


# ---- worker failures


async def test_worker_crash_resumes_from_recorded_segments(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    segment = worker.encrypt_segment(0)
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.crash()
    await harness.wait_until(lambda: harness.task(worker.id).lease_losses == 1)
    second_worker = await harness.wait_for_worker(worker.id)
    assert (second_worker.fencing_token, second_worker.job.task.status, second_worker.job.task.lease_losses) == (
        2,
        S.RUNNING,
        1,
    )
    assert second_worker.job.checkpoint.segments == (segment,)
    assert second_worker.job.checkpoint.header == worker.header
    assert second_worker.job.task.intent is not None
    assert second_worker.job.task.intent.sha256 == sha256(b"header")
    second_worker.request_signing(b"header")
    await harness.wait_until(lambda: second_worker.permitted)
    second_worker.finish()
    assert (await harness.wait_until_final(worker.id)).status is S.DONE
    messages = [each.message for each in await harness.audit_entries(AuditAction.KEY_USED)]
    assert messages == ["signing key used", "signing key used again for the same data, after the signature was lost"]


async def test_second_attempt_rejects_other_signing_input(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker.request_signing(b"header")
    await harness.wait_until(lambda: worker.permitted)
    worker.crash()
    await harness.wait_until(lambda: harness.task(worker.id).lease_losses == 1)
    second_worker = await harness.wait_for_worker(worker.id)
    second_worker.request_signing(b"another header")
    await harness.wait_until(lambda: second_worker.was_cancelled)
    assert not second_worker.permitted
    second_worker.stop()
    final_task = await harness.wait_until_final(worker.id)
    assert final_task.status is S.FAILED
    assert "does not sign twice" in final_task.reason
    assert len(await harness.audit_entries(AuditAction.KEY_USED)) == 1


async def test_third_worker_crash_fails_task(harness: EngineHarness) -> None:
    task = await harness.encryption()
    for losses in (1, 2, 3):
        worker = await harness.wait_for_worker(task)
        assert worker.fencing_token == losses
        worker.crash()
        await harness.wait_until(lambda: harness.task(task.id).lease_losses == losses)  # noqa: B023
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (S.FAILED, "worker")
    assert harness.artifacts.tasks_with_work_dir() == ()


async def test_reports_with_old_fencing_token_are_ignored(harness: EngineHarness) -> None:
    old_worker = await harness.wait_for_worker(await harness.approved_package())
    old_worker.crash()
    await harness.wait_until(lambda: harness.task(old_worker.id).lease_losses == 1)
    worker = await harness.wait_for_worker(old_worker.id)
    old_worker.encrypt_segment(0)
    old_worker.request_signing(b"old")
    harness.bus._reports.put_nowait(JobFinished(task_id=old_worker.id, fencing_token=1, sha256="00" * 32, size=0))
    worker.request_signing(b"new")
    await harness.wait_until(lambda: worker.permitted)
    task = harness.task(old_worker.id)
    assert task.intent is not None
    assert task.intent.sha256 == sha256(b"new")
    assert harness.engine.repository.get(CHECKPOINTS, old_worker.id).segments == ()  # type: ignore[union-attr]
    assert (old_worker.id, 1) not in harness.bus.permits
    worker.finish()
    assert (await harness.wait_until_final(old_worker.id)).status is S.DONE


async def test_job_failure_fails_task_with_reason(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    worker.fail(StorageError("The disk is full.", "Free some space and submit the request again."))
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code) == (S.FAILED, "storage")
    assert final_task.reason == "The disk is full. Free some space and submit the request again."


async def test_finished_report_without_file_fails_task(harness: EngineHarness) -> None:
    for defect in ("missing", "short"):
        worker = await harness.wait_for_worker(await harness.encryption())
        if defect == "short":
            worker.output_path("encrypted").write_bytes(b"x")
        worker.finish_without_a_file()
        final_task = await harness.wait_until_final(worker.id)
        assert (final_task.status, final_task.reason_code) == (S.FAILED, "storage")
    assert harness.bus.places == {}


async def test_failed_job_dispatch_is_retried(harness: EngineHarness) -> None:
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


async def test_locked_key_store_is_shown_on_the_task(harness: EngineHarness) -> None:
    harness.bus.start_error = KeyStoreLockedError("The key store is locked.", "Open it.")
    task = await harness.approved_package()
    await harness.wait_until(lambda: harness.task(task.id).reason)
    shown = harness.task(task.id)
    assert (shown.status, shown.reason_code) == (S.SCHEDULED, "key-store-locked")
    assert shown.reason == "Waiting for the key store: The key store is locked. Open it."
    harness.bus.start_error = None
    await harness.wait_until(lambda: harness.clock.has_sleeper(RETRY_SECONDS))
    await harness.advance_clock(seconds=RETRY_SECONDS)
    await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""


async def test_worker_start_failure_keeps_task_scheduled(harness: EngineHarness) -> None:
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


# ---- the queue


async def test_small_job_overtakes_large_jobs(harness: EngineHarness) -> None:
    large = await harness.upload()
    path = harness.artifacts.input_path(large.sha256)
    with path.open("r+b") as file:
        file.truncate(LARGE_JOB_BYTES)
    large_input = InputFile(name="large.bin", size=LARGE_JOB_BYTES, sha256=large.sha256)
    tasks = [await harness.encryption(file=large_input) for _ in range(3)]
    await harness.wait_for_worker(tasks[0])
    small = await harness.encryption(file=await harness.upload(b"small"))
    assert (await harness.wait_for_worker(small)).job.task.kind is TaskKind.ENCRYPTION
    assert [harness.task(each.id).status for each in tasks] == [S.RUNNING, S.SCHEDULED, S.SCHEDULED]


async def test_queue_position_and_eta_are_reported(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    tasks = [await harness.encryption(file=await harness.upload(b"f" * 1000)) for _ in range(3)]
    worker = await harness.wait_for_worker(tasks[0])

    def list_progress() -> list[object]:
        return [harness.engine.queries.get(DEV, each.id).live for each in tasks]

    running, second, third = list_progress()
    assert [running.queue_position, second.queue_position, third.queue_position] == [None, 1, 2]  # type: ignore[attr-defined]
    assert 0 < second.eta_seconds < third.eta_seconds  # type: ignore[attr-defined]
    worker.finish()
    await harness.wait_for_worker(tasks[1])
    assert list_progress()[2].queue_position == 1  # type: ignore[attr-defined]


async def test_queued_tasks_run_in_order(harness: EngineHarness) -> None:
    harness.bus.small_slots = 1
    tasks = [await harness.encryption() for _ in range(4)]
    for each in tasks:
        worker = await harness.wait_for_worker(each)
        assert list(harness.bus.jobs) == [each.id]
        worker.finish()
        await harness.wait_until_final(each)


# ---- disk failures


async def test_failed_commit_is_retried(harness: EngineHarness, disk: FailingDisk) -> None:
    task = await harness.approved_package()
    worker = await harness.wait_for_worker(task)
    for call in (lambda: worker.encrypt_segment(0), worker.request_signing, worker.finish):
        disk.fail()
        call()
        await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
        assert harness.task(task.id).status is S.RUNNING
        assert not worker.permitted or call == worker.finish
        await harness.advance_clock(seconds=1)
        await harness.wait_until(lambda: not harness.clock.has_sleeper(1))
        if call == worker.request_signing:
            await harness.wait_until(lambda: worker.permitted)
    assert (await harness.wait_until_final(task)).status is S.DONE
    assert len(await harness.audit_entries(AuditAction.KEY_USED)) == 1


async def test_failed_lease_commit_keeps_cancellation(harness: EngineHarness, disk: FailingDisk) -> None:
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


async def test_failed_lease_commit_is_retried(harness: EngineHarness, disk: FailingDisk) -> None:
    disk_full = asyncio.Event()
    prepare = harness.bus.prepare

    async def prepare_with_full_disk(task_id: str, fencing_token: int) -> str:
        if not disk_full.is_set():
            disk.fail()
            disk_full.set()
        return await prepare(task_id, fencing_token)

    harness.bus.prepare = prepare_with_full_disk  # type: ignore[method-assign]
    task = await harness.encryption()
    await harness.wait_until(lambda: disk.failed_all and harness.clock.has_sleeper(1))
    await harness.advance_clock(seconds=1)
    worker = await harness.wait_for_worker(task)
    assert (worker.fencing_token, harness.task(task.id).lease_losses) == (1, 0)
    worker.finish()
    assert (await harness.wait_until_final(task)).status is S.DONE


async def test_failed_cleanup_does_not_stop_scheduler(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise StorageError("The disk failed.")

    monkeypatch.setattr(harness.artifacts, "delete_work", fail)
    monkeypatch.setattr(harness.artifacts, "delete_input", fail)
    for _ in range(2):
        done_task = await harness.done_package()
        assert done_task.status is S.DONE
    await harness.engine.scheduler.wait_idle()
