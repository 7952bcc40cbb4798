"""Checks that what the audit log records of a task is a path of the life cycle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.lifecycle import NEXT
from sealyard.model.tasks import Task, TaskStatus

_STOPPING = (AuditAction.REJECTED, AuditAction.WITHDRAWN, AuditAction.CANCELLED)
_ASIDE = (AuditAction.CREATED, AuditAction.FAILED, AuditAction.REFUSED, AuditAction.CORRUPTED)


def require_path(task: Task, entries: Sequence[AuditEntry]) -> None:
    """``entries``: those of the task, oldest first.

    Statuses follow each other as the life cycle allows, and are the task's own history. Approvals are made while it
    is WAITING, keys used while it is RUNNING, and a rejection, withdrawal or cancellation ends it at once.
    """
    path = [TaskStatus.CREATED]
    assert entries[0].change is AuditAction.CREATED
    for entry, following in pairwise([*entries, None]):
        assert entry is not None
        if entry.change is AuditAction.STATUS_CHANGED:
            status = TaskStatus((entry.new_value or {})["status"])
            assert status in NEXT[path[-1]], f"{status} after {path}"
            path.append(status)
        elif entry.change is AuditAction.APPROVED:
            assert path[-1] is TaskStatus.WAITING, f"approved after {path}"
        elif entry.change is AuditAction.KEY_USED:
            assert path[-1] is TaskStatus.RUNNING, f"a key was used after {path}"
        elif entry.change in _STOPPING:
            assert following is not None
            assert following.new_value == {"status": TaskStatus.CANCELLED.value}, f"{entry.change} changed nothing"
        elif entry.change not in _ASIDE:
            assert path[-1] is TaskStatus.DONE, f"{entry.change} after {path}"
    assert path == [change.status for change in task.history]
