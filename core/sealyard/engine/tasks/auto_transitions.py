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
    """Makes the transitions that follow automatically.

    Use cases call it after their own commit; recovery and the expiry loop call it for tasks that a crash left
    between the two commits.
    """

    def __init__(self, ledger: Repository) -> None:
        self._ledger = ledger

    async def advance(self, task_id: str) -> Task:
        """Submit or schedule the task if its status, as it is stored now, still calls for it.

        Returns the task as it is then; a task that was withdrawn or cancelled in the meantime is left as it is.
        Raises :class:`StorageError`.
        """
        task = self._ledger.task(task_id)
        draft = self._ledger.begin()
        if task.status is TaskStatus.CREATED:
            moved = draft.advance(task_id, self.submission())
        elif task.status is TaskStatus.APPROVED:
            moved = draft.advance(task_id, self._scheduling())
        else:
            return task
        await draft.commit()
        return moved

    async def advance_or_defer(self, task_id: str) -> Task:
        """Like :meth:`move`, but leave the task to the expiry loop if the disk refuses: the request itself is done."""
        try:
            return await self.advance(task_id)
        except StorageError as error:
            log.warning("task %s is moved on later: %s", task_id, error)
            return self._ledger.task(task_id)

    def submission(self) -> Submitted:
        now = self._ledger.clock.now()
        policy = self._ledger.policy()
        return Submitted(
            approval_expires_at=now + timedelta(seconds=policy.approval_timeout),
            execution_expires_at=now + timedelta(seconds=policy.execution_timeout),
        )

    def _scheduling(self) -> Scheduled:
        until = self._ledger.clock.now() + timedelta(seconds=self._ledger.policy().execution_timeout)
        return Scheduled(execution_expires_at=until)
