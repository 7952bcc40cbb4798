"""One attempt to execute a task: lease it to a worker, run its job there, and handle the worker's reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import TypeVar

from sealyard.concurrency.backoff import RetryDelays
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.execution.grants import answer_request, grant_inputs
from sealyard.engine.execution.job_records import JobRecords
from sealyard.engine.execution.progress import ProgressEstimator
from sealyard.engine.execution.remote_artifacts import retry_while_unavailable, stage_inputs
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.revocation import find_revoked_permission
from sealyard.engine.execution.transitions import advance_when_possible, commit_when_possible, prepare_transition
from sealyard.engine.state.clock_guard import ClockGuard
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.jobs.bus import JobBus, Report
from sealyard.model.deadlines import expired_deadline
from sealyard.model.errors import (
    ArtifactStoreError,
    DiskFullError,
    InvalidTransitionError,
    KeyProviderUnavailableError,
    SealyardError,
    UsageError,
)
from sealyard.model.grants import InputGrant
from sealyard.model.lifecycle import DISK_FULL_NOTE, KEY_PROVIDER_NOTE, OBJECT_STORE_NOTE
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.triggers import (
    AttemptInterrupted,
    DiskFull,
    Failed,
    KeyProviderLost,
    Leased,
    LeaseExpired,
    ObjectStoreLost,
    Trigger,
)
from sealyard.model.worker_messages import (
    BuildSecretCreated,
    JobFailed,
    JobFinished,
    JobStopped,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)
from sealyard.model.zone_messages import GrantsRequested
from sealyard.storage.artifacts import ArtifactStore

DISK_FULL_DELAYS = RetryDelays.exponential(2.0, 300.0)
"""Seconds before the next attempt after attempts that found a full disk."""

KEY_PROVIDER_DELAYS = RetryDelays.exponential(1.0, 60.0)
"""Seconds before the next attempt after attempts for which a key provider was unavailable."""

OBJECT_STORE_DELAYS = RetryDelays.exponential(2.0, 60.0)
"""Seconds before the next attempt after attempts for which a crypto host could not use the object store."""

T = TypeVar("T")

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
        self._records = JobRecords(repository)
        self.has_lease = False
        """Whether the task is leased to a worker by this attempt."""
        self.retry_delay = 0.0
        """Seconds to wait after this attempt before the task is queued again."""
        self._preparation: asyncio.Task[str] | None = None
        """Waits for a worker on another machine."""
        self._stop_trigger: Trigger | None = None
        """The trigger that ends the task once its worker has stopped; None while the task should continue."""

    async def stop(self, trigger: Trigger) -> Trigger:
        """Ask the worker to stop; once it has stopped, ``trigger`` ends the task. Does not wait for the worker.

        Returns the trigger that ends the task. If the attempt is already being stopped, that is the earlier trigger.
        """
        stop_trigger = self._set_stop_trigger(trigger)
        await self._bus.stop(self.task_id)
        return stop_trigger

    def withdraw(self) -> None:
        """Stop waiting for a worker on another machine; :meth:`lease` returns None then.

        Does nothing if a worker has been found.
        """
        if self._preparation is not None:
            self._preparation.cancel()

    async def lease(self) -> Task | None:
        """Lease the task to a worker and return the task, or None if it must not run any more.

        Raises :class:`SealyardError` if no worker can be started or the lease cannot be stored. The task stays
        SCHEDULED then.
        """
        try:
            worker = await self._prepare()
            task = await self._commit_lease(worker) if worker is not None else None
        except SealyardError:
            self._bus.release(self.task_id)
            raise
        if task is None:
            self._bus.release(self.task_id)
        return task

    async def run(self, task: Task) -> None:
        """Run the job of the leased task on the worker, and handle its reports until the attempt ends."""
        self.has_lease = True
        inputs: tuple[InputGrant, ...] = ()
        try:
            inputs = await self._provide_inputs(task)
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
        self._begin_progress(task)
        try:
            await self._retry(partial(self._bus.run, self._records.build_job(task), inputs))
        except SealyardError as error:
            log.warning("could not send task %s to its worker: %s", task.id, error)
            self._bus.release(task.id)
            await self._advance(self._stop_trigger or LeaseExpired(fencing_token=task.fencing_token))
            return
        if self._stop_trigger is not None:
            await self._bus.stop(task.id)
        await self._handle_reports()

    async def resume(self, task: Task) -> None:
        """Handle the remaining reports about a job that a previous engine has sent to its worker."""
        self.has_lease = True
        self._begin_progress(task)
        await self._handle_reports()

    async def _prepare(self) -> str | None:
        """Return the name of the worker that is ready, or None if :meth:`withdraw` was called before."""
        fencing_token = self._repository.task(self.task_id).fencing_token + 1
        if not self._bus.is_remote:
            return await self._bus.prepare(self.task_id, fencing_token)
        self._preparation = asyncio.ensure_future(self._bus.prepare(self.task_id, fencing_token))
        try:
            await asyncio.wait({self._preparation})
        except asyncio.CancelledError:
            self._preparation.cancel()
            raise
        return None if self._preparation.cancelled() else self._preparation.result()

    async def _provide_inputs(self, task: Task) -> tuple[InputGrant, ...]:
        """Return grants for the inputs if the worker is on another machine; otherwise, make sure that it can read them.

        Returns early if the task is to be stopped.
        """
        artifacts = self._artifacts.remote
        if artifacts is None:
            return ()
        if self._bus.is_remote:
            return await self._retry(partial(run_uncancellable, partial(grant_inputs, task, artifacts))) or ()
        await stage_inputs(task, artifacts, self._repository.clock, self._is_stopping)
        return ()

    def _begin_progress(self, task: Task) -> None:
        self._progress.begin(task.id, 2 * task.total_bytes, asyncio.get_running_loop().time())

    async def _retry(self, step: Callable[[], Awaitable[T]]) -> T | None:
        """Return the result of ``step``; see :func:`retry_while_unavailable`."""
        return await retry_while_unavailable(step, self.task_id, self._repository.clock, self._is_stopping)

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
        if trigger := deadline_trigger or find_revoked_permission(self._permissions, task):
            await prepare_transition(self._repository, self.task_id, trigger).commit()
            return None
        time_limit_at = now + timedelta(seconds=self._repository.policy().time_limit)
        unit_of_work = self._repository.begin()
        leased_task = unit_of_work.advance(
            self.task_id, Leased(worker=worker, fencing_token=task.fencing_token + 1, time_limit_at=time_limit_at)
        )
        await unit_of_work.commit()
        return leased_task

    async def _handle_reports(self) -> None:
        """Handle the reports until the attempt ends. A report is acknowledged once what it caused is durable."""
        is_continuing = True
        while is_continuing:
            report = await self.inbox.get()
            is_continuing = await self._handle_report(report)
            self._bus.acknowledge(report)

    async def _handle_report(self, report: Report) -> bool:
        """Handle a report, which may have been handled before; return whether the attempt continues."""
        task = self._repository.task(report.task_id)
        if report.fencing_token != task.fencing_token:
            log.warning("ignored a worker report for task %s with an outdated fencing token", task.id)
            return True
        match report:
            case BuildSecretCreated():
                await commit_when_possible(self._repository, lambda: self._records.prepare_secret(report))
                await self._retry(partial(self._bus.confirm_build_secret, task.id, report.fencing_token))
                return True
            case SegmentEncrypted():
                await commit_when_possible(self._repository, lambda: self._records.prepare_segment(report))
                return True
            case SigningPermissionRequested():
                await self._on_signing_request(report)
                return True
            case GrantsRequested():
                await self._on_grants_request(task, report)
                return True
            case JobFinished():
                await self._on_finished(task, report)
            case JobFailed():
                await self._on_failed(task, report)
            case JobStopped() | WorkerLost():
                await self._advance(self._stop_trigger or _find_loss_trigger(task, report))
        return False

    async def _on_signing_request(self, report: SigningPermissionRequested) -> None:
        """Record the intent to sign durably, then permit the worker to use the key.

        If a necessary permission has been revoked or the task is being stopped, stop the worker instead.
        """
        await commit_when_possible(self._repository, lambda: self._prepare_intent_record(report))
        await self._retry(partial(self._answer_signing_request, report))

    async def _answer_signing_request(self, report: SigningPermissionRequested) -> None:
        self._check_permissions(report.task_id)
        if self._stop_trigger is not None:
            await self._bus.stop(report.task_id)
            return
        await self._bus.permit_signing(report.task_id, report.fencing_token, report.sha256)

    def _prepare_intent_record(self, report: SigningPermissionRequested) -> UnitOfWork | None:
        """Return a unit of work that records the intent to sign.

        Returns None if the intent is recorded, or if the task must stop instead.
        """
        self._check_permissions(report.task_id)
        unit_of_work = None
        try:
            unit_of_work = self._records.prepare_intent(report)
        except InvalidTransitionError as error:
            self._set_stop_trigger(Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code))
        return unit_of_work if self._stop_trigger is None else None

    def _check_permissions(self, task_id: str) -> None:
        """Set the trigger that ends the task if a permission that it needs has been revoked."""
        if revoked_permission := find_revoked_permission(self._permissions, self._repository.task(task_id)):
            self._set_stop_trigger(revoked_permission)

    async def _on_grants_request(self, task: Task, request: GrantsRequested) -> None:
        """Send grants to the host that runs the task. A request that the task does not explain is ignored."""
        artifacts = self._artifacts.remote
        assert artifacts is not None
        issue = partial(answer_request, task, request, artifacts)
        try:
            grants = await self._retry(partial(run_uncancellable, issue))
        except UsageError as error:
            log.warning("ignored a request of a crypto host for task %s: %s", task.id, error)
            return
        except SealyardError as error:
            trigger = Failed(fencing_token=task.fencing_token, reason=str(error), code=error.code)
            await self.stop(trigger)
            return
        if grants is not None:
            await self._retry(partial(self._bus.issue_grants, task.id, task.fencing_token, *grants))

    async def _on_finished(self, task: Task, report: JobFinished) -> None:
        trigger: Trigger | None
        try:
            trigger = await self._retry(partial(self._publisher.publish, task, report))
        except SealyardError as error:
            trigger = Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
        await self._advance(trigger or self._stop_trigger or LeaseExpired(fencing_token=report.fencing_token))

    async def _on_failed(self, task: Task, report: JobFailed) -> None:
        """End the task, or reschedule it if it has to wait for a disk, a key provider or the object store."""
        number, reason, code = task.fencing_token, _format_failure_reason(report), report.error.code
        if code == DiskFullError.code:
            await self._suspend(task, DiskFull(fencing_token=number), DISK_FULL_NOTE, DISK_FULL_DELAYS)
        elif code == KeyProviderUnavailableError.code:
            provider_lost = KeyProviderLost(fencing_token=number, reason=reason)
            await self._suspend(task, provider_lost, KEY_PROVIDER_NOTE, KEY_PROVIDER_DELAYS)
        elif code == ArtifactStoreError.code:
            store_lost = ObjectStoreLost(fencing_token=number, reason=reason)
            await self._suspend(task, store_lost, OBJECT_STORE_NOTE, OBJECT_STORE_DELAYS)
        else:
            await self._advance(self._stop_trigger or Failed(fencing_token=number, reason=reason, code=code))

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


def _find_loss_trigger(task: Task, report: JobStopped | WorkerLost) -> Trigger:
    """Return the trigger for a job that ended without a result."""
    if isinstance(report, JobStopped):
        return LeaseExpired(fencing_token=task.fencing_token)
    if report.is_interrupted:
        return AttemptInterrupted(fencing_token=task.fencing_token)
    return LeaseExpired(fencing_token=task.fencing_token, reason=report.reason)


def _format_failure_reason(report: JobFailed) -> str:
    return f"{report.error.message} {report.error.hint}".rstrip()
