"""The transitions that need no decision: CREATED tasks are submitted, APPROVED tasks are scheduled."""

from __future__ import annotations

import logging
from datetime import timedelta

from sealyard.engine.state.repository import Repository
from sealyard.model.errors import StorageError
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.triggers import Scheduled, Submitted

log = logging.getLogger(__name__)


class AutoTransitions:
    """Performs the transitions that follow automatically.

    Use cases call it after their own commit. Recovery and the expiry loop call it for tasks that a crash left between
    the two commits.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def advance(self, task_id: str) -> Task:
        """Submit or schedule the task if its status, as stored now, still calls for it. Return the task.

        A task that was withdrawn or cancelled in the meantime is returned unchanged. Raises :class:`StorageError`.
        """
        task = self._repository.task(task_id)
        unit_of_work = self._repository.begin()
        if task.status is TaskStatus.CREATED:
            advanced_task = unit_of_work.advance(task_id, self.submission())
        elif task.status is TaskStatus.APPROVED:
            advanced_task = unit_of_work.advance(task_id, self._build_scheduled())
        else:
            return task
        await unit_of_work.commit()
        return advanced_task

    async def advance_or_defer(self, task_id: str) -> Task:
        """Like :meth:`advance`, but on :class:`StorageError` leave the task to the expiry loop.

        The caller's request has been committed by then, so it must not fail. Returns the task as it is stored.
        """
        try:
            return await self.advance(task_id)
        except StorageError as error:
            log.warning("could not schedule task %s, retrying later: %s", task_id, error)
            return self._repository.task(task_id)

    def submission(self) -> Submitted:
        """Return the trigger that submits a task now, with the deadlines of the current policy."""
        now = self._repository.clock.now()
        policy = self._repository.policy()
        return Submitted(
            approval_expires_at=now + timedelta(seconds=policy.approval_timeout),
            execution_expires_at=now + timedelta(seconds=policy.execution_timeout),
        )

    def _build_scheduled(self) -> Scheduled:
        expires_at = self._repository.clock.now() + timedelta(seconds=self._repository.policy().execution_timeout)
        return Scheduled(execution_expires_at=expires_at)
