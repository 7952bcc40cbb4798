"""Schedule tasks from SCHEDULED to a final status: the queue, leases, and reactions to the workers' reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta

import msgspec

from sealyard.engine.execution.progress import ProgressEstimator
from sealyard.engine.execution.queue import JobQueue
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import CHECKPOINTS, KEYS
from sealyard.engine.tasks.deadline_queue import expired_deadline
from sealyard.jobs.bus import LARGE_JOB_BYTES, JobBus, Report
from sealyard.model.access import SYSTEM_SUBJECT, Action, device_resource
from sealyard.model.approval import valid_approvers
from sealyard.model.audit import AuditAction
from sealyard.model.errors import IntegrityError, InvalidTransitionError, SealyardError, StorageError
from sealyard.model.events import TaskProgressed
from sealyard.model.lifecycle import transition_error
from sealyard.model.tasks import RunProgress, Task, TaskStatus
from sealyard.model.triggers import (
    CancellationConfirmed,
    Failed,
    IntentRecorded,
    Leased,
    LeaseExpired,
    PermissionRevoked,
    SegmentRecorded,
    Trigger,
)
from sealyard.model.worker_messages import (
    Heartbeat,
    Job,
    JobCheckpoint,
    JobFailed,
    JobFinished,
    JobStopped,
    SegmentEncrypted,
    SigningPermissionRequested,
    WorkerLost,
)

RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Scheduler:
    """Queues SCHEDULED tasks and runs them on workers.

    Listens for saved tasks: queues SCHEDULED ones, drops all others from the queue. Each attempt is one coroutine, and
    the only writer of its task while it is RUNNING.
    """

    def __init__(
        self, repository: Repository, permissions: Permissions, bus: JobBus, publisher: ResultPublisher
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._bus = bus
        self._publisher = publisher
        self._queue = JobQueue(lambda size: size >= LARGE_JOB_BYTES)
        self._progress = ProgressEstimator()
        self._inboxes: dict[str, asyncio.Queue[Report]] = {}
        self._stop_triggers: dict[str, Trigger] = {}
        """The triggers that will end tasks whose workers were asked to stop, by task id."""
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._queue_changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._draining = False
        self.start_error: SealyardError | None = None
        """The error that prevents workers from starting at present; None if there is none."""

    # ---- interface

    def on_task_saved(self, task: Task) -> None:
        """Queue the task if it is SCHEDULED and not being attempted; otherwise drop it from the queue."""
        if task.status is not TaskStatus.SCHEDULED:
            self._queue.remove(task.id)
        elif task.id not in self._attempts:
            self._queue.add(task)
            self._idle.clear()
        self._queue_changed.set()

    def progress_of(self, task: Task) -> RunProgress | None:
        """Return the progress of a running task, or queue position and estimate of a queued task."""
        if task.status is TaskStatus.RUNNING:
            return self._progress.running(task.id)
        position = self._queue.position(task.id)
        return None if position is None else self._progress.queued(position[0], task.total_bytes, position[1])

    @property
    def draining(self) -> bool:
        """Whether the scheduler starts no more attempts because the engine is about to close."""
        return self._draining

    @property
    def queue_length(self) -> int:
        """Number of tasks waiting for a worker."""
        return len(self._queue)

    async def wait_idle(self) -> None:
        """Wait until no task is queued or running. Raises the error that prevents workers from starting."""
        while not self._idle.is_set():
            if self.start_error is not None:
                raise self.start_error
            idle = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({idle}, timeout=RETRY_SECONDS)
            idle.cancel()

    async def drain(self, seconds: float) -> int:
        """Start no more attempts, and wait up to ``seconds`` for the running ones.

        Returns the number of attempts still running then.
        """
        self._draining = True
        running = set(self._attempts.values())
        if running:
            await asyncio.wait(running, timeout=seconds)
        return len(self._attempts)

    async def cancel(self, task_id: str, by: str) -> Task:
        """Cancel a running task; return it once its worker has stopped or was fenced off.

        Raises :class:`InvalidTransitionError` if the task ended in another way before that.
        """
        cancellation = CancellationConfirmed(by=by)
        applied = await self.abort(task_id, cancellation)
        task = self._repository.task(task_id)
        if applied is not cancellation or task.status is not TaskStatus.CANCELLED:
            raise transition_error(task, CancellationConfirmed)
        return task

    async def abort(self, task_id: str, trigger: Trigger) -> Trigger:
        """Stop a running task and end it with ``trigger``.

        Returns the trigger that stopped the task, which may be an earlier one. A task whose worker finishes first ends
        with the worker's result.
        """
        attempt = self._attempts.get(task_id)
        if attempt is None:
            # The attempt crashed without ending the task, so no worker will; end it here.
            await self._advance(task_id, trigger)
            return trigger
        stop_trigger = self._stop_triggers.setdefault(task_id, trigger)
        await self._bus.stop(task_id)
        await asyncio.wait({attempt})
        return stop_trigger

    # ---- loops

    async def run(self) -> None:
        """Give queued tasks to workers until cancelled. When it ends, it cancels all attempts and waits for them."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_reports())
                group.create_task(self._dispatch())
        finally:
            for attempt in self._attempts.values():
                attempt.cancel()
            await asyncio.gather(*self._attempts.values(), return_exceptions=True)

    async def _read_reports(self) -> None:
        """Pass heartbeats to the progress estimator and all other reports to the attempts they belong to."""
        async for report in self._bus.reports():
            if isinstance(report, Heartbeat):
                self._on_heartbeat(report)
            elif report.task_id in self._inboxes:
                self._inboxes[report.task_id].put_nowait(report)

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        progress = self._progress.record(heartbeat, asyncio.get_running_loop().time())
        if progress is None:
            return
        self._repository.events.publish(
            TaskProgressed(
                cursor=self._repository.events.cursor,
                task_id=heartbeat.task_id,
                bytes_done=progress.bytes_done,
                bytes_total=progress.bytes_total,
                eta_seconds=progress.eta_seconds,
            )
        )

    async def _dispatch(self) -> None:
        """Start an attempt for each queued task that gets a worker slot; signal when nothing is left to run."""
        while True:
            self._queue_changed.clear()
            while not self._draining and (task_id := self._queue.take(self._bus.reserve)):
                self._start_attempt(task_id)
            if not self._queue and not self._attempts:
                self._idle.set()
            await self._queue_changed.wait()

    def _start_attempt(self, task_id: str) -> None:
        self._inboxes[task_id] = asyncio.Queue()
        attempt = asyncio.create_task(self._run_attempt(task_id))
        self._attempts[task_id] = attempt
        attempt.add_done_callback(lambda finished: self._on_attempt_done(task_id, finished))

    def _on_attempt_done(self, task_id: str, attempt: asyncio.Task[None]) -> None:
        """Remove the state of a finished attempt."""
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            log.error("the attempt at task %s broke down", task_id, exc_info=error)
        self._attempts.pop(task_id, None)
        self._inboxes.pop(task_id, None)
        self._stop_triggers.pop(task_id, None)
        self._progress.end(task_id)
        # A task that lost its worker is SCHEDULED again; on_task_saved() queues it only once its attempt is removed.
        self.on_task_saved(self._repository.task(task_id))

    # ---- one attempt

    async def _run_attempt(self, task_id: str) -> None:
        """Lease the task to a worker, run the job there, and handle the reports until the attempt ends."""
        try:
            worker = await self._bus.prepare(task_id)
            task = await self._lease(task_id, worker)
        except SealyardError as error:
            await self._retry_later(task_id, error)
            return
        self.start_error = None
        if task is None:
            self._bus.release(task_id)
            return
        if (stop_trigger := self._stop_triggers.get(task_id)) is not None:
            self._bus.release(task_id)
            await self._advance(task_id, stop_trigger)
            return
        self._progress.begin(task_id, 2 * task.total_bytes, asyncio.get_running_loop().time())
        try:
            await self._bus.run(self._build_job(task))
        except SealyardError as error:
            log.warning("task %s could not be given to its worker: %s", task_id, error)
            self._bus.release(task_id)
            await self._advance(
                task_id, self._stop_triggers.get(task_id, LeaseExpired(fencing_token=task.fencing_token))
            )
            return
        if task_id in self._stop_triggers:
            await self._bus.stop(task_id)
        while await self._handle_report(await self._inboxes[task_id].get()):
            pass

    async def _retry_later(self, task_id: str, error: SealyardError) -> None:
        """Release the slot and pause, after no worker could be started or no lease stored.

        The task stays SCHEDULED; its execution period limits the retries.
        """
        self._bus.release(task_id)
        if self.start_error is None:
            log.warning("no crypto worker: %s", error)
        self.start_error = error
        await self._repository.clock.sleep(RETRY_SECONDS)

    async def _lease(self, task_id: str, worker: str) -> Task | None:
        """Lease the task to a worker; return it, or None if it is not to be run any more.

        Not retried here, because other coroutines may end the task while it is SCHEDULED. Raises
        :class:`StorageError`.
        """
        task = self._repository.task(task_id)
        if task.status is not TaskStatus.SCHEDULED:
            return None
        now = self._repository.clock.now()
        if trigger := expired_deadline(task, now) or self._revoked_permission(task):
            await self._prepare_transition(task_id, trigger).commit()
            return None
        time_limit_at = now + timedelta(seconds=self._repository.policy().time_limit)
        unit_of_work = self._repository.begin()
        leased_task = unit_of_work.advance(
            task_id, Leased(worker=worker, fencing_token=task.fencing_token + 1, time_limit_at=time_limit_at)
        )
        await unit_of_work.commit()
        return leased_task

    def _build_job(self, task: Task) -> Job:
        key = self._repository.get(KEYS, task.signing_key.uri) if task.signing_key is not None else None
        version = key.version(task.signing_key.version) if key is not None and task.signing_key is not None else None
        return Job(
            task=task,
            work=self._load_checkpoint(task.id),
            certificate=version.certificate if version is not None else None,
            signing_kind=key.kind if key is not None else None,
        )

    async def _handle_report(self, report: Report) -> bool:
        """Handle a worker's report; return whether the attempt continues."""
        task = self._repository.task(report.task_id)
        if report.fencing_token != task.fencing_token:
            log.warning("a worker spoke of task %s under an old fence", task.id)
            return True
        match report:
            case SegmentEncrypted():
                await self._commit_when_possible(lambda: self._prepare_segment_record(report))
                return True
            case SigningPermissionRequested():
                await self._on_signing_request(report)
                return True
            case JobFinished():
                await self._on_finished(task, report)
            case JobFailed():
                failure = Failed(
                    fencing_token=task.fencing_token, reason=_failure_reason(report), code=report.error.code
                )
                await self._advance(task.id, self._stop_triggers.get(task.id, failure))
            case JobStopped() | WorkerLost():
                await self._advance(
                    task.id, self._stop_triggers.get(task.id, LeaseExpired(fencing_token=task.fencing_token))
                )
        return False

    def _prepare_segment_record(self, report: SegmentEncrypted) -> UnitOfWork:
        """Prepare the record of an encrypted segment."""
        checkpoint = self._load_checkpoint(report.task_id)
        others = tuple(segment for segment in checkpoint.segments if segment.index != report.segment.index)
        unit_of_work = self._repository.begin()
        unit_of_work.put(
            CHECKPOINTS, checkpoint.task_id, msgspec.structs.replace(checkpoint, segments=(*others, report.segment))
        )
        unit_of_work.advance(
            report.task_id, SegmentRecorded(fencing_token=report.fencing_token, index=report.segment.index)
        )
        return unit_of_work

    async def _on_signing_request(self, report: SigningPermissionRequested) -> None:
        """Permit the worker to use the key once the intent is durable, if permissions still allow it then.

        Otherwise stop the worker.
        """
        await self._commit_when_possible(lambda: self._prepare_intent_record(report))
        task = self._repository.task(report.task_id)
        if revoked := self._revoked_permission(task):
            self._stop_triggers.setdefault(task.id, revoked)
        if task.id in self._stop_triggers:
            await self._bus.stop(task.id)
            return
        await self._bus.permit_signing(task.id, report.fencing_token)

    def _prepare_intent_record(self, report: SigningPermissionRequested) -> UnitOfWork | None:
        """Prepare the record of a signing intent; return None if the task is to be stopped instead."""
        task = self._repository.task(report.task_id)
        unit_of_work = self._repository.begin()
        if revoked := self._revoked_permission(task):
            self._stop_triggers.setdefault(task.id, revoked)
        try:
            unit_of_work.record_key_use(
                task.id, IntentRecorded(fencing_token=report.fencing_token, sha256=report.sha256)
            )
        except InvalidTransitionError as error:
            self._stop_triggers.setdefault(
                task.id, Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
            )
        if task.id in self._stop_triggers:
            return None
        if report.header is not None:
            unit_of_work.put(
                CHECKPOINTS, task.id, msgspec.structs.replace(self._load_checkpoint(task.id), header=report.header)
            )
        return unit_of_work

    def _load_checkpoint(self, task_id: str) -> JobCheckpoint:
        """Return the task's checkpoint, or an empty one."""
        return self._repository.get(CHECKPOINTS, task_id) or JobCheckpoint(task_id=task_id)

    async def _on_finished(self, task: Task, report: JobFinished) -> None:
        try:
            trigger: Trigger = await self._publisher.publish(task, report)
        except SealyardError as error:
            trigger = Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
        await self._advance(task.id, trigger)

    async def _advance(self, task_id: str, trigger: Trigger) -> None:
        """Apply a trigger to the task, retrying while the disk is full."""
        await self._commit_when_possible(lambda: self._prepare_transition(task_id, trigger))

    def _prepare_transition(self, task_id: str, trigger: Trigger) -> UnitOfWork:
        """Prepare a transition of the task, with its audit entries; delete its checkpoint if it ends."""
        unit_of_work = self._repository.begin()
        if isinstance(trigger, CancellationConfirmed):
            by = trigger.by
            unit_of_work.audit(by, AuditAction.CANCELLED, f"TASK:{task_id}", f"cancelled by {by}")
        if isinstance(trigger, Failed) and trigger.code == IntegrityError.code:
            resource = f"TASK:{task_id}"
            unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.CORRUPTED, resource, trigger.reason, None, trigger.code)
        if unit_of_work.advance(task_id, trigger).status.is_final:
            unit_of_work.delete(CHECKPOINTS, task_id)
        return unit_of_work

    async def _commit_when_possible(self, prepare: Callable[[], UnitOfWork | None]) -> None:
        """Commit the unit of work that ``prepare`` returns, retrying on :class:`StorageError`.

        It is prepared again for each try. The task's time limit bounds the wait. ``prepare`` returns None if there is
        nothing to commit any more.
        """
        while (unit_of_work := prepare()) is not None:
            try:
                await unit_of_work.commit()
            except StorageError as error:
                log.warning("not stored, trying again: %s", error)
                await self._repository.clock.sleep(RETRY_SECONDS)
            else:
                return

    def _revoked_permission(self, task: Task) -> PermissionRevoked | None:
        """Return which permission was revoked since the task was approved, or None.

        Permissions that cannot be read count as revoked.
        """
        resource = device_resource(task.config_id)
        if not self._permissions.is_allowed(task.created_by, Action.USE, resource):
            return PermissionRevoked(reason=f"{task.created_by} may not use {task.config_name} any more.")
        approvers = valid_approvers(task, task.approvals)
        allowed = [
            approver for approver in approvers if self._permissions.is_allowed(approver, Action.APPROVE, resource)
        ]
        if len(allowed) < task.approvals_required:
            return PermissionRevoked(reason="Too few of those who approved may still approve.")
        return None


def _failure_reason(report: JobFailed) -> str:
    return f"{report.error.message} {report.error.hint}".rstrip()
