"""The identity of a result."""

from __future__ import annotations

from typing import NamedTuple

from sealyard.model.tasks import Task


class ResultId(NamedTuple):
    """The result of one attempt to execute a task."""

    task_id: str
    fencing_token: int

    @classmethod
    def of(cls, task: Task) -> ResultId:
        """Return the id of the result of the task's current or last attempt."""
        return cls(task.id, task.fencing_token)
