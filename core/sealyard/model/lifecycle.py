"""The life cycle of a task: one table, one function, no I/O.

    CREATED    -> WAITING (needs approval) | SCHEDULED (does not) | CANCELLED
    WAITING    -> WAITING (one more approval) | APPROVED | CANCELLED (rejected, withdrawn, period over)
    APPROVED   -> SCHEDULED | CANCELLED (withdrawn, a right lost, execution period over)
    SCHEDULED  -> RUNNING | CANCELLED | FAILED (time limit)
    RUNNING    -> RUNNING (a segment sealed, an intent recorded) | DONE | FAILED | CANCELLED
                | SCHEDULED (lease lost; the third time FAILED)
    DONE, FAILED, CANCELLED are final.

Rules that hold in every transition:

1. What is not in the table is refused with :class:`InvalidTransitionError`; the task is not changed.
2. The requester's own decision never counts and is refused (but for the trial switch of a demo workspace).
3. A person decides once. A decision made about another digest is refused.
4. Each lease has a fencing number one higher than the last; what a worker says under another is refused.
5. At most one thing is ever signed for a task: a second intent must be about the same bytes.
6. Sub-tasks follow their parent: untouched before it is SCHEDULED, ended when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec

from sealyard.model.access import SubjectKind, subject_kind
from sealyard.model.approval import has_quorum
from sealyard.model.errors import ConflictError, InvalidTransitionError, InvariantError, PermissionDeniedError
from sealyard.model.tasks import Intent, StatusChange, Subtask, Task, TaskKind, TaskStatus, Verdict
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
    Leased,
    LeaseExpired,
    PermissionRevoked,
    Scheduled,
    SegmentRecorded,
    Submitted,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
)

MAX_LEASE_LOSSES = 3

_S = TaskStatus
_BEFORE_WORK = (_S.CREATED, _S.WAITING, _S.APPROVED, _S.SCHEDULED)

TRANSITIONS: dict[type[Any], tuple[TaskStatus, ...]] = {
    Submitted: (_S.CREATED,),
    DecisionMade: (_S.WAITING,),
    Withdrawn: (_S.CREATED, _S.WAITING, _S.APPROVED),
    Cancelled: _BEFORE_WORK,
    ApprovalTimedOut: (_S.WAITING,),
    ExecutionTimedOut: (_S.APPROVED, _S.SCHEDULED),
    PermissionRevoked: (_S.APPROVED, _S.SCHEDULED, _S.RUNNING),
    Scheduled: (_S.APPROVED,),
    Leased: (_S.SCHEDULED,),
    SegmentRecorded: (_S.RUNNING,),
    IntentRecorded: (_S.RUNNING,),
    LeaseExpired: (_S.RUNNING,),
    EngineRestarted: (_S.RUNNING,),
    CancellationConfirmed: (_S.RUNNING,),
    TimeLimitExceeded: (_S.SCHEDULED, _S.RUNNING),
    Completed: (_S.RUNNING,),
    Failed: (_S.RUNNING,),
}
"""Which happenings a status admits. An ended status admits none."""

NEXT: dict[TaskStatus, frozenset[TaskStatus]] = {
    _S.CREATED: frozenset({_S.WAITING, _S.SCHEDULED, _S.CANCELLED}),
    _S.WAITING: frozenset({_S.APPROVED, _S.CANCELLED}),
    _S.APPROVED: frozenset({_S.SCHEDULED, _S.CANCELLED}),
    _S.SCHEDULED: frozenset({_S.RUNNING, _S.CANCELLED, _S.FAILED}),
    _S.RUNNING: frozenset({_S.DONE, _S.FAILED, _S.CANCELLED, _S.SCHEDULED}),
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""The statuses that can follow each status."""

