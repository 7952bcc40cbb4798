"""Schedule the next check of each task: one heap of the deadlines of all tasks."""

from __future__ import annotations

import asyncio
import heapq
from datetime import datetime, timedelta

from sealyard.model.clock import Clock
from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import ApprovalTimedOut, ExecutionTimedOut, TimeLimitExceeded, Trigger

STUCK_AFTER = timedelta(seconds=5)
"""How long a task may stay in a status that the next automatic transition should have ended."""


def next_deadline(task: Task) -> datetime | None:
    """Return the earliest time at which a deadline changes the task or its result; None if there is none."""
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
    """Return the trigger for the task's deadline that has passed at ``now``; None if none has."""
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
    """Tasks ordered by their next deadline.

    A task whose deadline was postponed or removed may be returned once too often, but no task is returned too late.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[datetime, str]] = []
        self._new_earliest = asyncio.Event()
        """Set when a deadline is added that comes before all others."""

    def schedule(self, task: Task) -> None:
        """Add the task's next deadline, if it has one."""
        deadline = next_deadline(task)
        if deadline is not None:
            self.add(deadline, task.id)

    def add(self, deadline: datetime, task_id: str) -> None:
        heapq.heappush(self._heap, (deadline, task_id))
        if self._heap[0] == (deadline, task_id):
            self._new_earliest.set()

    async def due(self) -> list[str]:
        """Wait for the next deadline, at most an hour; return the ids of all tasks whose deadline has passed."""
        ids = self._pop_due()
        if not ids:
            self._new_earliest.clear()
            timeout = self._clock.sleep(self._seconds_until_next())
            waiters = {asyncio.ensure_future(timeout), asyncio.ensure_future(self._new_earliest.wait())}
            try:
                await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in waiters:
                    waiter.cancel()
            ids = self._pop_due()
        return ids

    def _pop_due(self) -> list[str]:
        now = self._clock.now()
        due_ids: dict[str, None] = {}
        while self._heap and self._heap[0][0] <= now:
            due_ids[heapq.heappop(self._heap)[1]] = None
        return list(due_ids)

    def _seconds_until_next(self) -> float:
        if not self._heap:
            return 3600.0
        return min(3600.0, max(0.0, (self._heap[0][0] - self._clock.now()).total_seconds()))
