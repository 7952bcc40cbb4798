"""From SCHEDULED to an end: queue, lease, the worker's reports, and what is done about each."""

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
    """Follows every task that is put: SCHEDULED ones are queued, others leave the queue.

    One coroutine an attempt; while a task is RUNNING nobody else changes it.
    """

    def __init__(self, ledger: Repository, rights: Permissions, bus: JobBus, outcomes: ResultPublisher) -> None:
        self._ledger = ledger
        self._rights = rights
        self._bus = bus
        self._outcomes = outcomes
        self._queue = JobQueue(lambda size: size >= LARGE_JOB_BYTES)
        self._pace = ProgressEstimator()
        self._inboxes: dict[str, asyncio.Queue[Report]] = {}
        self._stopping: dict[str, Trigger] = {}
        self._attempts: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._resting = False
        self.start_error: SealyardError | None = None
        """Why no worker can be started, while that is so."""

    # ---- what others see

    def on_task_saved(self, task: Task) -> None:
        if task.status is not TaskStatus.SCHEDULED:
            self._queue.remove(task.id)
        elif task.id not in self._attempts:
            self._queue.add(task)
            self._idle.clear()
        self._changed.set()

    def progress_of(self, task: Task) -> RunProgress | None:
        """Progress of a running task, place and estimate of a queued one."""
        if task.status is TaskStatus.RUNNING:
            return self._pace.running(task.id)
        place = self._queue.position(task.id)
        return None if place is None else self._pace.queued(place[0], task.total_bytes, place[1])

    @property
    def draining(self) -> bool:
        """Whether nothing is begun any more, for the engine is about to close."""
        return self._resting

    @property
    def queue_length(self) -> int:
        """How many tasks wait for a place."""
        return len(self._queue)

    async def wait_idle(self) -> None:
        """Returns when nothing is queued or running. Raises what keeps workers from starting."""
        while not self._idle.is_set():
            if self.start_error is not None:
                raise self.start_error
            changed = asyncio.ensure_future(self._idle.wait())
            await asyncio.wait({changed}, timeout=RETRY_SECONDS)
            changed.cancel()

    async def drain(self, seconds: float) -> int:
        """Begins nothing any more and lets what runs finish for so long; how many were still running then."""
        self._resting = True
        running = set(self._attempts.values())
        if running:
            await asyncio.wait(running, timeout=seconds)
        return len(self._attempts)

    async def cancel(self, task_id: str, by: str) -> Task:
        """Cancel a running task; returns when its worker has stopped or was fenced off.

        Raises :class:`InvalidTransitionError` if the task ended in another way before that.
        """
        cancellation = CancellationConfirmed(by=by)
        stopped = await self.abort(task_id, cancellation)
        task = self._ledger.task(task_id)
        if stopped is not cancellation or task.status is not TaskStatus.CANCELLED:
            raise transition_error(task, CancellationConfirmed)
        return task

    async def abort(self, task_id: str, happening: Trigger) -> Trigger:
        """Stop a running task and end it with a trigger; returns the trigger that stopped it, which may be an earlier
        one. A task whose worker finishes first ends with the worker's result.
        """
        attempt = self._attempts.get(task_id)
        if attempt is None:
            # Its attempt has broken down without an end for it. No task runs for ever.
            await self._advance(task_id, happening)
            return happening
        stopping = self._stopping.setdefault(task_id, happening)
        await self._bus.stop(task_id)
        await asyncio.wait({attempt})
        return stopping

    # ---- loops

    async def run(self) -> None:
        """Gives queued tasks to workers until cancelled; ends its attempts with itself."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_reports())
                group.create_task(self._dispatch())
        finally:
            for attempt in self._attempts.values():
                attempt.cancel()
            await asyncio.gather(*self._attempts.values(), return_exceptions=True)

    async def _read_reports(self) -> None:
        async for report in self._bus.reports():
            if isinstance(report, Heartbeat):
                self._on_heartbeat(report)
            elif report.task_id in self._inboxes:
                self._inboxes[report.task_id].put_nowait(report)

    def _on_heartbeat(self, beat: Heartbeat) -> None:
        live = self._pace.record(beat, asyncio.get_running_loop().time())
        if live is None:
            return
        self._ledger.events.publish(
            TaskProgressed(
                cursor=self._ledger.events.cursor,
                task_id=beat.task_id,
                bytes_done=live.bytes_done,
                bytes_total=live.bytes_total,
                eta_seconds=live.eta_seconds,
            )
        )

    async def _dispatch(self) -> None:
        while True:
            self._changed.clear()
            while not self._resting and (task_id := self._queue.take(self._bus.reserve)):
                self._start_attempt(task_id)
            if not self._queue and not self._attempts:
                self._idle.set()
            await self._changed.wait()

    def _start_attempt(self, task_id: str) -> None:
        self._inboxes[task_id] = asyncio.Queue()
        attempt = asyncio.create_task(self._attempt(task_id))
        self._attempts[task_id] = attempt
        attempt.add_done_callback(lambda over: self._attempt_done(task_id, over))

    def _attempt_done(self, task_id: str, attempt: asyncio.Task[None]) -> None:
        if not attempt.cancelled() and (error := attempt.exception()) is not None:
            log.error("the attempt at task %s broke down", task_id, exc_info=error)
        self._attempts.pop(task_id, None)
        self._inboxes.pop(task_id, None)
        self._stopping.pop(task_id, None)
        self._pace.end(task_id)
        # Only now: a task that lost its worker is queued again once the attempt that lost it is over.
        self.on_task_saved(self._ledger.task(task_id))

    # ---- one attempt

    async def _attempt(self, task_id: str) -> None:
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
        if (stopping := self._stopping.get(task_id)) is not None:
            self._bus.release(task_id)
            await self._advance(task_id, stopping)
            return
        self._pace.begin(task_id, 2 * task.total_bytes, asyncio.get_running_loop().time())
        try:
            await self._bus.run(self._job(task))
        except SealyardError as error:
            log.warning("task %s could not be given to its worker: %s", task_id, error)
            self._bus.release(task_id)
            await self._advance(task_id, self._stopping.get(task_id, LeaseExpired(fencing_token=task.fencing_token)))
            return
        if task_id in self._stopping:
            await self._bus.stop(task_id)
        while await self._handle(await self._inboxes[task_id].get()):
            pass

    async def _retry_later(self, task_id: str, error: SealyardError) -> None:
        """No worker can be started, or no lease stored: the task stays SCHEDULED; its execution period decides."""
        self._bus.release(task_id)
        if self.start_error is None:
            log.warning("no crypto worker: %s", error)
        self.start_error = error
        await self._ledger.clock.sleep(RETRY_SECONDS)

    async def _lease(self, task_id: str, worker: str) -> Task | None:
        """Tried once: while a task is SCHEDULED others may end it. Raises :class:`StorageError`."""
        task = self._ledger.task(task_id)
        if task.status is not TaskStatus.SCHEDULED:
            return None
        now = self._ledger.clock.now()
        if happening := expired_deadline(task, now) or self._revoked_permission(task):
            await self._ended(task_id, happening).commit()
            return None
        limit = now + timedelta(seconds=self._ledger.policy().time_limit)
        draft = self._ledger.begin()
        leased = draft.advance(
            task_id, Leased(worker=worker, fencing_token=task.fencing_token + 1, time_limit_at=limit)
        )
        await draft.commit()
        return leased

    def _job(self, task: Task) -> Job:
        key = self._ledger.get(KEYS, task.signing_key.uri) if task.signing_key is not None else None
        version = key.version(task.signing_key.version) if key is not None and task.signing_key is not None else None
        return Job(
            task=task,
            work=self._work(task.id),
            certificate=version.certificate if version is not None else None,
            signing_kind=key.kind if key is not None else None,
        )

    async def _handle(self, report: Report) -> bool:
        """Does what the report asks for; whether the attempt goes on."""
        task = self._ledger.task(report.task_id)
        if report.fencing_token != task.fencing_token:
            log.warning("a worker spoke of task %s under an old fence", task.id)
            return True
        match report:
            case SegmentEncrypted():
                await self._commit_when_possible(lambda: self._with_segment(report))
                return True
            case SigningPermissionRequested():
                await self._on_signing_request(report)
                return True
            case JobFinished():
                await self._on_finished(task, report)
            case JobFailed():
                failed = Failed(fencing_token=task.fencing_token, reason=_reason(report), code=report.error.code)
                await self._advance(task.id, self._stopping.get(task.id, failed))
            case JobStopped() | WorkerLost():
                await self._advance(
                    task.id, self._stopping.get(task.id, LeaseExpired(fencing_token=task.fencing_token))
                )
        return False

    def _with_segment(self, report: SegmentEncrypted) -> UnitOfWork:
        work = self._work(report.task_id)
        others = tuple(each for each in work.segments if each.index != report.segment.index)
        draft = self._ledger.begin()
        draft.put(CHECKPOINTS, work.task_id, msgspec.structs.replace(work, segments=(*others, report.segment)))
        draft.advance(report.task_id, SegmentRecorded(fencing_token=report.fencing_token, index=report.segment.index))
        return draft

    async def _on_signing_request(self, report: SigningPermissionRequested) -> None:
        """Permit the worker to use the key once the intent is durable, if permissions still allow it then."""
        await self._commit_when_possible(lambda: self._with_intent(report))
        task = self._ledger.task(report.task_id)
        if lost := self._revoked_permission(task):
            self._stopping.setdefault(task.id, lost)
        if task.id in self._stopping:
            await self._bus.stop(task.id)
            return
        await self._bus.permit_signing(task.id, report.fencing_token)

    def _with_intent(self, report: SigningPermissionRequested) -> UnitOfWork | None:
        """None if the task is to be stopped instead."""
        task = self._ledger.task(report.task_id)
        draft = self._ledger.begin()
        if lost := self._revoked_permission(task):
            self._stopping.setdefault(task.id, lost)
        try:
            draft.record_key_use(task.id, IntentRecorded(fencing_token=report.fencing_token, sha256=report.sha256))
        except InvalidTransitionError as error:
            self._stopping.setdefault(
                task.id, Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
            )
        if task.id in self._stopping:
            return None
        if report.header is not None:
            draft.put(CHECKPOINTS, task.id, msgspec.structs.replace(self._work(task.id), header=report.header))
        return draft

    def _work(self, task_id: str) -> JobCheckpoint:
        return self._ledger.get(CHECKPOINTS, task_id) or JobCheckpoint(task_id=task_id)

    async def _on_finished(self, task: Task, report: JobFinished) -> None:
        try:
            happening: Trigger = await self._outcomes.publish(task, report)
        except SealyardError as error:
            happening = Failed(fencing_token=report.fencing_token, reason=str(error), code=error.code)
        await self._advance(task.id, happening)

    async def _advance(self, task_id: str, happening: Trigger) -> None:
        await self._commit_when_possible(lambda: self._ended(task_id, happening))

    def _ended(self, task_id: str, happening: Trigger) -> UnitOfWork:
        draft = self._ledger.begin()
        if isinstance(happening, CancellationConfirmed):
            by = happening.by
            draft.audit(by, AuditAction.CANCELLED, f"TASK:{task_id}", f"cancelled by {by}")
        if isinstance(happening, Failed) and happening.code == IntegrityError.code:
            resource = f"TASK:{task_id}"
            draft.audit(SYSTEM_SUBJECT, AuditAction.CORRUPTED, resource, happening.reason, None, happening.code)
        if draft.advance(task_id, happening).status.is_final:
            draft.delete(CHECKPOINTS, task_id)
        return draft

    async def _commit_when_possible(self, prepare: Callable[[], UnitOfWork | None]) -> None:
        """Commit what ``prepare`` returns. If the disk is full, wait until there is space, and prepare it again.

        The task's time limit bounds the wait. ``prepare`` returns None if there is nothing to commit any more.
        """
        while (draft := prepare()) is not None:
            try:
                await draft.commit()
            except StorageError as error:
                log.warning("not stored, trying again: %s", error)
                await self._ledger.clock.sleep(RETRY_SECONDS)
            else:
                return

    def _revoked_permission(self, task: Task) -> PermissionRevoked | None:
        """What right is lacking now. If rights cannot be read, they are lacking."""
        resource = device_resource(task.config_id)
        if not self._rights.is_allowed(task.created_by, Action.USE, resource):
            return PermissionRevoked(reason=f"{task.created_by} may not use {task.config_name} any more.")
        approvers = valid_approvers(task, task.approvals)
        still = [each for each in approvers if self._rights.is_allowed(each, Action.APPROVE, resource)]
        if len(still) < task.approvals_required:
            return PermissionRevoked(reason="Too few of those who approved may still approve.")
        return None


def _reason(report: JobFailed) -> str:
    return f"{report.error.message} {report.error.hint}".rstrip()
