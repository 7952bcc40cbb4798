"""Tests of the webhook events derived from two versions of a task."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from sealyard.model.lifecycle import advance
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus, Verdict
from sealyard.model.triggers import Cancelled, DecisionMade, Withdrawn
from sealyard.model.webhooks import WebhookEvent, latest_decision, notification_for
from tests.support.factories.tasks import NOW, SUBMITTED, decision, package


def waiting(approvals: int = 1) -> Task:
    return advance(package(approvals=approvals), SUBMITTED, NOW)


def done(state: ResultState) -> Task:
    return msgspec.structs.replace(waiting(), status=TaskStatus.DONE, result=Result(state=state, file_name="x"))


def test_waiting_task_sends_task_waiting() -> None:
    assert notification_for(package(), waiting()) is WebhookEvent.TASK_WAITING
    assert notification_for(None, waiting()) is WebhookEvent.TASK_WAITING


def test_each_approval_sends_task_approved() -> None:
    task = waiting(approvals=2)
    first = advance(task, DecisionMade(decision=decision(task, "USER:a")), NOW)
    second = advance(first, DecisionMade(decision=decision(first, "USER:b")), NOW)
    assert [notification_for(task, first), notification_for(first, second)] == [WebhookEvent.TASK_APPROVED] * 2
    assert latest_decision(task, first) == first.approvals[0]
    assert latest_decision(first, second) == second.approvals[1]
    assert (first.status, second.status) == (TaskStatus.WAITING, TaskStatus.APPROVED)


def test_rejection_sends_task_rejected() -> None:
    task = waiting()
    rejected = advance(task, DecisionMade(decision=decision(task, "USER:a", Verdict.REJECTED)), NOW)
    assert rejected.status is TaskStatus.CANCELLED
    assert notification_for(task, rejected) is WebhookEvent.TASK_REJECTED


@pytest.mark.parametrize("trigger", [Cancelled(by="USER:dev"), Withdrawn(by="USER:dev", reason="no")])
def test_cancellation_sends_task_cancelled(trigger: Cancelled | Withdrawn) -> None:
    assert notification_for(waiting(), advance(waiting(), trigger, NOW)) is WebhookEvent.TASK_CANCELLED


def test_result_state_change_sends_event() -> None:
    available, expired, gone = (done(each) for each in (ResultState.AVAILABLE, ResultState.EXPIRED, ResultState.GONE))
    assert notification_for(waiting(), available) is WebhookEvent.TASK_DONE
    assert notification_for(available, expired) is WebhookEvent.RESULT_EXPIRED
    assert notification_for(expired, gone) is WebhookEvent.RESULT_GONE
    assert notification_for(available, gone) is WebhookEvent.RESULT_GONE
    assert notification_for(expired, available) is None


def test_unrelated_change_sends_nothing() -> None:
    task = waiting()
    updated = msgspec.structs.replace(task, warning="too few approvers", updated_at=NOW + timedelta(hours=1))
    assert notification_for(task, updated) is None
    assert latest_decision(task, updated) is None
    assert notification_for(done(ResultState.AVAILABLE), done(ResultState.AVAILABLE)) is None
    assert notification_for(None, package()) is None


def test_reminder_and_escalation_of_waiting_task_are_events() -> None:
    task = msgspec.structs.replace(waiting(), reminder_at=NOW, escalation_at=NOW)
    reminded = msgspec.structs.replace(task, reminder_at=None)
    escalated = msgspec.structs.replace(reminded, escalation_at=None)
    assert notification_for(waiting(), task) is None
    assert notification_for(task, reminded) is WebhookEvent.TASK_REMINDER
    assert notification_for(reminded, escalated) is WebhookEvent.TASK_ESCALATED
    assert notification_for(escalated, escalated) is None
