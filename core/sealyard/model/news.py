"""What is new about a task since it was last put: for those who follow it, and for those outside."""

from __future__ import annotations

from sealyard.model.tasks import Decision, ResultState, Task, TaskStatus, Verdict
from sealyard.model.webhooks import WebhookEvent

_OF_VERDICT = {Verdict.APPROVED: WebhookEvent.TASK_APPROVED, Verdict.REJECTED: WebhookEvent.TASK_REJECTED}
_OF_STATUS = {
    TaskStatus.WAITING: WebhookEvent.TASK_WAITING,
    TaskStatus.DONE: WebhookEvent.TASK_DONE,
    TaskStatus.FAILED: WebhookEvent.TASK_FAILED,
    TaskStatus.CANCELLED: WebhookEvent.TASK_CANCELLED,
}
_OF_RESULT = {ResultState.EXPIRED: WebhookEvent.RESULT_EXPIRED, ResultState.GONE: WebhookEvent.RESULT_GONE}


def latest_decision(earlier: Task | None, task: Task) -> Decision | None:
    known = 0 if earlier is None else len(earlier.approvals)
    return task.approvals[-1] if len(task.approvals) > known else None


def notification_for(earlier: Task | None, task: Task) -> WebhookEvent | None:
    """What to tell of ``task``, which was ``earlier`` before (None: it is new). A rejection is told as such only,
    though it cancels the task too.
    """
    decision = latest_decision(earlier, task)
    if decision is not None:
        return _OF_VERDICT[decision.verdict]
    if earlier is None or task.status is not earlier.status:
        return _OF_STATUS.get(task.status)
    if task.result is None or earlier.result is None or task.result.state is earlier.result.state:
        return None
    return _OF_RESULT.get(task.result.state)
