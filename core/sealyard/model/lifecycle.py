"""The life cycle of a task: a state machine without I/O, with one transition table and one function, :func:`advance`.

    CREATED    -> WAITING (needs approval) | SCHEDULED (does not) | CANCELLED
    WAITING    -> WAITING (one more approval, or fewer that count) | APPROVED | CANCELLED (rejected, withdrawn, timeout)
    APPROVED   -> SCHEDULED | CANCELLED (withdrawn, permission revoked, execution timeout)
    SCHEDULED  -> RUNNING | CANCELLED | FAILED (time limit)
    RUNNING    -> RUNNING (segment encrypted, intent recorded) | DONE | FAILED | CANCELLED
                | SCHEDULED (disk full, key provider unavailable; lease expired, FAILED the third time)
    DONE, FAILED, CANCELLED are final.

Rules that hold in every transition:

1. A trigger that the table does not list for the task's status raises :class:`InvalidTransitionError`; the task is not
   changed.
2. A decision by the requester is rejected and never counts, except with self-approval in a demo workspace.
3. A person can decide only once, and only within the approval period. A decision that is bound to another digest is
   rejected. After an approval was revoked, the same person can approve again.
4. The fencing token of each lease is one higher than the last; a worker's report with any other token is rejected.
5. A worker signs at most one message for a task: a second intent must be for the same bytes.
6. Subtasks follow their parent: they do not change before it is SCHEDULED, and they end when it ends.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from sealyard.model.approval import DecisionBlocker, decision_blocker, has_quorum
from sealyard.model.errors import (
    ArtifactStoreError,
    ConflictError,
    DiskFullError,
    InvalidTransitionError,
    KeyProviderUnavailableError,
    PermissionDeniedError,
    SealyardError,
)
from sealyard.model.tasks import (
    REJECTED_CODE,
    WITHDRAWN_CODE,
    Intent,
    RevokedApproval,
    StatusChange,
    Subtask,
    Task,
    TaskKind,
    TaskStatus,
    Verdict,
)
from sealyard.model.transitions import TRANSITIONS, VERBS
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
    Leased,
    LeaseExpired,
    ObjectStoreLost,
    PermissionRevoked,
    Scheduled,
    SegmentRecorded,
    Submitted,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
    WorkspaceRecovered,
)

MAX_LEASE_LOSSES = 3

DISK_FULL_NOTE = "waiting for disk space"
"""Note in the history of a task that could not be executed because the disk was full."""

KEY_PROVIDER_NOTE = "waiting for a key provider"
"""Note in the history of a task that could not be executed because a token or key service did not answer."""

OBJECT_STORE_NOTE = "waiting for the object store"
"""Note in the history of a task whose input or result a crypto host could not copy."""

_S = TaskStatus


def advance(task: Task, trigger: Trigger, now: datetime) -> Task:
    """Return ``task`` as changed by ``trigger`` at ``now``.

    Raises :class:`InvalidTransitionError` if the task's status does not accept the trigger, or if the trigger has the
    wrong fencing token or a second, different intent; :class:`PermissionDeniedError` for a decision by the requester
    or by a subject that is not a person; and :class:`ConflictError` for a second decision by the same person, one
    after the approval period, or one that is bound to another digest.
    """
    if task.status not in TRANSITIONS[type(trigger)]:
        raise transition_error(task, type(trigger))
    return _HANDLERS[type(trigger)](task, trigger, now)


def transition_error(task: Task, trigger_type: type[Any]) -> InvalidTransitionError:
    """Return the error for a trigger that the task does not accept.

    The error message gives the status of the task and the reason for that status.
    """
    reason = f" ({task.reason.rstrip('.')})" if task.reason else ""
    return InvalidTransitionError(
        f"Cannot {VERBS[trigger_type]} task {task.id}: it is {task.detailed_status}{reason}.",
        "Check the task's current status.",
    )


def accepts(task: Task, trigger_type: type[Any]) -> bool:
    """Return whether the task's status accepts a trigger of this type."""
    return task.status in TRANSITIONS[trigger_type]


def _on_submitted(task: Task, trigger: Submitted, now: datetime) -> Task:
    if task.approvals_required > 0:
        return _with_status(
            task,
            _S.WAITING,
            now,
            approval_expires_at=trigger.approval_expires_at,
            reminder_at=trigger.reminder_at,
            escalation_at=trigger.escalation_at,
        )
    return _with_status(task, _S.SCHEDULED, now, execution_expires_at=trigger.execution_expires_at)