_VERBS: dict[type[Any], str] = {
    Submitted: "submit",
    DecisionMade: "decide on",
    Withdrawn: "withdraw",
    Cancelled: "cancel",
    CancellationConfirmed: "cancel",
    ApprovalTimedOut: "expire the approval of",
    ExecutionTimedOut: "expire the execution of",
    PermissionRevoked: "revoke the permission for",
    Scheduled: "schedule",
    Leased: "lease",
    SegmentRecorded: "record a segment of",
    IntentRecorded: "sign for",
    LeaseExpired: "end the lease of",
    EngineRestarted: "restart",
    TimeLimitExceeded: "time out",
    Completed: "complete",
    Failed: "fail",
}


def advance(task: Task, happening: Trigger, now: datetime) -> Task:
    """``task`` after ``happening``.

    Raises :class:`InvalidTransitionError` where the table does not have it, :class:`PermissionDeniedError` for a
    decision by the requester, :class:`ConflictError` for a second decision by the same person.
    """
    if task.status not in TRANSITIONS[type(happening)]:
        raise transition_error(task, type(happening))
    return _HANDLERS[type(happening)](task, happening, now)


def transition_error(task: Task, happening: type[Any]) -> InvalidTransitionError:
    """Return the error that says what the task's status is instead, and why."""
    reason = f" ({task.reason.rstrip('.')})" if task.reason else ""
    return InvalidTransitionError(
        f"Cannot {_VERBS[happening]} task {task.id}: it is {task.status}{reason}.",
        "Check the task's current status.",
    )


def accepts(task: Task, happening: type[Any]) -> bool:
    """Whether the table has ``happening`` for the task's status."""
    return task.status in TRANSITIONS[happening]


def check_change(before: Task | None, after: Task) -> None:
    """Check the invariants that every stored change of a task must keep, whatever computed it.

    A final status is never left, statuses follow the table of transitions, fencing tokens never decrease, history
    and approvals only grow, and neither what was approved nor what is about to be signed is replaced.
    ``before`` is None for a new task. Raises :class:`InvariantError`.
    """
    if before is None:
        _require(after, after.history[0].status is _S.CREATED, "starts as CREATED")
        _check_path(after, after.history)
        return
    _require(after, after.id == before.id and after.approval_digest == before.approval_digest, "keeps what it is for")
    _require(after, after.fencing_token >= before.fencing_token, "keeps its fencing token or takes a higher one")
    _require(after, after.history[: len(before.history)] == before.history, "keeps its history")
    _require(after, after.approvals[: len(before.approvals)] == before.approvals, "keeps its decisions")
    if before.intent is not None:
        _require(after, after.intent is not None and after.intent.sha256 == before.intent.sha256, "signs one input")
    _check_path(after, after.history[len(before.history) - 1 :])


def check_key_use(task: Task, fence: int, sha256: str) -> None:
    """Check that the task is RUNNING under ``fencing_token`` and that its intent covers ``sha256``.

    Raises :class:`InvariantError`.
    """
    intent = task.intent
    _require(
        task, task.status is _S.RUNNING and task.fencing_token == fence, "uses a key only while RUNNING under its token"
    )
    _require(
        task,
        intent is not None and intent.sha256 == sha256 and intent.fencing_token == fence,
        "uses a key only for its recorded intent",
    )


def _check_path(task: Task, history: tuple[StatusChange, ...]) -> None:
    _require(task, history[-1].status is task.status, "has its status in its history")
    for earlier, later in pairwise(history):
        _require(task, later.status in NEXT[earlier.status], f"does not become {later.status} after {earlier.status}")


def _require(task: Task, holds: bool, invariant: str) -> None:
    if not holds:
        raise InvariantError(
            f"A change of task {task.id} was refused: a task {invariant}.",
            "Nothing was stored. This is a fault in Sealyard; report it with the log.",
        )


def _submitted(task: Task, happening: Submitted, now: datetime) -> Task:
    if task.approvals_required > 0:
        return _with_status(task, _S.WAITING, now, approval_expires_at=happening.approval_expires_at)
    return _with_status(task, _S.SCHEDULED, now, execution_expires_at=happening.execution_expires_at)


