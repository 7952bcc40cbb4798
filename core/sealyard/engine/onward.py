"""The frames that follow of themselves: CREATED tasks are submitted, APPROVED ones scheduled."""

from __future__ import annotations

import logging
from datetime import timedelta

from sealyard.engine.ledger import Ledger
from sealyard.model.errors import StorageError
from sealyard.model.happenings import Scheduled, Submitted
from sealyard.model.lifecycle import advance
from sealyard.model.tasks import Task, TaskStatus

log = logging.getLogger(__name__)


class Onward:
    """Used right after the frame before; by the clock and at start for a task that was left between the two."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def move(self, task: Task) -> Task:
        """The task as it stands then. Raises :class:`StorageError`."""
        moved = self.submitted(task) if task.status is TaskStatus.CREATED else self._scheduled(task)
        draft = self._ledger.draft()
        draft.task(moved)
        await draft.commit()
        return moved

    async def try_move(self, task: Task) -> Task:
        """Like :meth:`move`, but leaves the task to the clock where the disk refuses: what was asked is done."""
        try:
            return await self.move(task)
        except StorageError as error:
            log.warning("task %s is moved on later: %s", task.id, error)
            return task

    def submitted(self, task: Task) -> Task:
        now = self._ledger.clock.now()
        policy = self._ledger.policy()
        return advance(
            task,
            Submitted(
                approval_expires_at=now + timedelta(seconds=policy.approval_period),
                execution_expires_at=now + timedelta(seconds=policy.execution_period),
            ),
            now,
        )

    def _scheduled(self, task: Task) -> Task:
        now = self._ledger.clock.now()
        until = now + timedelta(seconds=self._ledger.policy().execution_period)
        return advance(task, Scheduled(execution_expires_at=until), now)