def _on_decision(task: Task, trigger: DecisionMade, now: datetime) -> Task:
    decision = trigger.decision
    # The caller has already checked the APPROVE permission; permissions are not part of the task.
    if (blocker := decision_blocker(task, decision.by, now, may_approve=True)) is not None:
        raise _decision_error(task, decision.by, blocker)
    if decision.digest != task.approval_digest:
        raise ConflictError(
            "The task changed since you reviewed it.",
            "Review the task again, then decide.",
        )
    updated_task = msgspec.structs.replace(task, approvals=(*task.approvals, decision), updated_at=now)
    if decision.verdict is Verdict.REJECTED:
        return _terminate(
            updated_task, _S.CANCELLED, now, f"Rejected by {decision.by}: {decision.reason}", REJECTED_CODE
        )
    if has_quorum(updated_task):
        return _with_status(updated_task, _S.APPROVED, now, f"approved by {decision.by}")
    return updated_task


def _decision_error(task: Task, subject: str, blocker: DecisionBlocker) -> SealyardError:
    match blocker:
        case DecisionBlocker.EXPIRED:
            return ConflictError("The approval period has expired.", "Submit the request again.")
        case DecisionBlocker.OWN_TASK:
            return PermissionDeniedError(
                "You cannot decide on your own task.", "Ask another approver of this device configuration."
            )
        case DecisionBlocker.NOT_A_PERSON:
            return PermissionDeniedError("Only users can decide on a task.", "Decide as a USER.")
        case DecisionBlocker.ALREADY_DECIDED:
            return ConflictError(f"{subject} has already decided on task {task.id}.")
    return transition_error(task, DecisionMade)


def _on_approvers_changed(task: Task, trigger: ApproversChanged, now: datetime) -> Task:
    revoked = tuple(RevokedApproval(decision=position, at=now, reason=trigger.reason) for position in trigger.revoked)
    return msgspec.structs.replace(
        task, revoked_approvals=(*task.revoked_approvals, *revoked), warning=trigger.warning, updated_at=now
    )


def _on_scheduled(task: Task, trigger: Scheduled, now: datetime) -> Task:
    return _with_status(task, _S.SCHEDULED, now, execution_expires_at=trigger.execution_expires_at)


def _on_leased(task: Task, trigger: Leased, now: datetime) -> Task:
    if trigger.fencing_token != task.fencing_token + 1:
        raise InvalidTransitionError(
            f"Task {task.id} expects fencing token {task.fencing_token + 1}, not {trigger.fencing_token}."
        )
    return _with_status(
        task,
        _S.RUNNING,
        now,
        fencing_token=trigger.fencing_token,
        worker=trigger.worker,
        time_limit_at=task.time_limit_at or trigger.time_limit_at,
        reason="",
        reason_code="",
    )


