"""Tests of the task lifecycle: each cell of the transition table, and the rules of all transitions."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, InvalidTransitionError, PermissionDeniedError
from sealyard.model.lifecycle import accepts, advance
from sealyard.model.tasks import FINAL_STATUSES, Result, ResultState, RevokedApproval, Task, TaskKind, TaskStatus
from sealyard.model.transitions import TRANSITIONS
from sealyard.model.triggers import (
    ApprovalTimedOut,
    ApproversChanged,
    AttemptInterrupted,
    CancellationConfirmed,
    Cancelled,
    Completed,
    DecisionMade,
    DiskFull,
    EngineRestarted,
    ExecutionTimedOut,
    Failed,
    IntentRecorded,
    KeyProviderLost,
    LeaseExpired,
    ObjectStoreLost,
    PermissionRevoked,
    SegmentRecorded,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
    WorkspaceRecovered,
)
from tests.support.factories.tasks import (
    LATER,
    NOW,
    SCHEDULED,
    SUBMITTED,
    apply_triggers,
    approval,
    approved,
    decision,
    lease,
    package,
    rejection,
    running,
    scheduled,
    waiting,
)

S = TaskStatus
RESULT = Result(state=ResultState.AVAILABLE)


def finished(status: TaskStatus) -> Task:
    task = running()
    final_triggers: dict[TaskStatus, Trigger] = {
        S.DONE: Completed(fencing_token=1, result=RESULT),
        S.FAILED: Failed(fencing_token=1, reason="the disk is full", code="storage"),
        S.CANCELLED: CancellationConfirmed(by="USER:dev"),
    }
    return apply_triggers(task, final_triggers[status])


TASKS: dict[TaskStatus, Callable[[], Task]] = {
    S.CREATED: package,
    S.WAITING: waiting,
    S.APPROVED: approved,
    S.SCHEDULED: scheduled,
    S.RUNNING: running,
    S.DONE: lambda: finished(S.DONE),
    S.FAILED: lambda: finished(S.FAILED),
    S.CANCELLED: lambda: finished(S.CANCELLED),
}
"""Factories of a task in each status."""

# The transition table of design section 2 and of the module's docstring: status, trigger, next status.
CELLS: list[tuple[TaskStatus, str, TaskStatus]] = [
    (S.CREATED, "submitted", S.WAITING),
    (S.CREATED, "withdrawn", S.CANCELLED),
    (S.CREATED, "cancelled", S.CANCELLED),
    (S.WAITING, "approved", S.APPROVED),
    (S.WAITING, "rejected", S.CANCELLED),
    (S.WAITING, "approvers changed", S.WAITING),
    (S.WAITING, "withdrawn", S.CANCELLED),
    (S.WAITING, "cancelled", S.CANCELLED),
    (S.WAITING, "approval timed out", S.CANCELLED),
    (S.APPROVED, "scheduled", S.SCHEDULED),
    (S.APPROVED, "withdrawn", S.CANCELLED),
    (S.APPROVED, "cancelled", S.CANCELLED),
    (S.APPROVED, "permission revoked", S.CANCELLED),
    (S.APPROVED, "execution timed out", S.CANCELLED),
    (S.SCHEDULED, "leased", S.RUNNING),
    (S.SCHEDULED, "cancelled", S.CANCELLED),
    (S.SCHEDULED, "permission revoked", S.CANCELLED),
    (S.SCHEDULED, "execution timed out", S.CANCELLED),
    (S.SCHEDULED, "time limit exceeded", S.FAILED),
    (S.RUNNING, "segment recorded", S.RUNNING),
    (S.RUNNING, "intent recorded", S.RUNNING),
    (S.RUNNING, "completed", S.DONE),
    (S.RUNNING, "failed", S.FAILED),
    (S.RUNNING, "time limit exceeded", S.FAILED),
    (S.RUNNING, "cancellation confirmed", S.CANCELLED),
    (S.RUNNING, "permission revoked", S.CANCELLED),
    (S.RUNNING, "lease expired", S.SCHEDULED),
    (S.RUNNING, "attempt interrupted", S.SCHEDULED),
    (S.RUNNING, "disk full", S.SCHEDULED),
    (S.RUNNING, "key provider lost", S.SCHEDULED),
    (S.RUNNING, "object store lost", S.SCHEDULED),
    (S.RUNNING, "engine restarted", S.SCHEDULED),
    *((status, "workspace recovered", S.CANCELLED) for status in S if status not in FINAL_STATUSES),
]


def triggers(task: Task) -> dict[str, Trigger]:
    return {
        "submitted": SUBMITTED,
        "approved": approval(task),
        "rejected": rejection(task),
        "approvers changed": ApproversChanged(revoked=(), reason="", warning="too few approvers"),
        "withdrawn": Withdrawn(by="USER:dev", reason="mistake"),
        "cancelled": Cancelled(by="USER:dev"),
        "cancellation confirmed": CancellationConfirmed(by="USER:dev"),
        "approval timed out": ApprovalTimedOut(),
        "execution timed out": ExecutionTimedOut(),
        "time limit exceeded": TimeLimitExceeded(),
        "permission revoked": PermissionRevoked(reason="USER:dev no longer has permission to use gateway."),
        "scheduled": SCHEDULED,
        "leased": lease(task),
        "segment recorded": SegmentRecorded(fencing_token=task.fencing_token, index=0),
        "intent recorded": IntentRecorded(fencing_token=task.fencing_token, sha256="cc" * 32),
        "lease expired": LeaseExpired(fencing_token=task.fencing_token),
        "attempt interrupted": AttemptInterrupted(fencing_token=task.fencing_token),
        "disk full": DiskFull(fencing_token=task.fencing_token),
        "key provider lost": KeyProviderLost(fencing_token=task.fencing_token, reason="The token was removed."),
        "object store lost": ObjectStoreLost(fencing_token=task.fencing_token, reason="It does not answer."),
        "engine restarted": EngineRestarted(time_limit_at=LATER),
        "completed": Completed(fencing_token=task.fencing_token, result=RESULT),
        "failed": Failed(fencing_token=task.fencing_token, reason="no", code="worker"),
        "workspace recovered": WorkspaceRecovered(),
    }


@pytest.mark.parametrize(("status", "name", "next_status"), CELLS)
def test_trigger_leads_to_next_status(status: TaskStatus, name: str, next_status: TaskStatus) -> None:
    task = TASKS[status]()
    updated = apply_triggers(task, triggers(task)[name])
    assert updated.status is next_status


@pytest.mark.parametrize("status", TaskStatus)
def test_other_triggers_are_rejected(status: TaskStatus) -> None:
    task = TASKS[status]()
    allowed = {name for cell_status, name, _ in CELLS if cell_status is status}
    for name, trigger in triggers(task).items():
        assert accepts(task, type(trigger)) is (name in allowed), name
        if name not in allowed:
            with pytest.raises(InvalidTransitionError) as caught:
                apply_triggers(task, trigger)
            assert caught.value.hint


def test_transitions_contain_every_trigger() -> None:
    assert set(TRANSITIONS) == {type(each) for each in triggers(package()).values()}
    assert not {status for statuses in TRANSITIONS.values() for status in statuses} & FINAL_STATUSES


def test_revoked_approval_does_not_complete_the_quorum() -> None:
    task = waiting(approvals=2)
    task = apply_triggers(task, approval(task, "USER:owner"), ApproversChanged(revoked=(0,), reason="left"))
    assert task.revocation_of(0) == RevokedApproval(decision=0, at=NOW, reason="left")
    task = apply_triggers(task, approval(task, "USER:second"))
    assert task.status is S.WAITING
    assert apply_triggers(task, approval(task, "USER:third")).status is S.APPROVED


def test_person_approves_again_after_revocation() -> None:
    task = waiting(approvals=2)
    task = apply_triggers(task, approval(task), ApproversChanged(revoked=(0,), reason="left"), approval(task))
    assert valid_approvers(task, task.approvals) == {"USER:owner"}
    with pytest.raises(ConflictError):
        apply_triggers(task, approval(task))


def test_submit_without_approvals_schedules() -> None:
    task = apply_triggers(package(approvals=0), SUBMITTED)
    assert task.status is S.SCHEDULED
    assert task.execution_expires_at == LATER
    assert task.approval_expires_at is None


def test_advance_returns_a_new_task() -> None:
    for status in TaskStatus:
        task = TASKS[status]()
        before = msgspec.json.encode(task)
        for trigger in triggers(task).values():
            if accepts(task, type(trigger)):
                assert advance(task, trigger, NOW) is not task
            assert msgspec.json.encode(task) == before


def test_history_records_each_status_with_note() -> None:
    task = running()
    requeued = apply_triggers(task, LeaseExpired(fencing_token=1))
    assert [each.status for each in requeued.history] == [
        S.CREATED,
        S.WAITING,
        S.APPROVED,
        S.SCHEDULED,
        S.RUNNING,
        S.SCHEDULED,
    ]
    assert requeued.history[2].note == "approved by USER:owner"
    assert requeued.history[-1].note == "worker lost"


@pytest.mark.parametrize(
    ("name", "make", "code"),
    [
        ("rejected", waiting, "rejected"),
        ("withdrawn", waiting, "withdrawn"),
        ("cancelled", waiting, "cancelled"),
        ("cancellation confirmed", running, "cancelled"),
        ("approval timed out", waiting, "approval-period"),
        ("execution timed out", scheduled, "execution-period"),
        ("time limit exceeded", running, "time-limit"),
        ("permission revoked", running, "right-lost"),
        ("failed", running, "worker"),
    ],
)
def test_final_status_has_a_reason(name: str, make: object, code: str) -> None:
    task = make()  # type: ignore[operator]
    ended = apply_triggers(task, triggers(task)[name])
    assert ended.reason_code == code
    assert ended.reason
    assert ended.history[-1].note == ended.reason
    assert ended.worker == ""


# ---- decisions


@pytest.mark.parametrize("verdict", [approval, rejection])
def test_decision_by_requester_is_rejected(verdict: object) -> None:
    task = waiting(by="USER:dev")
    with pytest.raises(PermissionDeniedError, match="your own task"):
        apply_triggers(task, verdict(task, "USER:dev"))  # type: ignore[operator]


@pytest.mark.parametrize("by", ["CLIENT:ci", "GROUP:owners"])
def test_decision_by_client_or_group_is_rejected(by: str) -> None:
    task = waiting()
    with pytest.raises(PermissionDeniedError):
        apply_triggers(task, approval(task, by))


def test_approval_by_requesting_client_is_rejected() -> None:
    task = waiting(by="CLIENT:ci")
    with pytest.raises(PermissionDeniedError):
        apply_triggers(task, approval(task, "CLIENT:ci"))


def test_self_approval_counts_once() -> None:
    task = waiting(self_approved=True, approvals=2)
    decided = apply_triggers(task, approval(task, "USER:dev"))
    assert decided.status is S.WAITING
    with pytest.raises(ConflictError):
        apply_triggers(decided, approval(decided, "USER:dev"))
    assert apply_triggers(decided, approval(decided, "USER:owner")).status is S.APPROVED


def test_second_decision_is_rejected() -> None:
    task = waiting(approvals=3)
    decided = apply_triggers(task, approval(task, "USER:owner"))
    for trigger in (approval(decided, "USER:owner"), rejection(decided, "USER:owner")):
        with pytest.raises(ConflictError):
            apply_triggers(decided, trigger)


def test_decision_with_other_digest_is_rejected() -> None:
    task = waiting()
    with pytest.raises(ConflictError, match="changed since you reviewed it"):
        apply_triggers(task, DecisionMade(decision=decision(task, digest="00" * 32)))


def test_rejection_after_approval_cancels() -> None:
    task = waiting(approvals=2)
    decided = apply_triggers(task, approval(task, "USER:one"))
    ended = apply_triggers(decided, rejection(decided, "USER:two"))
    assert ended.status is S.CANCELLED
    assert ended.reason == "Rejected by USER:two: because"


@pytest.mark.parametrize("required", [1, 2, 3])
def test_quorum_approves_the_task(required: int) -> None:
    task = waiting(approvals=required)
    for number in range(required):
        assert task.status is S.WAITING
        task = apply_triggers(task, approval(task, f"USER:p{number}"))
    assert task.status is S.APPROVED


# ---- leases and fencing tokens


@pytest.mark.parametrize("fencing_token", [0, 2, 3])
def test_lease_with_wrong_token_is_rejected(fencing_token: int) -> None:
    task = scheduled()
    with pytest.raises(InvalidTransitionError):
        apply_triggers(task, msgspec.structs.replace(lease(task), fencing_token=fencing_token))


@pytest.mark.parametrize(
    "report",
    [
        SegmentRecorded(fencing_token=1, index=0),
        IntentRecorded(fencing_token=1, sha256="cc" * 32),
        LeaseExpired(fencing_token=1),
        AttemptInterrupted(fencing_token=1),
        DiskFull(fencing_token=1),
        KeyProviderLost(fencing_token=1, reason="no"),
        ObjectStoreLost(fencing_token=1, reason="no"),
        Completed(fencing_token=1, result=RESULT),
        Failed(fencing_token=1, reason="no", code="worker"),
    ],
)
def test_report_with_outdated_token_is_rejected(report: Trigger) -> None:
    task = apply_triggers(running(), LeaseExpired(fencing_token=1))
    task = apply_triggers(task, lease(task))
    assert task.fencing_token == 2
    with pytest.raises(InvalidTransitionError, match="outdated"):
        apply_triggers(task, report)


@pytest.mark.parametrize(
    ("reason", "final_reason"),
    [
        ("", "The worker crashed 3 times while running this task."),
        ("No key.", "The task failed 3 times on a crypto host. Last error: No key."),
    ],
)
def test_third_lease_loss_fails_the_task(reason: str, final_reason: str) -> None:
    task = running()
    for losses in (1, 2):
        task = apply_triggers(task, LeaseExpired(fencing_token=task.fencing_token))
        assert (task.status, task.lease_losses) == (S.SCHEDULED, losses)
        task = apply_triggers(task, lease(task))
    task = apply_triggers(task, LeaseExpired(fencing_token=task.fencing_token, reason=reason))
    assert task.status is S.FAILED
    assert task.reason == final_reason


@pytest.mark.parametrize("name", ["attempt interrupted", "disk full", "key provider lost", "object store lost"])
def test_lost_resource_counts_no_lease_loss(name: str) -> None:
    task = running()
    for _ in range(5):
        task = apply_triggers(task, triggers(task)[name])
        assert (task.status, task.lease_losses, task.time_limit_at) == (S.SCHEDULED, 0, LATER)
        task = apply_triggers(task, lease(task))


def test_engine_restart_counts_no_lease_loss() -> None:
    task = running()
    for _ in range(5):
        task = apply_triggers(task, EngineRestarted(time_limit_at=LATER.replace(year=2027)))
        assert (task.status, task.lease_losses, task.time_limit_at) == (S.SCHEDULED, 0, LATER.replace(year=2027))
        task = apply_triggers(task, lease(task))
    assert task.fencing_token == 6


def test_time_limit_spans_all_attempts() -> None:
    task = apply_triggers(running(), LeaseExpired(fencing_token=1))
    retried = apply_triggers(task, msgspec.structs.replace(lease(task), time_limit_at=LATER.replace(year=2030)))
    assert retried.time_limit_at == LATER


# ---- intents


def test_second_intent_requires_same_digest() -> None:
    task = apply_triggers(running(), IntentRecorded(fencing_token=1, sha256="cc" * 32), LeaseExpired(fencing_token=1))
    task = apply_triggers(task, lease(task))
    retried = apply_triggers(task, IntentRecorded(fencing_token=2, sha256="cc" * 32))
    assert retried.intent is not None
    assert retried.intent.fencing_token == 2
    with pytest.raises(InvalidTransitionError, match="not sign twice"):
        apply_triggers(task, IntentRecorded(fencing_token=2, sha256="dd" * 32))


# ---- subtasks


def subtask_statuses(task: Task) -> list[TaskStatus]:
    return [each.status for each in task.subtasks]


@pytest.mark.parametrize("make", [package, waiting, approved])
def test_subtasks_wait_until_parent_is_scheduled(make: object) -> None:
    assert subtask_statuses(make()) == [S.CREATED, S.CREATED, S.WAITING]  # type: ignore[operator]


def test_subtasks_follow_the_execution() -> None:
    assert subtask_statuses(scheduled()) == [S.SCHEDULED] * 3
    task = running()
    assert subtask_statuses(task) == [S.RUNNING, S.RUNNING, S.SCHEDULED]
    task = apply_triggers(task, SegmentRecorded(fencing_token=1, index=1))
    assert subtask_statuses(task) == [S.RUNNING, S.DONE, S.SCHEDULED]
    task = apply_triggers(
        task, SegmentRecorded(fencing_token=1, index=0), IntentRecorded(fencing_token=1, sha256="cc" * 32)
    )
    assert subtask_statuses(task) == [S.DONE, S.DONE, S.RUNNING]
    assert subtask_statuses(apply_triggers(task, LeaseExpired(fencing_token=1))) == [S.DONE, S.DONE, S.SCHEDULED]
    assert subtask_statuses(apply_triggers(task, Completed(fencing_token=1, result=RESULT))) == [S.DONE] * 3


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_subtasks_end_with_their_parent(status: TaskStatus) -> None:
    assert subtask_statuses(finished(status)) == [status] * 3


@pytest.mark.parametrize("index", [2, 3, -1])
def test_recorded_segment_keeps_signing_subtask(index: int) -> None:
    task = apply_triggers(running(), SegmentRecorded(fencing_token=1, index=index))
    assert subtask_statuses(task) == [S.RUNNING, S.RUNNING, S.SCHEDULED]


def test_signing_task_has_no_subtasks() -> None:
    task = msgspec.structs.replace(scheduled(), kind=TaskKind.SIGNING, subtasks=())
    assert apply_triggers(task, lease(task)).subtasks == ()
