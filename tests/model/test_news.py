"""What those outside are told of a task, and what not."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from task_maker import NOW, SUBMITTED, decision, package

from sealyard.model.happenings import Cancelled, Decided, Withdrawn
from sealyard.model.lifecycle import advance
from sealyard.model.news import new_decision, news_of
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus, Verdict
from sealyard.model.webhooks import HookEvent


def waiting(approvals: int = 1) -> Task:
    return advance(package(approvals=approvals), SUBMITTED, NOW)


def done(state: ResultState) -> Task:
    return msgspec.structs.replace(waiting(), status=TaskStatus.DONE, result=Result(state=state, file_name="x"))


def test_a_task_that_comes_to_the_queue_is_told_of_also_where_it_is_new() -> None:
    assert news_of(package(), waiting()) is HookEvent.TASK_WAITING
    assert news_of(None, waiting()) is HookEvent.TASK_WAITING


def test_each_approval_is_told_of_with_its_decision() -> None:
    task = waiting(approvals=2)
    first = advance(task, Decided(decision=decision(task, "USER:a")), NOW)
    second = advance(first, Decided(decision=decision(first, "USER:b")), NOW)
    assert [news_of(task, first), news_of(first, second)] == [HookEvent.TASK_APPROVED] * 2
    assert new_decision(task, first) == first.approvals[0]
    assert new_decision(first, second) == second.approvals[1]
    assert (first.status, second.status) == (TaskStatus.WAITING, TaskStatus.APPROVED)


def test_a_rejection_is_told_as_such_and_not_as_a_cancellation() -> None:
    task = waiting()
    rejected = advance(task, Decided(decision=decision(task, "USER:a", Verdict.REJECTED)), NOW)
    assert rejected.status is TaskStatus.CANCELLED
    assert news_of(task, rejected) is HookEvent.TASK_REJECTED


@pytest.mark.parametrize("happening", [Cancelled(by="USER:dev"), Withdrawn(by="USER:dev", reason="no")])
def test_a_task_that_ends_before_its_work_is_told_as_cancelled(happening: Cancelled | Withdrawn) -> None:
    assert news_of(waiting(), advance(waiting(), happening, NOW)) is HookEvent.TASK_CANCELLED


def test_a_result_is_told_of_when_its_state_changes_for_the_worse() -> None:
    available, expired, gone = (done(each) for each in (ResultState.AVAILABLE, ResultState.EXPIRED, ResultState.GONE))
    assert news_of(waiting(), available) is HookEvent.TASK_DONE
    assert news_of(available, expired) is HookEvent.RESULT_EXPIRED
    assert news_of(expired, gone) is HookEvent.RESULT_GONE
    assert news_of(available, gone) is HookEvent.RESULT_GONE
    assert news_of(expired, available) is None


def test_what_only_touches_a_task_is_no_news() -> None:
    task = waiting()
    touched = msgspec.structs.replace(task, attention="too few approvers", updated_at=NOW + timedelta(hours=1))
    assert news_of(task, touched) is None
    assert new_decision(task, touched) is None
    assert news_of(done(ResultState.AVAILABLE), done(ResultState.AVAILABLE)) is None
    assert news_of(None, package()) is None
