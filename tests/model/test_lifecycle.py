"""The life cycle of a task: the table, cell by cell, and the rules that hold in every transition."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from sealyard.model.errors import ConflictError, InvalidTransitionError, PermissionDeniedError
from sealyard.model.lifecycle import TRANSITIONS, accepts, advance
from sealyard.model.tasks import FINAL_STATUSES, Result, ResultState, Task, TaskKind, TaskStatus
from sealyard.model.triggers import (
    ApprovalTimedOut,
    CancellationConfirmed,
    Cancelled,
    Completed,
    DecisionMade,
    EngineRestarted,
    ExecutionTimedOut,
    Failed,
    IntentRecorded,
    LeaseExpired,
    PermissionRevoked,
    SegmentRecorded,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
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


def ended(status: TaskStatus) -> Task:
    task = running()
    happening: dict[TaskStatus, Trigger] = {
        S.DONE: Completed(fencing_token=1, result=RESULT),
        S.FAILED: Failed(fencing_token=1, reason="the disk is full", code="storage"),
        S.CANCELLED: CancellationConfirmed(by="USER:dev"),
    }
    return apply_triggers(task, happening[status])


AT: dict[TaskStatus, Callable[[], Task]] = {
    S.CREATED: package,
    S.WAITING: waiting,
    S.APPROVED: approved,
    S.SCHEDULED: scheduled,
    S.RUNNING: running,
    S.DONE: lambda: ended(S.DONE),
    S.FAILED: lambda: ended(S.FAILED),
    S.CANCELLED: lambda: ended(S.CANCELLED),
}
"""A task in each status."""

# The table of design section 2 (and of the module's docstring): status, what happens, status after it.
CELLS: list[tuple[TaskStatus, str, TaskStatus]] = [
    (S.CREATED, "submitted", S.WAITING),
    (S.CREATED, "withdrawn", S.CANCELLED),
    (S.CREATED, "cancelled", S.CANCELLED),
    (S.WAITING, "approved", S.APPROVED),
    (S.WAITING, "rejected", S.CANCELLED),
    (S.WAITING, "withdrawn", S.CANCELLED),
    (S.WAITING, "cancelled", S.CANCELLED),
    (S.WAITING, "approval period over", S.CANCELLED),
    (S.APPROVED, "scheduled", S.SCHEDULED),
    (S.APPROVED, "withdrawn", S.CANCELLED),
    (S.APPROVED, "cancelled", S.CANCELLED),
    (S.APPROVED, "right lost", S.CANCELLED),
    (S.APPROVED, "execution period over", S.CANCELLED),
    (S.SCHEDULED, "leased", S.RUNNING),
    (S.SCHEDULED, "cancelled", S.CANCELLED),
    (S.SCHEDULED, "right lost", S.CANCELLED),
    (S.SCHEDULED, "execution period over", S.CANCELLED),
    (S.SCHEDULED, "time limit over", S.FAILED),
    (S.RUNNING, "segment sealed", S.RUNNING),
    (S.RUNNING, "intent recorded", S.RUNNING),
    (S.RUNNING, "completed", S.DONE),
    (S.RUNNING, "failed", S.FAILED),
    (S.RUNNING, "time limit over", S.FAILED),
    (S.RUNNING, "cancel confirmed", S.CANCELLED),
    (S.RUNNING, "right lost", S.CANCELLED),
    (S.RUNNING, "lease lost", S.SCHEDULED),
    (S.RUNNING, "engine restarted", S.SCHEDULED),
]


def happenings(task: Task) -> dict[str, Trigger]:
    return {
        "submitted": SUBMITTED,
        "approved": approval(task),
        "rejected": rejection(task),
        "withdrawn": Withdrawn(by="USER:dev", reason="mistake"),
        "cancelled": Cancelled(by="USER:dev"),
        "cancel confirmed": CancellationConfirmed(by="USER:dev"),
        "approval period over": ApprovalTimedOut(),
        "execution period over": ExecutionTimedOut(),
        "time limit over": TimeLimitExceeded(),
        "right lost": PermissionRevoked(reason="USER:dev no longer has permission to use gateway."),
        "scheduled": SCHEDULED,
        "leased": lease(task),
        "segment sealed": SegmentRecorded(fencing_token=task.fencing_token, index=0),
        "intent recorded": IntentRecorded(fencing_token=task.fencing_token, sha256="cc" * 32),
        "lease lost": LeaseExpired(fencing_token=task.fencing_token),
        "engine restarted": EngineRestarted(time_limit_at=LATER),
        "completed": Completed(fencing_token=task.fencing_token, result=RESULT),
        "failed": Failed(fencing_token=task.fencing_token, reason="no", code="worker"),
    }


@pytest.mark.parametrize(("status", "name", "then"), CELLS)
def test_the_table_has_the_transition(status: TaskStatus, name: str, then: TaskStatus) -> None:
    task = AT[status]()
    moved = apply_triggers(task, happenings(task)[name])
    assert moved.status is then


@pytest.mark.parametrize("status", TaskStatus)
def test_whatever_else_happens_is_refused(status: TaskStatus) -> None:
    task = AT[status]()
    allowed = {name for at, name, _ in CELLS if at is status}
    for name, happening in happenings(task).items():
        assert accepts(task, type(happening)) is (name in allowed), name
        if name not in allowed:
            with pytest.raises(InvalidTransitionError) as caught:
                apply_triggers(task, happening)
            assert caught.value.hint


def test_every_happening_has_a_place_in_the_table() -> None:
    assert set(TRANSITIONS) == {type(each) for each in happenings(package()).values()}
    assert not {status for statuses in TRANSITIONS.values() for status in statuses} & FINAL_STATUSES


def test_a_task_that_needs_no_approval_is_scheduled_at_once() -> None:
    task = apply_triggers(package(approvals=0), SUBMITTED)
    assert task.status is S.SCHEDULED
    assert task.execution_expires_at == LATER
    assert task.approval_expires_at is None


def test_advance_leaves_its_input_as_it_was() -> None:
    for status in TaskStatus:
        task = AT[status]()
        before = msgspec.json.encode(task)
        for happening in happenings(task).values():
            if accepts(task, type(happening)):
                assert advance(task, happening, NOW) is not task
            assert msgspec.json.encode(task) == before


def test_history_tells_each_status_once_with_what_it_was_for() -> None:
    task = running()
    lost = apply_triggers(task, LeaseExpired(fencing_token=1))
    assert [each.status for each in lost.history] == [
        S.CREATED,
        S.WAITING,
        S.APPROVED,
        S.SCHEDULED,
        S.RUNNING,
        S.SCHEDULED,
    ]
    assert lost.history[2].note == "approved by USER:owner"
    assert lost.history[-1].note == "worker lost"


@pytest.mark.parametrize(
    ("name", "at", "code"),
    [
        ("rejected", waiting, "rejected"),
        ("withdrawn", waiting, "withdrawn"),
        ("cancelled", waiting, "cancelled"),
        ("cancel confirmed", running, "cancelled"),
        ("approval period over", waiting, "approval-period"),
        ("execution period over", scheduled, "execution-period"),
        ("time limit over", running, "time-limit"),
        ("right lost", running, "right-lost"),
        ("failed", running, "worker"),
    ],
)
def test_an_end_says_why(name: str, at: object, code: str) -> None:
    task = at()  # type: ignore[operator]
    over = apply_triggers(task, happenings(task)[name])
    assert over.reason_code == code
    assert over.reason
    assert over.history[-1].note == over.reason
    assert over.worker == ""


# ---- four eyes


@pytest.mark.parametrize("verdict", [approval, rejection])
def test_nobody_decides_on_a_task_of_their_own(verdict: object) -> None:
    task = waiting(by="USER:dev")
    with pytest.raises(PermissionDeniedError, match="your own task"):
        apply_triggers(task, verdict(task, "USER:dev"))  # type: ignore[operator]


@pytest.mark.parametrize("by", ["CLIENT:ci", "GROUP:owners"])
def test_only_persons_decide(by: str) -> None:
    task = waiting()
    with pytest.raises(PermissionDeniedError):
        apply_triggers(task, approval(task, by))


def test_a_client_does_not_approve_what_it_asked_for() -> None:
    task = waiting(by="CLIENT:ci")
    with pytest.raises(PermissionDeniedError):
        apply_triggers(task, approval(task, "CLIENT:ci"))


def test_under_trial_the_requester_counts_once() -> None:
    task = waiting(trial=True, approvals=2)
    once = apply_triggers(task, approval(task, "USER:dev"))
    assert once.status is S.WAITING
    with pytest.raises(ConflictError):
        apply_triggers(once, approval(once, "USER:dev"))
    assert apply_triggers(once, approval(once, "USER:owner")).status is S.APPROVED


def test_a_person_decides_once() -> None:
    task = waiting(approvals=3)
    once = apply_triggers(task, approval(task, "USER:owner"))
    for again in (approval(once, "USER:owner"), rejection(once, "USER:owner")):
        with pytest.raises(ConflictError):
            apply_triggers(once, again)


def test_a_decision_about_other_contents_is_refused() -> None:
    task = waiting()
    with pytest.raises(ConflictError, match="changed since you reviewed it"):
        apply_triggers(task, DecisionMade(decision=decision(task, digest="00" * 32)))


def test_one_rejection_ends_the_task_whoever_approved_before() -> None:
    task = waiting(approvals=2)
    once = apply_triggers(task, approval(task, "USER:one"))
    over = apply_triggers(once, rejection(once, "USER:two"))
    assert over.status is S.CANCELLED
    assert over.reason == "Rejected by USER:two: because"


@pytest.mark.parametrize("required", [1, 2, 3])
def test_the_quorum_is_as_many_persons_as_are_required(required: int) -> None:
    task = waiting(approvals=required)
    for number in range(required):
        assert task.status is S.WAITING
        task = apply_triggers(task, approval(task, f"USER:p{number}"))
    assert task.status is S.APPROVED


# ---- leases and fences


@pytest.mark.parametrize("fence", [0, 2, 3])
def test_a_lease_has_the_next_fence_and_no_other(fence: int) -> None:
    task = scheduled()
    with pytest.raises(InvalidTransitionError):
        apply_triggers(task, msgspec.structs.replace(lease(task), fencing_token=fence))


@pytest.mark.parametrize(
    "said",
    [
        SegmentRecorded(fencing_token=1, index=0),
        IntentRecorded(fencing_token=1, sha256="cc" * 32),
        LeaseExpired(fencing_token=1),
        Completed(fencing_token=1, result=RESULT),
        Failed(fencing_token=1, reason="no", code="worker"),
    ],
)
def test_what_a_worker_says_under_an_old_fence_is_refused(said: Trigger) -> None:
    task = apply_triggers(running(), LeaseExpired(fencing_token=1))
    task = apply_triggers(task, lease(task))
    assert task.fencing_token == 2
    with pytest.raises(InvalidTransitionError, match="outdated"):
        apply_triggers(task, said)


def test_the_third_lost_worker_fails_the_task() -> None:
    task = running()
    for losses in (1, 2):
        task = apply_triggers(task, LeaseExpired(fencing_token=task.fencing_token))
        assert (task.status, task.lease_losses) == (S.SCHEDULED, losses)
        task = apply_triggers(task, lease(task))
    task = apply_triggers(task, LeaseExpired(fencing_token=task.fencing_token))
    assert task.status is S.FAILED
    assert task.reason == "The worker crashed 3 times while running this task."


def test_an_engine_started_again_is_not_counted_and_gives_the_time_back() -> None:
    task = running()
    for _ in range(5):
        task = apply_triggers(task, EngineRestarted(time_limit_at=LATER.replace(year=2027)))
        assert (task.status, task.lease_losses, task.time_limit_at) == (S.SCHEDULED, 0, LATER.replace(year=2027))
        task = apply_triggers(task, lease(task))
    assert task.fencing_token == 6


def test_the_time_limit_runs_over_all_attempts() -> None:
    task = apply_triggers(running(), LeaseExpired(fencing_token=1))
    again = apply_triggers(task, msgspec.structs.replace(lease(task), time_limit_at=LATER.replace(year=2030)))
    assert again.time_limit_at == LATER


# ---- one signed thing


def test_a_second_intent_is_about_the_same_bytes() -> None:
    task = apply_triggers(running(), IntentRecorded(fencing_token=1, sha256="cc" * 32), LeaseExpired(fencing_token=1))
    task = apply_triggers(task, lease(task))
    again = apply_triggers(task, IntentRecorded(fencing_token=2, sha256="cc" * 32))
    assert again.intent is not None
    assert again.intent.fencing_token == 2
    with pytest.raises(InvalidTransitionError, match="not sign twice"):
        apply_triggers(task, IntentRecorded(fencing_token=2, sha256="dd" * 32))


# ---- sub-tasks


def statuses(task: Task) -> list[TaskStatus]:
    return [each.status for each in task.subtasks]


@pytest.mark.parametrize("at", [package, waiting, approved])
def test_sub_tasks_are_untouched_before_the_parent_is_scheduled(at: object) -> None:
    assert statuses(at()) == [S.CREATED, S.CREATED, S.WAITING]  # type: ignore[operator]


def test_sub_tasks_follow_the_work() -> None:
    assert statuses(scheduled()) == [S.SCHEDULED] * 3
    task = running()
    assert statuses(task) == [S.RUNNING, S.RUNNING, S.SCHEDULED]
    task = apply_triggers(task, SegmentRecorded(fencing_token=1, index=1))
    assert statuses(task) == [S.RUNNING, S.DONE, S.SCHEDULED]
    task = apply_triggers(
        task, SegmentRecorded(fencing_token=1, index=0), IntentRecorded(fencing_token=1, sha256="cc" * 32)
    )
    assert statuses(task) == [S.DONE, S.DONE, S.RUNNING]
    assert statuses(apply_triggers(task, LeaseExpired(fencing_token=1))) == [S.DONE, S.DONE, S.SCHEDULED]
    assert statuses(apply_triggers(task, Completed(fencing_token=1, result=RESULT))) == [S.DONE] * 3


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_sub_tasks_end_with_their_parent(status: TaskStatus) -> None:
    assert statuses(ended(status)) == [status] * 3


@pytest.mark.parametrize("index", [2, 3, -1])
def test_a_sealed_segment_never_ends_the_signing(index: int) -> None:
    task = apply_triggers(running(), SegmentRecorded(fencing_token=1, index=index))
    assert statuses(task) == [S.RUNNING, S.RUNNING, S.SCHEDULED]


def test_signing_tasks_have_no_parts_to_follow() -> None:
    task = msgspec.structs.replace(scheduled(), kind=TaskKind.SIGNING, subtasks=())
    assert apply_triggers(task, lease(task)).subtasks == ()
