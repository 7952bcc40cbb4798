"""One attempt to execute a task: lease it to a worker, run its job there, and handle the worker's reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import msgspec

from sealyard.concurrency.backoff import RetryDelays
from sealyard.engine.execution.progress import ProgressEstimator
from sealyard.engine.execution.remote_artifacts import retry_artifact_store, stage_inputs
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.state.clock_guard import ClockGuard
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import CHECKPOINTS, KEYS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.jobs.bus import JobBus, Report
from sealyard.model.access import SYSTEM_SUBJECT, Action, device_resource
from sealyard.model.approval import valid_approvers
from sealyard.model.audit import AuditAction
from sealyard.model.deadlines import expired_deadline
from sealyard.model.errors import (
    DiskFullError,
    IntegrityError,
    InvalidTransitionError,
    KeyProviderUnavailableError,
    SealyardError,
    StorageError,
)
from sealyard.model.lifecycle import DISK_FULL_NOTE, KEY_PROVIDER_NOTE
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.triggers import (
    CancellationConfirmed,
    DiskFull,
    Failed,
    IntentRecorded,
    KeyProviderLost,
    Leased,
    LeaseExpired,
    PermissionRevoked,
    SegmentRecorded,
    Trigger,
)
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    Job,
    JobCheckpoint,
    JobFailed,
    JobFinished,
    JobStopped,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.storage.artifacts import ArtifactStore

RETRY_SECONDS = 1.0

DISK_FULL_DELAYS = RetryDelays.exponential(2.0, 300.0)
"""Seconds before the next attempt after attempts that found a full disk."""

KEY_PROVIDER_DELAYS = RetryDelays.exponential(1.0, 60.0)
"""Seconds before the next attempt after attempts for which a key provider was unavailable."""


log = logging.getLogger(__name__)


class Attempt:
    """Runs a task on a worker until it ends or loses its lease. The only writer of the task while it is RUNNING."""

    def __init__(
        self,
        task_id: str,
        repository: Repository,
        permissions: Permissions,
        bus: JobBus,
        publisher: ResultPublisher,
        artifacts: ArtifactStore,
        progress: ProgressEstimator,
        clock_guard: ClockGuard,
    ) -> None:
        self.task_id = task_id
        self.inbox: asyncio.Queue[Report] = asyncio.Queue()
        """Reports from the task's worker, except heartbeats."""
        self._repository = repository
        self._permissions = permissions
        self._bus = bus
        self._publisher = publisher
        self._artifacts = artifacts
        self._progress = progress
        self._clock_guard = clock_guard
        self.retry_delay = 0.0
        """Seconds to wait after this attempt before the task is queued again."""
        self._stop_trigger: Trigger | None = None
        """The trigger that ends the task once its worker has stopped; None while the task should continue."""

    async def stop(self, trigger: Trigger) -> Trigger:
        """Ask the worker to stop; once it has stopped, ``trigger`` ends the task. Does not wait for the worker.

        Returns the trigger that ends the task. If the attempt is already being stopped, that is the earlier trigger.
        """
        stop_trigger = self._set_stop_trigger(trigger)
        await self._bus.stop(self.task_id)
        return stop_trigger

    async def lease(self) -> Task | None:
        """Lease the task to a worker and return the task, or None if it must not run any more.

        Raises :class:`SealyardError` if no worker can be started or the lease cannot be stored. The task stays
        SCHEDULED then.
        """
        try:
            worker = await self._bus.prepare(self.task_id, self._repository.task(self.task_id).fencing_token + 1)
            task = await self._commit_lease(worker)
        except SealyardError:
            self._bus.release(self.task_id)
            raise
        if task is None:
            self._bus.release(self.task_id)
        return task

    async def run(self, task: Task) -> None:
        """Run the job of the leased task on the worker, and handle its reports until the attempt ends."""
        try:
            if self._artifacts.remote is not None:
                await stage_inputs(task, self._artifacts.remote, self._repository.clock, self._is_stopping)
        except DiskFullError:
            self._bus.release(task.id)
            await self._suspend(task, DiskFull(fencing_token=task.fencing_token), DISK_FULL_NOTE, DISK_FULL_DELAYS)
            return
        except SealyardError as error:
            self._set_stop_trigger(Failed(fencing_token=task.fencing_token, reason=str(error), code=error.code))
        if self._stop_trigger is not None:
            self._bus.release(task.id)
            await self._advance(self._stop_trigger)
            return
        self._progress.begin(task.id, 2 * task.total_bytes, asyncio.get_running_loop().time())
        try:
            await self._bus.run(self._build_job(task))
        except SealyardError as error:
            log.warning("could not send task %s to its worker: %s", task.id, error)
            self._bus.release(task.id)
            await self._advance(self._stop_trigger or LeaseExpired(fencing_token=task.fencing_token))
            return
        if self._stop_trigger is not None:
            await self._bus.stop(task.id)
        while await self._handle_report(await self.inbox.get()):
            pass

    def _is_stopping(self) -> bool:
        return self._stop_trigger is not None

    async def _commit_lease(self, worker: str) -> Task | None:
        """Commit the lease; return the task, or None if it must not run any more.

        Raises :class:`ClockError` if a deadline of the task has passed according to a clock that is not trusted, and
        :class:`StorageError` if the lease cannot be stored. This method does not retry, because other coroutines
        may end the task while it is SCHEDULED.
        """
        task = self._repository.task(self.task_id)
        if task.status is not TaskStatus.SCHEDULED:
            return None
        now = self._repository.clock.now()
        deadline_trigger = expired_deadline(task, now)
        if deadline_trigger is not None and not self._clock_guard.is_trusted():
            raise self._clock_guard.build_error()
        if trigger := deadline_trigger or self._find_revoked_permission(task):
            await prepare_transition(self._repository, self.task_id, trigger).commit()
            return None
        time_limit_at = now + timedelta(seconds=self._repository.policy().time_limit)
        unit_of_work = self._repository.begin()
        leased_task = unit_of_work.advance(
            self.task_id, Leased(worker=worker, fencing_token=task.fencing_token + 1, time_limit_at=time_limit_at)
        )
        await unit_of_work.commit()
        return leased_task

    def _build_job(self, task: Task) -> Job:
        key = self._repository.get(KEYS, task.signing_key.uri) if task.signing_key is not None else None
        key_version = (
            key.version(task.signing_key.version) if key is not None and task.signing_key is not None else None
        )
        return Job(
            task=task,
            checkpoint=self._load_checkpoint(task.id),
            certificate=key_version.certificate if key_version is not None else None,
            signing_kind=key.kind if key is not None else None,
        )

    async def _handle_report(self, report: Report) -> bool:
        """Handle a worker's report; return whether the attempt continues."""
        task = self._repository.task(report.task_id)
        if report.fencing_token != task.fencing_token:
            log.warning("ignored a worker report for task %s with an outdated fencing token", task.id)
            return True
        match report:
            case BuildSecretCreated():
                await commit_when_possible(self._repository, lambda: self._prepare_secret_record(report))
                await self._bus.confirm_build_secret(task.id, report.fencing_token)
                return True
            case SegmentEncrypted():
                await commit_when_possible(self._repository, lambda: self._prepare_segment_record(report))
                return True
            case SigningPermissionRequested():
                await self._on_signing_request(report)
                return True
            case JobFinished():
                await self._on_finished(task, report)
            case JobFailed() if report.error.code == DiskFullError.code:
                await self._suspend(task, DiskFull(fencing_token=task.fencing_token), DISK_FULL_NOTE, DISK_FULL_DELAYS)
            case JobFailed() if report.error.code == KeyProviderUnavailableError.code:
                trigger = KeyProviderLost(fencing_token=task.fencing_token, reason=_format_failure_reason(report))
                await self._suspend(task, trigger, KEY_PROVIDER_NOTE, KEY_PROVIDER_DELAYS)
            case JobFailed():
                failure_trigger = Failed(
                    fencing_token=task.fencing_token, reason=_format_failure_reason(report), code=report.error.code
                )
                await self._advance(self._stop_trigger or failure_trigger)
            case JobStopped() | WorkerLost():
                await self._advance(self._stop_trigger or LeaseExpired(fencing_token=task.fencing_token))
        return False

    def _prepare_secret_record(self, report: BuildSecretCreated) -> UnitOfWork:
        """Return a unit of work that records a build secret, and drops the progress that was recorded without it."""
        unit_of_work = self._repository.begin()
        checkpoint = JobCheckpoint(task_id=report.task_id, build_secret=report.secret)
        unit_of_work.put(CHECKPOINTS, report.task_id, checkpoint)
        return unit_of_work

    def _prepare_segment_record(self, report: SegmentEncrypted) -> UnitOfWork:
        """Return a unit of work that records an encrypted segment."""
        checkpoint = self._load_checkpoint(report.task_id)
        other_segments = tuple(segment for segment in checkpoint.segments if segment.index != report.segment.index)
        unit_of_work = self._repository.begin()
        unit_of_work.put(
            CHECKPOINTS,
            checkpoint.task_id,
            msgspec.structs.replace(checkpoint, segments=(*other_segments, report.segment)),
        )
        unit_of_work.advance(
            report.task_id, SegmentRecorded(fencing_token=report.fencing_token, index=report.segment.index)
        )
        return unit_of_work

    async def _on_signing_request(self, report: SigningPermissionRequested) -> None:
        """Record the intent to sign durably, then permit the worker to use the key.

        If a necessary permission has been revoked or the task is being stopped, stop the worker instead.
        """
        await commit_when_possible(self._repository, lambda: self._prepare_intent_record(report))
        task = self._repository.task(report.task_id)
        if revoked_permission := self._find_revoked_permission(task):
            self._set_stop_trigger(revoked_permission)
        if self._stop_trigger is not None:
            await self._bus.stop(task.id)
            return
        await self._bus.permit_signing(task.id, report.fencing_token, report.sha256)

    def _prepare_intent_record(self, report: SigningPermissionRequested) -> UnitOfWork | None:
        """Return a unit of work that records the intent to sign, or None if the task must stop instead."""
        task = self._repository.task(report.task_id)
        unit_of_work = self._repository.begin()
        if revoked_permission := self._find_revoked_permission(task):
            self._set_stop_trigger(revoked_permission)
        try:
            unit_of_work.record_key_use(
                task.id, IntentRecorded(fencing_token=report.fencing_token, sha256=report.sha256)
            )
        except InvalidTransitionError as error:
            self._set_stop_trigger(Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code))
        if self._stop_trigger is not None:
            return None
        if report.header is not None:
            unit_of_work.put(
                CHECKPOINTS, task.id, msgspec.structs.replace(self._load_checkpoint(task.id), header=report.header)
            )
        return unit_of_work

    def _load_checkpoint(self, task_id: str) -> JobCheckpoint:
        """Return the stored checkpoint of the task's job, or an empty one."""
        return self._repository.get(CHECKPOINTS, task_id) or JobCheckpoint(task_id=task_id)

    async def _on_finished(self, task: Task, report: JobFinished) -> None:
        trigger: Trigger | None
        try:
            trigger = await retry_artifact_store(
                partial(self._publisher.publish, task, report), task.id, self._repository.clock, self._is_stopping
            )
        except SealyardError as error:
            trigger = Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
        await self._advance(trigger or self._stop_trigger or LeaseExpired(fencing_token=report.fencing_token))

    async def _suspend(self, task: Task, trigger: Trigger, note: str, delays: RetryDelays) -> None:
        """Reschedule the task. The delay of the next attempt grows with each attempt that ended with ``note``.

        The task's time limit bounds the retries.
        """
        await self._advance(self._stop_trigger or trigger)
        attempt_count = sum(change.note == note for change in task.history)
        self.retry_delay = delays.delay_after(attempt_count + 1)

    def _set_stop_trigger(self, trigger: Trigger) -> Trigger:
        """Set the trigger that ends the task, unless one is already set; return the one that is set."""
        if self._stop_trigger is None:
            self._stop_trigger = trigger
        return self._stop_trigger

    async def _advance(self, trigger: Trigger) -> None:
        await advance_when_possible(self._repository, self.task_id, trigger)

    def _find_revoked_permission(self, task: Task) -> PermissionRevoked | None:
        """Return a trigger if a permission that the task needs has been revoked, otherwise None.

        Permissions that cannot be read count as revoked.
        """
        resource = device_resource(task.config_id)
        if not self._permissions.is_allowed(task.created_by, Action.USE, resource):
            return PermissionRevoked(reason=f"{task.created_by} no longer has permission to use {task.config_name}.")
        approvers = valid_approvers(task, task.approvals)
        allowed_approvers = [
            approver for approver in approvers if self._permissions.is_allowed(approver, Action.APPROVE, resource)
        ]
        if len(allowed_approvers) < task.approvals_required:
            return PermissionRevoked(reason="Too few of the approvers still have permission to approve.")
        return None


