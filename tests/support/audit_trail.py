"""Check that the audit entries of a task are a valid path of the task lifecycle."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.tasks import Task, TaskStatus
from sealyard.model.transitions import NEXT

_CANCELLING_ACTIONS = (AuditAction.REJECTED, AuditAction.WITHDRAWN, AuditAction.CANCELLED)
_UNCHECKED_ACTIONS = (AuditAction.CREATED, AuditAction.FAILED, AuditAction.REFUSED, AuditAction.CORRUPTED)


def require_path(task: Task, entries: Sequence[AuditEntry]) -> None:
    """Check the audit entries of the task, oldest first.

    The statuses follow the lifecycle and equal the history of the task. Approvals occur while the task
    is WAITING, key uses while it is RUNNING, and a rejection, withdrawal or cancellation ends it immediately.
    """
    path = [TaskStatus.CREATED]
    assert entries[0].change is AuditAction.CREATED
    for entry, next_entry in pairwise([*entries, None]):
        assert entry is not None
        if entry.change is AuditAction.STATUS_CHANGED:
            status = TaskStatus((entry.new_value or {})["status"])
            assert status in NEXT[path[-1]], f"{status} after {path}"
            path.append(status)
        elif entry.change is AuditAction.APPROVED:
            assert path[-1] is TaskStatus.WAITING, f"approved after {path}"
        elif entry.change is AuditAction.KEY_USED:
            assert path[-1] is TaskStatus.RUNNING, f"a key was used after {path}"
        elif entry.change in _CANCELLING_ACTIONS:
            assert next_entry is not None
            assert next_entry.new_value == {"status": TaskStatus.CANCELLED.value}, f"{entry.change} changed nothing"
        elif entry.change not in _UNCHECKED_ACTIONS:
            assert path[-1] is TaskStatus.DONE, f"{entry.change} after {path}"
    assert path == [change.status for change in task.history]
