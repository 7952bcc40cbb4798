"""Resume the tasks that the previous engine left unfinished, and remove files that belong to no task."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from functools import partial

import msgspec

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.execution.results import ResultPublisher
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.inputs.store import InputStore
from sealyard.engine.inputs.uploads import UploadService
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import TASKS
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.deadline_queue import DeadlineQueue
from sealyard.jobs.bus import JobBus, Reattachment
from sealyard.model.errors import SealyardError
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import EngineRestarted, WorkspaceRecovered
from sealyard.storage.artifacts import ArtifactStore, ResultId

log = logging.getLogger(__name__)


class Recovery:
    """Recovers the workspace when the engine starts, before its background loops run."""

    def __init__(
        self,
        repository: Repository,
        artifacts: ArtifactStore,
        inputs: InputStore,
        uploads: UploadService,
        publisher: ResultPublisher,
        deadlines: DeadlineQueue,
        auto_transitions: AutoTransitions,
        scheduler: Scheduler,
        bus: JobBus,
    ) -> None:
        self._repository = repository
        self._artifacts = artifacts
        self._inputs = inputs
        self._uploads = uploads
        self._publisher = publisher
        self._deadlines = deadlines
        self._auto_transitions = auto_transitions
        self._scheduler = scheduler
        self._bus = bus

    async def cancel_unfinished(self) -> None:
        """Cancel all tasks that are not final, because the workspace continues from an older or copied state.

        A newer copy may have signed for them, or they may have been rejected in it. Call this before :meth:`run`.
        """
        for task_id in await run_uncancellable(self._list_unfinished):
            await run_uncancellable(partial(self._publisher.unpublish, self._repository.task(task_id)))
            unit_of_work = self._repository.begin()
            unit_of_work.advance(task_id, WorkspaceRecovered())
            await unit_of_work.commit()

    def _list_unfinished(self) -> list[str]:
        documents = self._repository.store.all(TASKS.name)
        return [task_id for task_id, document in documents if not TaskStatus(document["status"]).is_final]

    async def run(self) -> None:
        """Recover the workspace. Unfinished tasks resume in the order of their creation."""
        unfinished_tasks = await run_uncancellable(self._load_unfinished)
        for task in sorted(unfinished_tasks, key=lambda task: (task.created_at, task.id)):
            await self._resume(task)

    def _load_unfinished(self) -> list[Task]:
        """Load and return the unfinished tasks, acquire their inputs, and schedule their deadlines.

        Also schedules the deadlines of results that can still expire, and removes files that belong to no task or
        upload.
        """
        unfinished_tasks, kept_results = [], set()
        for _, document in self._repository.store.all(TASKS.name):
            status = TaskStatus(document["status"])
            if status.is_final and not _result_can_expire(document):
                continue
            task = msgspec.convert(document, Task)
            self._deadlines.schedule(task)
            if status.is_final:
                kept_results.add(ResultId.of(task))
            else:
                self._inputs.acquire(task)
                unfinished_tasks.append(task)
        self._remove_orphans({task.id for task in unfinished_tasks}, kept_results)
        return unfinished_tasks

    def _remove_orphans(self, unfinished_ids: set[str], kept_results: set[ResultId]) -> None:
        self._artifacts.delete_temporary()
        self._uploads.recover()
        self._inputs.remove_unreferenced(self._artifacts.stored_inputs())
        for task_id in self._artifacts.tasks_with_work_dir():
            if task_id not in unfinished_ids:
                self._artifacts.delete_work(task_id)
        if self._artifacts.remote is not None:
            self._artifacts.remote.remove_orphaned_results(kept_results)

    async def _resume(self, task: Task) -> None:
        """Continue an unfinished task according to its status."""
        match task.status:
            case TaskStatus.CREATED | TaskStatus.APPROVED:
                await self._auto_transitions.advance(task.id)
            case TaskStatus.SCHEDULED if task.time_limit_at is not None:
                await self._extend_time_limit(task.id)
            case TaskStatus.SCHEDULED:
                self._scheduler.on_task_saved(task)
            case TaskStatus.RUNNING:
                await self._reattach(task)

    async def _reattach(self, task: Task) -> None:
        """Continue the job of a task that was running when the previous engine stopped, or run the task again."""
        reattachment = await self._find_job(task)
        if reattachment is Reattachment.LOST:
            await run_uncancellable(partial(self._publisher.unpublish, task))
            await self._requeue(task.id)
            return
        log.info("task %s continues: its job is still running", task.id)
        self._scheduler.adopt(task, is_sent=reattachment is Reattachment.RUNNING)

    async def _find_job(self, task: Task) -> Reattachment:
        try:
            return await self._bus.reattach(task)
        except SealyardError as error:
            log.warning("could not find the job of task %s, so it starts again: %s", task.id, error)
            return Reattachment.LOST

    async def _requeue(self, task_id: str) -> None:
        """Reschedule a task whose job was lost with the previous engine."""
        unit_of_work = self._repository.begin()
        unit_of_work.advance(task_id, EngineRestarted(time_limit_at=self._compute_time_limit()))
        await unit_of_work.commit()

    async def _extend_time_limit(self, task_id: str) -> None:
        """Queue a task that had lost its worker, with a new time limit, because the downtime does not count."""
        unit_of_work = self._repository.begin()
        unit_of_work.change_task(task_id, time_limit_at=self._compute_time_limit())
        await unit_of_work.commit()

    def _compute_time_limit(self) -> datetime:
        return self._repository.clock.now() + timedelta(seconds=self._repository.policy().time_limit)


def _result_can_expire(document: dict[str, object]) -> bool:
    result = document.get("result")
    return isinstance(result, dict) and result.get("retainedUntil") is not None and result["state"] != ResultState.GONE
