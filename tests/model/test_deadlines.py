"""Tests of deadlines: the next one of a task, and reminders before the approval period ends."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from sealyard.model.deadlines import due_reminder, next_deadline
from sealyard.model.tasks import Task, TaskStatus
from tests.support.factories.tasks import NOW, package

HOUR = timedelta(hours=1)


def waiting_task(**fields: object) -> Task:
    deadlines = {"reminder_at": NOW + HOUR, "escalation_at": NOW + 2 * HOUR, "approval_expires_at": NOW + 3 * HOUR}
    return msgspec.structs.replace(package(), status=TaskStatus.WAITING, **{**deadlines, **fields})


def test_next_deadline_of_waiting_task_is_the_earliest() -> None:
    assert next_deadline(waiting_task()) == NOW + HOUR
    assert next_deadline(waiting_task(reminder_at=None)) == NOW + 2 * HOUR
    assert next_deadline(waiting_task(reminder_at=None, escalation_at=None)) == NOW + 3 * HOUR
    assert next_deadline(waiting_task(reminder_at=None, escalation_at=None, approval_expires_at=None)) is None


def test_reminder_is_due_before_escalation() -> None:
    task = waiting_task()
    assert due_reminder(task, NOW) is None
    assert due_reminder(task, NOW + HOUR) == "reminder_at"
    assert due_reminder(task, NOW + 2 * HOUR) == "reminder_at"
    assert due_reminder(msgspec.structs.replace(task, reminder_at=None), NOW + 2 * HOUR) == "escalation_at"
    assert due_reminder(waiting_task(reminder_at=None, escalation_at=None), NOW + 3 * HOUR) is None


def test_decided_task_needs_no_reminder() -> None:
    task = msgspec.structs.replace(waiting_task(), status=TaskStatus.APPROVED)
    assert due_reminder(task, NOW + 3 * HOUR) is None


def test_task_of_an_earlier_version_has_no_reminders() -> None:
    document = msgspec.json.decode(msgspec.json.encode(waiting_task()))
    del document["reminderAt"], document["escalationAt"]
    task = msgspec.convert(document, Task)
    assert (task.reminder_at, task.escalation_at) == (None, None)
    assert next_deadline(task) == NOW + 3 * HOUR