def _on_segment_recorded(task: Task, trigger: SegmentRecorded, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    subtasks = tuple(
        msgspec.structs.replace(subtask, status=_S.DONE)
        if index == trigger.index and subtask.kind is TaskKind.ENCRYPTION
        else subtask
        for index, subtask in enumerate(task.subtasks)
    )
    return msgspec.structs.replace(task, subtasks=subtasks, updated_at=now)


def _on_intent_recorded(task: Task, trigger: IntentRecorded, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    if task.intent is not None and task.intent.sha256 != trigger.sha256:
        raise InvalidTransitionError(
            f"Task {task.id} was already permitted to sign different data; it does not sign twice.",
            "Submit the request again as a new task.",
        )
    intent = Intent(sha256=trigger.sha256, fencing_token=trigger.fencing_token, at=now)
    subtasks = tuple(
        msgspec.structs.replace(subtask, status=_S.RUNNING) if subtask.kind is TaskKind.SIGNING else subtask
        for subtask in task.subtasks
    )
    return msgspec.structs.replace(task, intent=intent, subtasks=subtasks, updated_at=now)


def _on_lease_expired(task: Task, trigger: LeaseExpired, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    lease_losses = task.lease_losses + 1
    updated_task = msgspec.structs.replace(task, lease_losses=lease_losses)
    if lease_losses >= MAX_LEASE_LOSSES:
        reason = f"The worker crashed {lease_losses} times while running this task."
        if trigger.reason:
            reason = f"The task failed {lease_losses} times on a crypto host. Last error: {trigger.reason}"
        return _terminate(updated_task, _S.FAILED, now, reason, "worker")
    return _with_status(updated_task, _S.SCHEDULED, now, "worker lost", worker="")


def _on_attempt_interrupted(task: Task, trigger: AttemptInterrupted, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    return _with_status(task, _S.SCHEDULED, now, "crypto host disconnected", worker="")


def _on_disk_full(task: Task, trigger: DiskFull, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    reason = "Waiting for disk space. Free some space; the task then continues."
    return _with_status(
        task, _S.SCHEDULED, now, DISK_FULL_NOTE, worker="", reason=reason, reason_code=DiskFullError.code
    )


def _on_key_provider_lost(task: Task, trigger: KeyProviderLost, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    reason, code = f"Waiting for a key provider: {trigger.reason}", KeyProviderUnavailableError.code
    return _with_status(task, _S.SCHEDULED, now, KEY_PROVIDER_NOTE, worker="", reason=reason, reason_code=code)


def _on_object_store_lost(task: Task, trigger: ObjectStoreLost, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    reason, code = f"Waiting for the object store: {trigger.reason}", ArtifactStoreError.code
    return _with_status(task, _S.SCHEDULED, now, OBJECT_STORE_NOTE, worker="", reason=reason, reason_code=code)


def _on_engine_restarted(task: Task, trigger: EngineRestarted, now: datetime) -> Task:
    note = "engine restarted"
    return _with_status(task, _S.SCHEDULED, now, note, worker="", time_limit_at=trigger.time_limit_at)


def _on_completed(task: Task, trigger: Completed, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    return _terminate(msgspec.structs.replace(task, result=trigger.result), _S.DONE, now, "", "")


def _on_failed(task: Task, trigger: Failed, now: datetime) -> Task:
    _check_fencing_token(task, trigger.fencing_token)
    return _terminate(task, _S.FAILED, now, trigger.reason, trigger.code)


def _on_withdrawn(task: Task, trigger: Withdrawn, now: datetime) -> Task:
    return _terminate(task, _S.CANCELLED, now, f"Withdrawn by {trigger.by}: {trigger.reason}", WITHDRAWN_CODE)


def _on_cancelled(task: Task, trigger: Cancelled | CancellationConfirmed, now: datetime) -> Task:
    return _terminate(task, _S.CANCELLED, now, f"Cancelled by {trigger.by}.", "cancelled")


def _on_approval_timeout(task: Task, _trigger: ApprovalTimedOut, now: datetime) -> Task:
    reason = "The approval period has expired. Submit the request again."
    return _terminate(task, _S.CANCELLED, now, reason, "approval-period")


def _on_execution_timeout(task: Task, _trigger: ExecutionTimedOut, now: datetime) -> Task:
    reason = "The execution period expired before a worker started the task. Submit the request again."
    return _terminate(task, _S.CANCELLED, now, reason, "execution-period")


def _on_permission_revoked(task: Task, trigger: PermissionRevoked, now: datetime) -> Task:
    return _terminate(task, _S.CANCELLED, now, trigger.reason, "right-lost")


def _on_time_limit_exceeded(task: Task, _trigger: TimeLimitExceeded, now: datetime) -> Task:
    return _terminate(task, _S.FAILED, now, "The task exceeded its time limit.", "time-limit")


def _on_workspace_recovered(task: Task, _trigger: WorkspaceRecovered, now: datetime) -> Task:
    reason = "The workspace was recovered from another copy. Submit the request again."
    return _terminate(task, _S.CANCELLED, now, reason, "workspace-recovered")


_HANDLERS: dict[type[Any], Callable[[Task, Any, datetime], Task]] = {
    Submitted: _on_submitted,
    DecisionMade: _on_decision,
    ApproversChanged: _on_approvers_changed,
    Scheduled: _on_scheduled,
    Leased: _on_leased,
    SegmentRecorded: _on_segment_recorded,
    IntentRecorded: _on_intent_recorded,
    LeaseExpired: _on_lease_expired,
    AttemptInterrupted: _on_attempt_interrupted,
    DiskFull: _on_disk_full,
    KeyProviderLost: _on_key_provider_lost,
    ObjectStoreLost: _on_object_store_lost,
    EngineRestarted: _on_engine_restarted,
    Completed: _on_completed,
    Failed: _on_failed,
    Withdrawn: _on_withdrawn,
    Cancelled: _on_cancelled,
    CancellationConfirmed: _on_cancelled,
    ApprovalTimedOut: _on_approval_timeout,
    ExecutionTimedOut: _on_execution_timeout,
    PermissionRevoked: _on_permission_revoked,
    TimeLimitExceeded: _on_time_limit_exceeded,
    WorkspaceRecovered: _on_workspace_recovered,
}


def _check_fencing_token(task: Task, fencing_token: int) -> None:
    if fencing_token != task.fencing_token:
        raise InvalidTransitionError(
            f"Task {task.id} has fencing token {task.fencing_token}; the worker's token {fencing_token} is outdated."
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


def _terminate(task: Task, status: TaskStatus, now: datetime, reason: str, code: str) -> Task:
    return _with_status(task, status, now, reason, reason=reason, reason_code=code, worker="")


def _sync_subtasks(subtasks: tuple[Subtask, ...], parent_status: TaskStatus) -> tuple[Subtask, ...]:
    if parent_status in (_S.CREATED, _S.WAITING, _S.APPROVED):
        return subtasks
    return tuple(
        subtask
        if subtask.status is _S.DONE
        else msgspec.structs.replace(subtask, status=_subtask_status(subtask, parent_status))
        for subtask in subtasks
    )


def _subtask_status(subtask: Subtask, parent_status: TaskStatus) -> TaskStatus:
    if parent_status is _S.RUNNING and subtask.kind is TaskKind.SIGNING:
        return _S.SCHEDULED
    return parent_status
