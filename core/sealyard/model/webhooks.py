"""Webhooks, which send task events to external systems, and dead letters: events that could not be delivered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from sealyard.model.base import FrozenStruct, LongText, SecretStruct
from sealyard.model.tasks import Decision, ResultState, Task, TaskStatus, Verdict


class WebhookEvent(StrEnum):
    """An event that is sent to webhooks."""

    TASK_WAITING = "task.waiting"
    TASK_REMINDER = "task.reminder"
    TASK_ESCALATED = "task.escalated"
    TASK_APPROVED = "task.approved"
    TASK_REJECTED = "task.rejected"
    TASK_DONE = "task.done"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    RESULT_EXPIRED = "result.expired"
    RESULT_GONE = "result.gone"
    KEY_FAILED = "key.failed"
    KEY_RECOVERED = "key.recovered"
    CERTIFICATE_EXPIRING = "certificate.expiring"


class Webhook(FrozenStruct, frozen=True, kw_only=True):
    """A registered webhook.

    ``events``: the events to send; all if empty. ``delivered_count``: number of events delivered since the webhook
    was added. ``last_error``: why the last delivery attempt failed; empty if it succeeded. ``pending_count``: number
    of events still to be delivered. ``dead_letters``: number of events whose delivery was given up.
    """

    id: str
    url: str
    created_by: str
    created_at: datetime
    events: tuple[WebhookEvent, ...] = ()
    delivered_count: int = 0
    last_error: str = ""
    pending_count: int = 0
    dead_letters: int = 0


class WebhookRequest(FrozenStruct, frozen=True, kw_only=True):
    url: LongText
    events: tuple[WebhookEvent, ...] = ()


class IssuedWebhook(SecretStruct, frozen=True, kw_only=True):
    """A new webhook and the secret that signs its messages.

    ``secret``: ``whsec_`` followed by Base64; shown only once.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("webhook",)

    webhook: Webhook
    secret: str


class DeadLetter(FrozenStruct, frozen=True, kw_only=True):
    """An event that could not be delivered to a webhook.

    ``task_id`` and ``key``: the task or the URI of the key that the event is about; the other one is empty.
    ``attempts``: number of delivery attempts before the event was given up; ``error``: why the last attempt failed.
    """

    id: str
    webhook_id: str
    cursor: int
    event: WebhookEvent
    task_id: str
    attempts: int
    failed_at: datetime
    error: str
    key: str = ""

    @property
    def label(self) -> str:
        """What the event is about."""
        return f"key {self.key}" if self.key else f"task {self.task_id}"


_EVENT_BY_VERDICT = {Verdict.APPROVED: WebhookEvent.TASK_APPROVED, Verdict.REJECTED: WebhookEvent.TASK_REJECTED}
_EVENT_BY_STATUS = {
    TaskStatus.WAITING: WebhookEvent.TASK_WAITING,
    TaskStatus.DONE: WebhookEvent.TASK_DONE,
    TaskStatus.FAILED: WebhookEvent.TASK_FAILED,
    TaskStatus.CANCELLED: WebhookEvent.TASK_CANCELLED,
}
_EVENT_BY_RESULT_STATE = {ResultState.EXPIRED: WebhookEvent.RESULT_EXPIRED, ResultState.GONE: WebhookEvent.RESULT_GONE}


def latest_decision(previous: Task | None, task: Task) -> Decision | None:
    """Return the newest decision on ``task``, or None if ``previous`` already contains it or there is no decision.

    ``previous``: the previous version of the task, or None if the task is new.
    """
    previous_count = 0 if previous is None else len(previous.approvals)
    return task.approvals[-1] if len(task.approvals) > previous_count else None


def notification_for(previous: Task | None, task: Task) -> WebhookEvent | None:
    """Return the webhook event for the change from ``previous`` (None for a new task) to ``task``, if there is one.

    A rejection, which also cancels the task, yields ``task.rejected`` only. Before its approval period ends, a waiting
    task yields ``task.reminder`` and later ``task.escalated``.
    """
    decision = latest_decision(previous, task)
    if decision is not None:
        return _EVENT_BY_VERDICT[decision.verdict]
    if previous is None or task.status is not previous.status:
        return _EVENT_BY_STATUS.get(task.status)
    if task.status is TaskStatus.WAITING:
        return _reminder_event(previous, task)
    if task.result is None or previous.result is None or task.result.state is previous.result.state:
        return None
    return _EVENT_BY_RESULT_STATE.get(task.result.state)


def _reminder_event(previous: Task, task: Task) -> WebhookEvent | None:
    """Return the event for a waiting task whose reminder or escalation is no longer due."""
    if previous.escalation_at is not None and task.escalation_at is None:
        return WebhookEvent.TASK_ESCALATED
    if previous.reminder_at is not None and task.reminder_at is None:
        return WebhookEvent.TASK_REMINDER
    return None
