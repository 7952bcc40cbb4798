"""What time does: approval and execution periods, time limits, links that end, artifacts that are removed."""

from __future__ import annotations

import logging
from functools import partial

import msgspec

from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.stream_writer import run_uncancellable
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.deadline_queue import DeadlineQueue, expired_deadline
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.errors import NotFoundError, SealyardError
from sealyard.model.results import state_at
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import Trigger
from sealyard.storage.artifacts import ArtifactStore

RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class ExpiryLoop:
    """One loop; nothing else in the engine watches the time."""

    def __init__(
        self,
        ledger: Repository,
        deadlines: DeadlineQueue,
        scheduler: Scheduler,
        onward: AutoTransitions,
        inputs: InputStore,
        uploads: UploadService,
        artifacts: ArtifactStore,
    ) -> None:
        self._ledger = ledger
        self._deadlines = deadlines
        self._scheduler = scheduler
        self._onward = onward
        self._inputs = inputs
        self._uploads = uploads
        self._artifacts = artifacts

    async def run(self) -> None:
        while True:
            for task_id in await self._deadlines.due():
                await self._check(task_id)
            await self._sweep_uploads()

    async def _sweep_uploads(self) -> None:
        try:
            self._inputs.sweep()
            await self._uploads.sweep()
        except SealyardError:
            log.exception("uploads that nobody claimed could not be removed")

    async def _check(self, task_id: str) -> None:
        try:
            await self.expire(task_id)
        except NotFoundError:
            return
        except SealyardError:
            log.exception("task %s could not be judged by the clock", task_id)
            await self._ledger.clock.sleep(RETRY_SECONDS)
            self._deadlines.schedule(self._ledger.task(task_id))

    async def expire(self, task_id: str) -> None:
        """Do what is due now for one task."""
        task = self._ledger.task(task_id)
        happening = expired_deadline(task, self._ledger.clock.now())
        if happening is not None:
            await self._expire_task(task, happening)
        elif task.status in (TaskStatus.CREATED, TaskStatus.APPROVED):
            await self._onward.advance(task_id)
        elif (state := self._new_state(task)) is not None:
            await self._expire_result(task_id, state)
        else:
            self._deadlines.schedule(task)

    async def _expire_task(self, task: Task, happening: Trigger) -> None:
        if task.status is TaskStatus.RUNNING:
            await self._scheduler.abort(task.id, happening)
            return
        draft = self._ledger.begin()
        draft.advance(task.id, happening)
        await draft.commit()

    async def _expire_result(self, task_id: str, state: ResultState) -> None:
        """Record that the task's link expired or its artifact's retention ended, and remove the artifact."""
        if state is ResultState.GONE:
            await run_uncancellable(partial(self._artifacts.remove_result, task_id))
        task = self._ledger.task(task_id)
        if self._new_state(task) is not state:
            self._deadlines.schedule(task)
            return
        assert task.result is not None
        draft = self._ledger.begin()
        if state is ResultState.GONE:
            draft.audit(
                SYSTEM_SUBJECT, AuditAction.REMOVED, f"TASK:{task_id}", "the artifact's retention period is over"
            )
        else:
            draft.audit(SYSTEM_SUBJECT, AuditAction.EXPIRED, f"TASK:{task_id}", "the link has expired")
        draft.change_task(task_id, result=msgspec.structs.replace(task.result, state=state, link=None))
        await draft.commit()

    def _new_state(self, task: Task) -> ResultState | None:
        """The state that the task's result should have now, if it is another one than recorded."""
        if task.result is None:
            return None
        state = state_at(task.result, self._ledger.clock.now())
        return state if state is not task.result.state else None