def _decided(task: Task, happening: DecisionMade, now: datetime) -> Task:
    decision = happening.decision
    if decision.by == task.created_by and not task.self_approved:
        raise PermissionDeniedError(
            "Nobody decides on a task of their own.",
            "Ask another person who may approve for this configuration.",
        )
    if subject_kind(decision.by) is not SubjectKind.USER:
        raise PermissionDeniedError("Only a person can decide on a task.", "Decide as a USER.")
    if any(each.by == decision.by for each in task.approvals):
        raise ConflictError(f"{decision.by} has already decided on task {task.id}.")
    if decision.digest != task.approval_digest:
        raise ConflictError(
            "The decision was made about other contents than the task has.",
            "Look at the task again, then decide.",
        )
    decided = msgspec.structs.replace(task, approvals=(*task.approvals, decision), updated_at=now)
    if decision.verdict is Verdict.REJECTED:
        return _terminated(decided, _S.CANCELLED, now, f"Rejected by {decision.by}: {decision.reason}", "rejected")
    if has_quorum(decided):
        return _with_status(decided, _S.APPROVED, now, f"approved by {decision.by}")
    return decided


def _scheduled(task: Task, happening: Scheduled, now: datetime) -> Task:
    return _with_status(task, _S.SCHEDULED, now, execution_expires_at=happening.execution_expires_at)


def _leased(task: Task, happening: Leased, now: datetime) -> Task:
    if happening.fencing_token != task.fencing_token + 1:
        raise InvalidTransitionError(
            f"Task {task.id} wants fence {task.fencing_token + 1}, not {happening.fencing_token}."
        )
    return _with_status(
        task,
        _S.RUNNING,
        now,
        fencing_token=happening.fencing_token,
        worker=happening.worker,
        time_limit_at=task.time_limit_at or happening.time_limit_at,
    )


def _segment_sealed(task: Task, happening: SegmentRecorded, now: datetime) -> Task:
    _check_fence(task, happening.fencing_token)
    subtasks = tuple(
        msgspec.structs.replace(each, status=_S.DONE)
        if index == happening.index and each.kind is TaskKind.ENCRYPTION
        else each
        for index, each in enumerate(task.subtasks)
    )
    return msgspec.structs.replace(task, subtasks=subtasks, updated_at=now)


def _intent_recorded(task: Task, happening: IntentRecorded, now: datetime) -> Task:
    _check_fence(task, happening.fencing_token)
    if task.intent is not None and task.intent.sha256 != happening.sha256:
        raise InvalidTransitionError(
            f"Task {task.id} was about to sign something else before: it will not sign twice.",
            "Ask for the package again as a new task.",
        )
    intent = Intent(sha256=happening.sha256, fencing_token=happening.fencing_token, at=now)
    subtasks = tuple(
        msgspec.structs.replace(each, status=_S.RUNNING) if each.kind is TaskKind.SIGNING else each
        for each in task.subtasks
    )
    return msgspec.structs.replace(task, intent=intent, subtasks=subtasks, updated_at=now)


def _lease_lost(task: Task, happening: LeaseExpired, now: datetime) -> Task:
    _check_fence(task, happening.fencing_token)
    losses = task.lease_losses + 1
    lost = msgspec.structs.replace(task, lease_losses=losses)
    if losses >= MAX_LEASE_LOSSES:
        reason = f"The worker died {losses} times on this task."
        return _terminated(lost, _S.FAILED, now, reason, "worker")
    return _with_status(lost, _S.SCHEDULED, now, "the worker was lost", worker="")


def _engine_restarted(task: Task, happening: EngineRestarted, now: datetime) -> Task:
    note = "the engine was started again"
    return _with_status(task, _S.SCHEDULED, now, note, worker="", time_limit_at=happening.time_limit_at)


