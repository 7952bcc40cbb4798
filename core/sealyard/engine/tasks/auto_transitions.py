"""The transitions that need no decision: CREATED tasks are submitted, APPROVED tasks are scheduled."""

from __future__ import annotations

import logging
from datetime import timedelta

from sealyard.engine.state.repository import Repository
from sealyard.model.errors import StorageError
from sealyard.model.notifications import REMINDER_PERCENT
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.triggers import Scheduled, Submitted

log = logging.getLogger(__name__)


class AutoTransitions:
    """Submits CREATED tasks and schedules APPROVED tasks.

    Use cases call it after their own commit. Recovery and the expiry loop call it for tasks that a crash left between
    that commit and the one of the transition.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def advance(self, task_id: str) -> Task:
        """Submit the task if it is CREATED, schedule it if it is APPROVED, and return it.

        In any other status, for example if it has been withdrawn meanwhile, the task is returned unchanged. Raises
        :class:`StorageError` if the transition cannot be committed.
        """
        task = self._repository.task(task_id)
        unit_of_work = self._repository.begin()
        if task.status is TaskStatus.CREATED:
            advanced_task = unit_of_work.advance(task_id, self.build_submission())
        elif task.status is TaskStatus.APPROVED:
            advanced_task = unit_of_work.advance(task_id, self._build_scheduled_trigger())
        else:
            return task
        await unit_of_work.commit()
        return advanced_task

    async def advance_or_defer(self, task_id: str) -> Task:
        """Like :meth:`advance`, but if the transition cannot be committed, leave it to the expiry loop.

        Returns the stored task then. No error is raised, because the caller has already committed its request.
        """
        try:
            return await self.advance(task_id)
        except StorageError as error:
            log.warning("could not schedule task %s, retrying later: %s", task_id, error)
            return self._repository.task(task_id)

    def build_submission(self) -> Submitted:
        """Return the trigger that submits a task, with deadlines from the current time and policy."""
        now = self._repository.clock.now()
        policy = self._repository.policy()
        approval_timeout = timedelta(seconds=policy.approval_timeout)
        escalation_percent = self._repository.notification_settings().settings.escalation_percent
        return Submitted(
            approval_expires_at=now + approval_timeout,
            execution_expires_at=now + timedelta(seconds=policy.execution_timeout),
            reminder_at=now + approval_timeout * REMINDER_PERCENT / 100,
            escalation_at=now + approval_timeout * escalation_percent / 100,
        )

    def _build_scheduled_trigger(self) -> Scheduled:
        expires_at = self._repository.clock.now() + timedelta(seconds=self._repository.policy().execution_timeout)
        return Scheduled(execution_expires_at=expires_at)
