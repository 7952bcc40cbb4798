"""What is new about a task since it was last put: for those who follow it, and for those outside."""

from __future__ import annotations

from sealyard.model.tasks import Decision, ResultState, Task, TaskStatus, Verdict
from sealyard.model.webhooks import HookEvent

_OF_VERDICT = {Verdict.APPROVED: HookEvent.TASK_APPROVED, Verdict.REJECTED: HookEvent.TASK_REJECTED}
_OF_STATUS = {
    TaskStatus.WAITING: HookEvent.TASK_WAITING,
    TaskStatus.DONE: HookEvent.TASK_DONE,
    TaskStatus.FAILED: HookEvent.TASK_FAILED,
    TaskStatus.CANCELLED: HookEvent.TASK_CANCELLED,
}
_OF_RESULT = {ResultState.EXPIRED: HookEvent.RESULT_EXPIRED, ResultState.GONE: HookEvent.RESULT_GONE}


def new_decision(earlier: Task | None, task: Task) -> Decision | None:
    known = 0 if earlier is None else len(earlier.approvals)
    return task.approvals[-1] if len(task.approvals) > known else None


def news_of(earlier: Task | None, task: Task) -> HookEvent | None:
    """What to tell of ``task``, which was ``earlier`` before (None: it is new). A rejection is told as such only,
    though it cancels the task too.
    """
    decision = new_decision(earlier, task)
    if decision is not None:
        return _OF_VERDICT[decision.verdict]
    if earlier is None or task.status is not earlier.status:
        return _OF_STATUS.get(task.status)
    if task.result is None or earlier.result is None or task.result.state is earlier.result.state:
        return None
    return _OF_RESULT.get(task.result.state)
