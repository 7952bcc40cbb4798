"""Apply the deadlines of tasks: approval and execution periods, reminders, time limits, link expiry and retention."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from functools import partial

import msgspec

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.state.clock_guard import ClockGuard
from sealyard.engine.state.clock_record import ClockRecord
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.deadline_queue import DeadlineQueue
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction, AuditResourceType
from sealyard.model.deadlines import due_reminder, expired_deadline
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.results import state_at
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import Trigger
from sealyard.storage.artifacts import ArtifactStore

RETRY_SECONDS = 5.0

APPLY_TIMEOUT = 10.0
"""Maximum number of seconds that a caller waits until deadlines are applied."""

log = logging.getLogger(__name__)


class ExpiryLoop:
    """Background loop that applies the deadlines of tasks and uploads when they pass.

    While the clock is not trusted, it only records that links have expired, because they can be renewed. All other
    changes are held until the clock is trusted.
    """

    def __init__(
        self,
        repository: Repository,
        deadlines: DeadlineQueue,
        scheduler: Scheduler,
        auto_transitions: AutoTransitions,
        inputs: InputStore,
        uploads: UploadService,
        artifacts: ArtifactStore,
        clock_guard: ClockGuard,
        clock_record: ClockRecord,
    ) -> None:
        self._repository = repository
        self._deadlines = deadlines
        self._scheduler = scheduler
        self._auto_transitions = auto_transitions
        self._inputs = inputs
        self._uploads = uploads
        self._artifacts = artifacts
        self._clock_guard = clock_guard
        self._clock_record = clock_record
        self._held_ids: set[str] = set()
        """Ids of the tasks whose deadlines have passed according to a clock that is not trusted."""
        self._pass_completed = asyncio.Event()
        """Set when the deadlines that had passed at the start, or at :meth:`apply_held`, are applied."""

    async def run(self) -> None:
        """Apply deadlines as they pass, until cancelled."""
        while True:
            if self._clock_guard.is_trusted():
                await self._clock_record.save(self._clock_guard.accepted_reading)
            for task_id in self._deadlines.pop_due():
                await self._expire_or_retry(task_id)
            self._pass_completed.set()
            await self._deadlines.wait()
            if self._clock_guard.is_trusted():
                self._release_held()
                await self._sweep_uploads()

    async def apply_held(self) -> None:
        """Apply the held changes now, because the clock has become trusted. Waits like :meth:`wait_applied`."""
        self._release_held()
        self._pass_completed.clear()
        self._deadlines.wake()
        await self.wait_applied()

    async def wait_applied(self) -> None:
        """Wait until the deadlines that had passed when the engine was started are applied.

        Waits at most :data:`APPLY_TIMEOUT` seconds; the changes continue in the background afterwards.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(APPLY_TIMEOUT):
                await self._pass_completed.wait()

    def _release_held(self) -> None:
        """Queue the held tasks, whose deadlines may be in the future if the clock was set back."""
        now = self._repository.clock.now()
        for task_id in self._held_ids:
            self._deadlines.add(now, task_id)
        self._held_ids.clear()

    async def _sweep_uploads(self) -> None:
        try:
            self._inputs.sweep()
            await self._uploads.sweep()
        except SealyardError:
            log.exception("could not remove unclaimed uploads")

    async def _expire_or_retry(self, task_id: str) -> None:
        """Apply a task's deadline; if that fails, log the error and retry later."""
        try:
            await self.expire(task_id)
        except NotFoundError:
            return
        except SealyardError:
            log.exception("could not apply the deadline of task %s, retrying", task_id)
            await self._repository.clock.sleep(RETRY_SECONDS)
            self._deadlines.schedule(self._repository.task(task_id))

    async def expire(self, task_id: str) -> None:
        """Apply the deadline of the task if it has passed; otherwise schedule its next deadline.

        Also advances a task that was left CREATED or APPROVED because its automatic transition failed.
        """
        task = self._repository.task(task_id)
        now = self._repository.clock.now()
        trigger = expired_deadline(task, now)
        reminder = due_reminder(task, now)
        state = self._get_unrecorded_state(task)
        wait_seconds = self._clock_guard.seconds_until_trusted()
        if wait_seconds and (trigger is not None or reminder is not None or state is ResultState.GONE):
            await self._hold(task_id, now + timedelta(seconds=wait_seconds))
        elif trigger is not None:
            await self._expire_task(task, trigger)
        elif reminder is not None:
            await self._record_reminder(task, reminder)
        elif task.status in (TaskStatus.CREATED, TaskStatus.APPROVED):
            await self._auto_transitions.advance(task_id)
        elif state is not None:
            await self._expire_result(task_id, state)
        else:
            self._deadlines.schedule(task)

    async def _hold(self, task_id: str, until: datetime) -> None:
        """Postpone the deadline of the task. For the first held change, notify clients of the warning."""
        log.warning("the deadline of task %s is not applied yet: %s", task_id, self._clock_guard.build_error())
        self._held_ids.add(task_id)
        self._deadlines.add(until, task_id)
        if self._clock_guard.hold():
            unit_of_work = self._repository.begin()
            unit_of_work.notify(AuditResourceType.WORKSPACE)
            await unit_of_work.commit()

    async def _expire_task(self, task: Task, trigger: Trigger) -> None:
        if task.status is TaskStatus.RUNNING:
            await self._scheduler.abort(task.id, trigger)
            return
        unit_of_work = self._repository.begin()
        unit_of_work.advance(task.id, trigger)
        await unit_of_work.commit()

    async def _record_reminder(self, task: Task, reminder: str) -> None:
        """Record that a reminder of the task is due; its event queues the notifications."""
        unit_of_work = self._repository.begin()
        unit_of_work.change_task(task.id, **{reminder: None})
        await unit_of_work.commit()

    async def _expire_result(self, task_id: str, state: ResultState) -> None:
        """Record that the link to the task's result has expired, or that the retention period of the result has ended.

        In the second case, the artifact is removed before the end of the retention period is recorded.
        """
        if state is ResultState.GONE:
            await run_uncancellable(partial(self._artifacts.remove_result, task_id))
        task = self._repository.task(task_id)
        if self._get_unrecorded_state(task) is not state:
            self._deadlines.schedule(task)
            return
        assert task.result is not None
        unit_of_work = self._repository.begin()
        if state is ResultState.GONE:
            unit_of_work.audit(
                SYSTEM_SUBJECT, AuditAction.REMOVED, f"TASK:{task_id}", "artifact removed: retention period ended"
            )
        else:
            unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.EXPIRED, f"TASK:{task_id}", "link expired")
        unit_of_work.change_task(task_id, result=msgspec.structs.replace(task.result, state=state, link=None))
        await unit_of_work.commit()

    def _get_unrecorded_state(self, task: Task) -> ResultState | None:
        """Return the state that the task's result has reached by now, or None if that state is already recorded."""
        if task.result is None:
            return None
        state = state_at(task.result, self._repository.clock.now())
        return state if state is not task.result.state else None