async def advance_when_possible(repository: Repository, task_id: str, trigger: Trigger) -> None:
    """Apply a trigger to the task, retrying on :class:`StorageError`."""
    await commit_when_possible(repository, lambda: prepare_transition(repository, task_id, trigger))


async def commit_when_possible(repository: Repository, prepare: Callable[[], UnitOfWork | None]) -> None:
    """Commit the unit of work that ``prepare`` returns, retrying on :class:`StorageError`.

    ``prepare`` is called again for each retry, and returns None if there is nothing to commit any more. The task's time
    limit bounds the retries.
    """
    while (unit_of_work := prepare()) is not None:
        try:
            await unit_of_work.commit()
        except StorageError as error:
            log.warning("could not save a task, retrying: %s", error)
            await repository.clock.sleep(RETRY_SECONDS)
        else:
            return


def prepare_transition(repository: Repository, task_id: str, trigger: Trigger) -> UnitOfWork:
    """Return a unit of work that applies a trigger to the task, with audit entries."""
    unit_of_work = repository.begin()
    if isinstance(trigger, CancellationConfirmed):
        canceller = trigger.by
        unit_of_work.audit(canceller, AuditAction.CANCELLED, f"TASK:{task_id}", f"cancelled by {canceller}")
    if isinstance(trigger, Failed) and trigger.code == IntegrityError.code:
        resource = f"TASK:{task_id}"
        unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.CORRUPTED, resource, trigger.reason, None, trigger.code)
    unit_of_work.advance(task_id, trigger)
    return unit_of_work


def _format_failure_reason(report: JobFailed) -> str:
    return f"{report.error.message} {report.error.hint}".rstrip()
