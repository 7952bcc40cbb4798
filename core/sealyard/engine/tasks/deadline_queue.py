"""When to look at a task again: one heap over all periods of all tasks."""

from __future__ import annotations

import asyncio
import heapq
from datetime import datetime, timedelta

from sealyard.model.clock import Clock
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import ApprovalTimedOut, ExecutionTimedOut, TimeLimitExceeded, Trigger

STUCK_AFTER = timedelta(seconds=5)
"""How long a task may stand in a status that the next frame should have ended."""


def next_deadline(task: Task) -> datetime | None:
    """The earliest moment at which time alone changes the task or its result."""
    match task.status:
        case TaskStatus.WAITING:
            return task.approval_expires_at
        case TaskStatus.CREATED | TaskStatus.APPROVED:
            return task.updated_at + STUCK_AFTER
        case TaskStatus.SCHEDULED:
            return task.time_limit_at or task.execution_expires_at
        case TaskStatus.RUNNING:
            return task.time_limit_at
        case TaskStatus.DONE if task.result is not None:
            if task.result.state is ResultState.AVAILABLE:
                return task.result.expires_at
            return task.result.retained_until if task.result.state is ResultState.EXPIRED else None
    return None


def expired_deadline(task: Task, now: datetime) -> Trigger | None:
    """The period of the task that is over at ``now``, if one is."""
    match task.status:
        case TaskStatus.WAITING if _has_passed(task.approval_expires_at, now):
            return ApprovalTimedOut()
        case TaskStatus.SCHEDULED | TaskStatus.RUNNING if task.time_limit_at is not None:
            return TimeLimitExceeded() if now >= task.time_limit_at else None
        case TaskStatus.APPROVED | TaskStatus.SCHEDULED if _has_passed(task.execution_expires_at, now):
            return ExecutionTimedOut()
    return None


def _has_passed(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and now >= deadline


class DeadlineQueue:
    """Tasks by their next deadline. A task that moved on is looked at once too often, never too late."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, str]] = []
        self._earlier = asyncio.Event()

    def schedule(self, task: Task) -> None:
        deadline = next_deadline(task)
        if deadline is not None:
            self.add(deadline, task.id)

    def add(self, deadline: datetime, task_id: str) -> None:
        heapq.heappush(self._heap, (deadline, task_id))
        if self._heap[0] == (deadline, task_id):
            self._earlier.set()

    async def due(self) -> list[str]:
        """Waits for the next deadline, at most an hour; the ids of all tasks whose deadline is over then."""
        ids = self._take()
        if not ids:
            self._earlier.clear()
            sleep = self._clock.sleep(self._seconds())
            waits = {asyncio.ensure_future(sleep), asyncio.ensure_future(self._earlier.wait())}
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in waits:
                    each.cancel()
            ids = self._take()
        return ids

    def _take(self) -> list[str]:
        now = self._clock.now()
        found: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= now:
            found[heapq.heappop(self._heap)[1]] = None
        return list(found)

    def _seconds(self) -> float:
        if not self._heap:
            return 3600.0
        return min(3600.0, max(0.0, (self._heap[0][0] - self._clock.now()).total_seconds()))
