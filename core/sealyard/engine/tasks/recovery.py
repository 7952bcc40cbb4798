"""What an engine does first: find every task where the last one left it, and clear away what belongs to none."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import msgspec

from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.stream_writer import run_uncancellable
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import TASKS
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.deadline_queue import DeadlineQueue
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import EngineRestarted
from sealyard.storage.artifacts import ArtifactStore


class Recovery:
    """Runs once, before the engine's loops."""

    def __init__(
        self,
        ledger: Repository,
        artifacts: ArtifactStore,
        inputs: InputStore,
        uploads: UploadService,
        outcomes: ResultPublisher,
        deadlines: DeadlineQueue,
        onward: AutoTransitions,
        scheduler: Scheduler,
    ) -> None:
        self._ledger = ledger
        self._artifacts = artifacts
        self._inputs = inputs
        self._uploads = uploads
        self._outcomes = outcomes
        self._deadlines = deadlines
        self._onward = onward
        self._scheduler = scheduler

    async def run(self) -> None:
        unfinished = await run_uncancellable(self._load_unfinished)
        for task in sorted(unfinished, key=lambda each: (each.created_at, each.id)):
            await self._resume(task)

    def _load_unfinished(self) -> list[Task]:
        """Holds and watches what the tasks need; answers the unfinished ones."""
        unfinished = []
        for _, document in self._ledger.store.all(TASKS.name):
            status = TaskStatus(document["status"])
            if status.is_final and not _result_can_expire(document):
                continue
            task = msgspec.convert(document, Task)
            self._deadlines.schedule(task)
            if not status.is_final:
                self._inputs.acquire(task)
                unfinished.append(task)
        self._remove_orphans({task.id for task in unfinished})
        return unfinished

    def _remove_orphans(self, unfinished: set[str]) -> None:
        self._artifacts.delete_temporary()
        self._uploads.recover()
        self._inputs.remove_unreferenced(self._artifacts.stored_inputs())
        for task_id in self._artifacts.work_dirs():
            if task_id not in unfinished:
                self._artifacts.delete_work(task_id)

    async def _resume(self, task: Task) -> None:
        match task.status:
            case TaskStatus.CREATED | TaskStatus.APPROVED:
                await self._onward.advance(task.id)
            case TaskStatus.SCHEDULED:
                self._scheduler.on_task_saved(task)
            case TaskStatus.RUNNING:
                await run_uncancellable(partial(self._outcomes.unpublish, task))
                await self._requeue(task.id)

    async def _requeue(self, task_id: str) -> None:
        limit = self._ledger.clock.now() + timedelta(seconds=self._ledger.policy().time_limit)
        draft = self._ledger.begin()
        draft.advance(task_id, EngineRestarted(time_limit_at=limit))
        await draft.commit()


def _result_can_expire(document: dict[str, object]) -> bool:
    result = document.get("result")
    return isinstance(result, dict) and result.get("retainedUntil") is not None and result["state"] != ResultState.GONE