def _completed(task: Task, happening: Completed, now: datetime) -> Task:
    _check_fence(task, happening.fencing_token)
    return _terminated(msgspec.structs.replace(task, result=happening.result), _S.DONE, now, "", "")


def _failed(task: Task, happening: Failed, now: datetime) -> Task:
    _check_fence(task, happening.fencing_token)
    return _terminated(task, _S.FAILED, now, happening.reason, happening.code)


def _withdrawn(task: Task, happening: Withdrawn, now: datetime) -> Task:
    return _terminated(task, _S.CANCELLED, now, f"Withdrawn by {happening.by}: {happening.reason}", "withdrawn")


def _cancelled(task: Task, happening: Cancelled | CancellationConfirmed, now: datetime) -> Task:
    return _terminated(task, _S.CANCELLED, now, f"Cancelled by {happening.by}.", "cancelled")


def _approval_period_over(task: Task, _happening: ApprovalTimedOut, now: datetime) -> Task:
    reason = "The approval period is over. Ask again with a new task."
    return _terminated(task, _S.CANCELLED, now, reason, "approval-period")


def _execution_period_over(task: Task, _happening: ExecutionTimedOut, now: datetime) -> Task:
    reason = "The execution period is over: no worker took the task in time. Ask again with a new task."
    return _terminated(task, _S.CANCELLED, now, reason, "execution-period")


def _right_lost(task: Task, happening: PermissionRevoked, now: datetime) -> Task:
    return _terminated(task, _S.CANCELLED, now, happening.reason, "right-lost")


def _time_limit_over(task: Task, _happening: TimeLimitExceeded, now: datetime) -> Task:
    return _terminated(task, _S.FAILED, now, "The task did not end within its time limit.", "time-limit")


_HANDLERS: dict[type[Any], Callable[[Task, Any, datetime], Task]] = {
    Submitted: _submitted,
    DecisionMade: _decided,
    Scheduled: _scheduled,
    Leased: _leased,
    SegmentRecorded: _segment_sealed,
    IntentRecorded: _intent_recorded,
    LeaseExpired: _lease_lost,
    EngineRestarted: _engine_restarted,
    Completed: _completed,
    Failed: _failed,
    Withdrawn: _withdrawn,
    Cancelled: _cancelled,
    CancellationConfirmed: _cancelled,
    ApprovalTimedOut: _approval_period_over,
    ExecutionTimedOut: _execution_period_over,
    PermissionRevoked: _right_lost,
    TimeLimitExceeded: _time_limit_over,
}


def _check_fence(task: Task, fence: int) -> None:
    if fence != task.fencing_token:
        raise InvalidTransitionError(
            f"Task {task.id} is at fence {task.fencing_token}; a worker under fence {fence} is too late."
        )


def _with_status(task: Task, status: TaskStatus, now: datetime, note: str = "", **changes: object) -> Task:
    return msgspec.structs.replace(
        task,
        status=status,
        updated_at=now,
        subtasks=_sync_subtasks(task.subtasks, status),
        history=(*task.history, StatusChange(status=status, at=now, note=note)),
        **changes,
    )


def _terminated(task: Task, status: TaskStatus, now: datetime, reason: str, code: str) -> Task:
    return _with_status(task, status, now, reason, reason=reason, reason_code=code, worker="")


def _sync_subtasks(subtasks: tuple[Subtask, ...], parent: TaskStatus) -> tuple[Subtask, ...]:
    if parent in (_S.CREATED, _S.WAITING, _S.APPROVED):
        return subtasks
    return tuple(
        each if each.status is _S.DONE else msgspec.structs.replace(each, status=_subtask_status(each, parent))
        for each in subtasks
    )


def _subtask_status(subtask: Subtask, parent: TaskStatus) -> TaskStatus:
    if parent is _S.RUNNING and subtask.kind is TaskKind.SIGNING:
        return _S.SCHEDULED
    return parent
