"""Deadlines of tasks: approval and execution periods, reminders, time limits, link expiry and retention. No I/O."""

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
            deadlines = (task.reminder_at, task.escalation_at, task.approval_expires_at)
            return min((deadline for deadline in deadlines if deadline is not None), default=None)
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


def due_reminder(task: Task, now: datetime) -> str | None:
    """Return the field of the waiting task whose reminder or escalation is due, the earlier one first; None if none is.

    ``reminder_at`` or ``escalation_at``; setting it to None records that people are notified.
    """
    if task.status is not TaskStatus.WAITING:
        return None
    if _has_passed(task.reminder_at, now):
        return "reminder_at"
    return "escalation_at" if _has_passed(task.escalation_at, now) else None


def _has_passed(deadline: datetime | None, now: datetime) -> bool:
    return deadline is not None and now >= deadline
