"""Tests of jobs on other machines: grants, repeated reports, and attempts that outlive the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sealyard.engine.state.tables import CHECKPOINTS
from sealyard.jobs.bus import Reattachment, Report
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ArtifactStoreError, ZoneUnavailableError
from sealyard.model.grants import ResultContent
from sealyard.model.key_commands import ProbeSigningKey
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.worker_messages import BuildSecretCreated, JobFinished, SegmentEncrypted, SigningPermissionRequested
from sealyard.model.zone_messages import GrantsRequested
from sealyard.model.zone_status import ZoneStatus
from sealyard.model.zones import ZonePublicKeys, ZoneSettings
from sealyard.storage.artifacts import ResultId
from tests.support.engine_harness import DEV, EngineHarness, sha256
from tests.support.fake_bus import FakeWorker
from tests.support.remote_artifacts import FakeRemoteArtifacts

pytestmark = pytest.mark.anyio

S = TaskStatus
CONTENT = b"a container"
KEYS = ZonePublicKeys(report_key=bytes(32), sealing_key=bytes(32))
STORE_ERROR = ArtifactStoreError("The store does not answer.", "Try again.")


class RemoteHarness(EngineHarness):
    """A workspace whose workers are on other machines."""

    is_remote = True
    zone = ZoneSettings(name="plant", bus="service=bus", keys=KEYS)
    artifacts: FakeRemoteArtifacts

    def upload_result(self, worker: FakeWorker, content: bytes = CONTENT) -> JobFinished:
        """Upload the result of the job, and return the report about it."""
        self.artifacts.upload(ResultId(worker.id, worker.fencing_token), content)
        return JobFinished(
            task_id=worker.id, fencing_token=worker.fencing_token, sha256=sha256(content), size=len(content)
        )

    async def restart(self, worker: FakeWorker, reattachment: Reattachment) -> FakeWorker:
        """Open the next engine, and return the worker as it knows it."""
        await self.close()
        return await self.start(worker, reattachment)

    async def start(self, worker: FakeWorker, reattachment: Reattachment, *, work: bool = True) -> FakeWorker:
        self.reattachments = {worker.id: reattachment}
        await self.open(work=work)
        if reattachment is Reattachment.RUNNING:
            self.bus.jobs[worker.id] = worker.job
        return FakeWorker(self.bus, worker.job, self.artifacts, self.clock)

    async def finish(self, worker: FakeWorker) -> Task:
        self.bus.report(self.upload_result(worker))
        return await self.wait_for_status(worker.id, S.DONE)

    async def report_and_wait(self, *reports: Report) -> None:
        """Send reports, and wait until each of them was acknowledged."""
        self.bus.acknowledged.clear()
        for report in reports:
            self.bus.report(report)
        await self.wait_until(lambda: self.bus.acknowledged == list(reports))

    async def wait_for_preparation(self) -> Task:
        """Create a task whose job no host claims, and wait until it is in the queue of the zone."""
        self.bus.claim_gate = asyncio.Event()
        task = await self.encryption()
        await self.wait_until(lambda: task.id in self.bus.prepared)
        return task


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[RemoteHarness]:
    harness = RemoteHarness(tmp_path / "workspace")
    await harness.create()
    await harness.open()
    await harness.add_default_subjects()
    yield harness
    if harness.is_open:
        await harness.close()


def request_signing(worker: FakeWorker) -> SigningPermissionRequested:
    return SigningPermissionRequested(
        task_id=worker.id, fencing_token=worker.fencing_token, sha256=sha256(b"header"), header=worker.header
    )


# ---- grants and results


async def test_inputs_are_granted_with_the_job(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    assert harness.bus.prepared == {worker.id: 1}
    granted = {grant.sha256: grant.size for grant in harness.bus.input_grants[worker.id]}
    assert granted == {file.sha256: file.size for file in worker.job.task.inputs}
    task = await harness.finish(worker)
    assert task.result is not None
    assert (task.result.sha256, task.result.size) == (sha256(CONTENT), len(CONTENT))
    assert harness.artifacts.confirmed == [ResultId(task.id, 1)]


async def test_job_waits_for_unreachable_store(harness: RemoteHarness) -> None:
    task = await harness.package()
    harness.artifacts.error = STORE_ERROR
    await harness.approve(task)
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    assert harness.bus.jobs == {}
    harness.artifacts.error = None
    harness.clock.advance(seconds=10)
    await harness.wait_for_worker(task)


async def test_other_uploaded_result_fails_task(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    report = harness.upload_result(worker)
    harness.artifacts.upload(ResultId(worker.id, 1), b"something else")
    harness.bus.report(report)
    assert (await harness.wait_until_final(worker.id)).reason_code == "integrity"
    assert len(await harness.audit_entries(AuditAction.CORRUPTED)) == 1


async def test_requested_grants_are_issued(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    (file,) = worker.job.task.inputs
    content = ResultContent(sha256=sha256(CONTENT), size=len(CONTENT))
    await harness.report_and_wait(
        GrantsRequested(task_id=worker.id, fencing_token=1, inputs=(file.sha256,), result=content)
    )
    ((task_id, fencing_token, inputs, result),) = harness.bus.grants
    assert (task_id, fencing_token, [grant.sha256 for grant in inputs]) == (worker.id, 1, [file.sha256])
    assert result is not None
    assert result.sha256 == content.sha256


@pytest.mark.parametrize(
    "fields",
    [
        {"inputs": (sha256(b"input of another task"),)},
        {"result": ResultContent(sha256=sha256(CONTENT), size=1 << 30)},
        {"fencing_token": 7},
    ],
    ids=["input", "size", "fencing-token"],
)
async def test_unexpected_grants_are_not_issued(harness: RemoteHarness, fields: dict[str, object]) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.report_and_wait(
        GrantsRequested(**{"task_id": worker.id, "fencing_token": 1, **fields})  # type: ignore[arg-type]
    )
    assert harness.bus.grants == []
    await harness.finish(worker)


async def test_report_about_unknown_task_is_acknowledged(harness: RemoteHarness) -> None:
    await harness.report_and_wait(GrantsRequested(task_id="missing", fencing_token=1))


# ---- repeated reports


async def test_repeated_reports_change_nothing(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package(files=2))
    secret = BuildSecretCreated(task_id=worker.id, fencing_token=1, secret=worker.create_build_secret())
    segments = [
        SegmentEncrypted(task_id=worker.id, fencing_token=1, segment=worker.encrypt_segment(index)) for index in (0, 1)
    ]
    permission = request_signing(worker)
    harness.bus.report(permission)
    await harness.wait_until(lambda: permission in harness.bus.acknowledged)
    checkpoint = harness.engine.repository.get(CHECKPOINTS, worker.id)
    await harness.report_and_wait(secret, *segments, permission)
    assert checkpoint is not None
    assert (len(checkpoint.segments), checkpoint.header) == (2, worker.header)
    assert harness.engine.repository.get(CHECKPOINTS, worker.id) == checkpoint
    assert harness.bus.confirmed_secrets == [(worker.id, 1)] * 2
    assert harness.bus.permits == [(worker.id, 1)] * 2
    assert len(await harness.audit_entries(AuditAction.KEY_USED)) == 1
    await harness.finish(worker)


async def test_reports_after_the_end_are_acknowledged(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    task = await harness.finish(worker)
    await harness.report_and_wait(harness.upload_result(worker, b"another container"))
    assert harness.task(task.id) == task


async def test_unhandled_report_is_not_acknowledged(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    harness.artifacts.error = STORE_ERROR
    harness.bus.report(harness.upload_result(worker))
    await harness.wait_until(lambda: harness.clock.has_sleeper(10))
    await harness.close()
    assert harness.bus.acknowledged == []


# ---- engine restarts


async def test_running_job_continues_with_next_engine(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    worker = await harness.restart(worker, Reattachment.RUNNING)
    task = harness.task(worker.id)
    assert (task.status, task.fencing_token) == (S.RUNNING, 1)
    worker.send_heartbeat(3, 16)
    await harness.wait_until(lambda: harness.engine.queries.get(DEV, worker.id).live)
    harness.bus.report(request_signing(worker))
    await harness.wait_until(lambda: worker.permitted)
    task = await harness.finish(worker)
    assert (task.fencing_token, task.lease_losses) == (1, 0)
    await harness.engine.scheduler.wait_idle()


async def test_confirmed_result_is_confirmed_again(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    report = harness.upload_result(worker)
    harness.artifacts.confirm_result(ResultId(worker.id, 1), sha256(CONTENT), len(CONTENT), lambda _: None)
    await harness.restart(worker, Reattachment.RUNNING)
    harness.bus.report(report)
    assert (await harness.wait_for_status(worker.id, S.DONE)).fencing_token == 1


async def test_claimed_job_is_sent_again(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.restart(worker, Reattachment.CLAIMED)
    worker = await harness.wait_for_worker(worker.id)
    assert (worker.fencing_token, len(harness.bus.input_grants[worker.id])) == (1, 1)
    await harness.finish(worker)


async def test_lost_job_starts_again(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.restart(worker, Reattachment.LOST)
    worker = await harness.wait_for_worker(worker.id)
    assert (worker.fencing_token, harness.task(worker.id).lease_losses) == (2, 0)


async def test_interrupted_attempts_do_not_fail_the_task(harness: RemoteHarness) -> None:
    """For example, each crypto host is shut down in turn, or the bus database cannot be reached several times."""
    task = await harness.approved_package()
    for _ in range(4):
        worker = await harness.wait_for_worker(task)
        worker.crash("The crypto host is shutting down.", is_interrupted=True)
    worker = await harness.wait_for_worker(task)
    assert (worker.fencing_token, harness.task(task.id).lease_losses) == (5, 0)
    done = await harness.finish(worker)
    assert done.approvals == task.approvals


async def test_reason_of_a_host_is_in_the_failed_task(harness: RemoteHarness) -> None:
    task = await harness.encryption()
    for _ in range(3):
        (await harness.wait_for_worker(task)).crash("The order is invalid.")
    failed = await harness.wait_until_final(task)
    assert (failed.status, failed.reason_code) == (S.FAILED, "worker")
    assert "The order is invalid." in failed.reason


async def test_continued_job_can_be_cancelled(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    worker = await harness.restart(worker, Reattachment.RUNNING)
    cancellation = asyncio.create_task(harness.cancel(harness.task(worker.id)))
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await cancellation).status is S.CANCELLED


async def test_time_limit_passes_while_no_engine_runs(harness: RemoteHarness) -> None:
    await harness.set_policy(time_limit=600)
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.close()
    harness.clock.advance(seconds=601)
    worker = await harness.start(worker, Reattachment.RUNNING)
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await harness.wait_until_final(worker.id)).reason_code == "time-limit"


async def test_engine_without_new_attempts_continues_jobs(harness: RemoteHarness) -> None:
    worker = await harness.wait_for_worker(await harness.encryption())
    await harness.close()
    worker = await harness.start(worker, Reattachment.RUNNING, work=False)
    await harness.finish(worker)


# ---- the wait for a host


async def test_unavailable_zone_is_a_warning(harness: RemoteHarness) -> None:
    harness.bus.zone = ZoneStatus(name="plant", reachable=False)
    harness.bus.commands.clear()
    health = await harness.engine.health.health()
    assert health.ready
    (check,) = [check for check in health.checks if check.name == "zone"]
    assert "cannot be used" in check.warning
    assert not any(isinstance(command, ProbeSigningKey) for command in harness.bus.commands)


async def test_unavailable_zone_is_no_failure_of_keys(harness: RemoteHarness) -> None:
    await harness.engine.key_monitor.check_new_keys()
    harness.bus.start_error = ZoneUnavailableError("No host is running.", "Start one.")
    harness.clock.advance(hours=30)
    await harness.engine.key_monitor.check_due_keys(60)
    await harness.engine.key_monitor.check_due_keys(60)
    assert all(check.passed for check in harness.engine.key_monitor.last_checks)


async def test_cancelled_task_does_not_wait_for_host(harness: RemoteHarness) -> None:
    task = await harness.wait_for_preparation()
    await harness.cancel(task)
    await harness.wait_until(lambda: not harness.bus.places)
    await harness.engine.scheduler.wait_idle()


async def test_drain_does_not_wait_for_hosts(harness: RemoteHarness) -> None:
    running_task = await harness.encryption()
    await harness.wait_for_worker(running_task)
    waiting_task = await harness.wait_for_preparation()
    assert await harness.engine.scheduler.drain(60) == 0
    assert [harness.task(task.id).status for task in (running_task, waiting_task)] == [S.RUNNING, S.SCHEDULED]


async def test_unclaimed_task_shows_reason(harness: RemoteHarness) -> None:
    harness.bus.start_error = ZoneUnavailableError("No host has taken the task.", "Check the hosts.")
    task = await harness.encryption()
    await harness.wait_until(lambda: harness.task(task.id).reason)
    assert harness.task(task.id).reason.startswith("Waiting for the crypto zone: No host has taken the task.")
    harness.bus.start_error = None
    await harness.wait_until(lambda: harness.clock.has_sleeper(1))
    await harness.advance_clock(seconds=1)
    await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""


async def test_queued_task_shows_state_of_zone(harness: RemoteHarness) -> None:
    harness.bus.small_slots, harness.bus.zone = 0, ZoneStatus(name="plant", reachable=True)
    task = await harness.encryption()
    await harness.wait_until(lambda: harness.task(task.id).reason)
    shown = harness.task(task.id)
    assert (shown.status, shown.reason_code) == (S.SCHEDULED, "zone-unavailable")
    assert "No host of the crypto zone plant is running." in shown.reason
    with pytest.raises(ZoneUnavailableError):
        await harness.engine.scheduler.wait_idle()
    harness.bus.small_slots, harness.bus.zone = 4, None
    harness.bus.change_capacity()
    await harness.wait_for_worker(task)
    assert harness.task(task.id).reason == ""


async def test_reason_disappears_when_zone_is_back(harness: RemoteHarness) -> None:
    harness.bus.small_slots, harness.bus.zone = 0, ZoneStatus(name="plant", reachable=False)
    task = await harness.encryption()
    await harness.wait_until(lambda: harness.task(task.id).reason)
    harness.bus.zone = None
    await harness.wait_until(lambda: harness.clock.has_sleeper(5))
    harness.clock.advance(seconds=5)
    await harness.wait_until(lambda: not harness.task(task.id).reason)
    assert harness.task(task.id).status is S.SCHEDULED
