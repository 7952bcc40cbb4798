"""Show on queued tasks why no worker can start."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from sealyard.engine.execution.zone_monitor import ZoneMonitor
from sealyard.engine.state.repository import Repository
from sealyard.model.errors import SealyardError, ZoneUnavailableError
from sealyard.model.tasks import TaskStatus

ZONE_CHECK_SECONDS = 5.0
"""Time in seconds between two checks of a zone while tasks wait for it."""

MIN_CHECK_SECONDS = 1.0
"""Minimum time in seconds between two checks of a zone, however often tasks are queued."""

MAX_TASKS = 200
"""Number of tasks, from the start of the queue, that show the state of the zone."""


class WaitReasons:
    """Sets the reason of tasks that wait for a worker. The next lease of a task removes it."""

    def __init__(self, repository: Repository, zone: ZoneMonitor) -> None:
        self._repository = repository
        self._zone = zone
        self._checked_at = float("-inf")
        self.zone_error: SealyardError | None = None
        """The problem of the zone at the last check."""

    async def check_zone(self, task_ids: Sequence[str]) -> None:
        """Show on queued tasks why the zone cannot run them, or remove that reason."""
        now = self._repository.clock.monotonic()
        if now - self._checked_at < MIN_CHECK_SECONDS:
            return
        self._checked_at = now
        self.zone_error = await self._zone.find_problem()
        await self._set(task_ids[:MAX_TASKS], self.zone_error)

    async def show(self, task_id: str, error: SealyardError) -> None:
        """Show on a task why no worker can start."""
        await self._set((task_id,), error)

    async def _set(self, task_ids: Sequence[str], error: SealyardError | None) -> None:
        """Set the reason of the tasks that have another one. ``error``: None removes that of an unavailable zone."""
        reason, code = ("", "") if error is None else (_format_reason(error), error.code)
        unit_of_work = self._repository.begin()
        count = 0
        for task_id in task_ids:
            task = self._repository.task(task_id)
            is_obsolete = error is None and task.reason_code != ZoneUnavailableError.code
            if task.status is TaskStatus.SCHEDULED and task.reason != reason and not is_obsolete:
                unit_of_work.change_task(task_id, reason=reason, reason_code=code)
                count += 1
        if count:
            with contextlib.suppress(SealyardError):  # the reason is not worth a failed attempt
                await unit_of_work.commit()


def _format_reason(error: SealyardError) -> str:
    place = "crypto zone" if isinstance(error, ZoneUnavailableError) else "key store"
    return f"Waiting for the {place}: {error}"
