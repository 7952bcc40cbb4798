"""Webhooks: who outside is told of results and approvals, and what could not be told."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sealyard.model.base import FrozenStruct, LongText, SecretStruct
from sealyard.model.tasks import Decision, ResultState, Task, TaskStatus, Verdict


class WebhookEvent(StrEnum):
    """What a webhook may be told of."""

    TASK_WAITING = "task.waiting"
    TASK_APPROVED = "task.approved"
    TASK_REJECTED = "task.rejected"
    TASK_DONE = "task.done"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    RESULT_EXPIRED = "result.expired"
    RESULT_GONE = "result.gone"


class Webhook(FrozenStruct, frozen=True, kw_only=True):
    """``events`` empty: all. ``delivered``: the cursor of the last event that is settled.

    ``last_error``: what kept the last try from reaching it, empty while all is well; ``waiting``: how many events it is
    still to be told of; ``dead_letters``: how many were given up.
    """

    id: str
    url: str
    created_by: str
    created_at: datetime
    events: tuple[WebhookEvent, ...] = ()
    delivered: int = 0
    last_error: str = ""
    pending_count: int = 0
    dead_letters: int = 0


class WebhookRequest(FrozenStruct, frozen=True, kw_only=True):
    url: LongText
    events: tuple[WebhookEvent, ...] = ()


class IssuedWebhook(SecretStruct, frozen=True, kw_only=True):
    """A new webhook with the ``secret`` (``whsec_`` and Base64) that its messages are signed with, shown this once."""

    SHOWN: ClassVar[tuple[str, ...]] = ("webhook",)

    webhook: Webhook
    secret: str


class DeadLetter(FrozenStruct, frozen=True, kw_only=True):
    """An event that a webhook was not told of: given up after ``attempts``, ``error`` says why."""

    id: str
    webhook_id: str
    cursor: int
    event: WebhookEvent
    task_id: str
    attempts: int
    failed_at: datetime
    error: str


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
