"""Deadlines of tasks: approval and execution periods, time limits, link expiry and retention. Performs no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta

from sealyard.model.tasks import ResultState, Task, TaskStatus
from sealyard.model.triggers import ApprovalTimedOut, ExecutionTimedOut, TimeLimitExceeded, Trigger

STUCK_AFTER = timedelta(seconds=5)
"""How long a task may stay in a status that an automatic transition normally ends at once."""


def next_deadline(task: Task) -> datetime | None:
    """Return the earliest time at which a deadline changes the task or its result; None if no deadline applies."""
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
    """Return the trigger for a deadline of the task that has passed at ``now``; None if no deadline has passed."""
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
