"""Which triggers a task accepts in which status, and which statuses follow each other."""

from __future__ import annotations

from typing import Any

from sealyard.model.tasks import TaskStatus
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
    Withdrawn,
    WorkspaceRecovered,
)

_S = TaskStatus
_BEFORE_RUNNING = (_S.CREATED, _S.WAITING, _S.APPROVED, _S.SCHEDULED)

TRANSITIONS: dict[type[Any], tuple[TaskStatus, ...]] = {
    Submitted: (_S.CREATED,),
    DecisionMade: (_S.WAITING,),
    ApproversChanged: (_S.WAITING,),
    Withdrawn: (_S.CREATED, _S.WAITING, _S.APPROVED),
    Cancelled: _BEFORE_RUNNING,
    ApprovalTimedOut: (_S.WAITING,),
    ExecutionTimedOut: (_S.APPROVED, _S.SCHEDULED),
    PermissionRevoked: (_S.APPROVED, _S.SCHEDULED, _S.RUNNING),
    Scheduled: (_S.APPROVED,),
    Leased: (_S.SCHEDULED,),
    SegmentRecorded: (_S.RUNNING,),
    IntentRecorded: (_S.RUNNING,),
    LeaseExpired: (_S.RUNNING,),
    AttemptInterrupted: (_S.RUNNING,),
    DiskFull: (_S.RUNNING,),
    KeyProviderLost: (_S.RUNNING,),
    ObjectStoreLost: (_S.RUNNING,),
    EngineRestarted: (_S.RUNNING,),
    CancellationConfirmed: (_S.RUNNING,),
    TimeLimitExceeded: (_S.SCHEDULED, _S.RUNNING),
    Completed: (_S.RUNNING,),
    Failed: (_S.RUNNING,),
    WorkspaceRecovered: (*_BEFORE_RUNNING, _S.RUNNING),
}
"""The statuses in which each trigger is accepted. A final status accepts none."""

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

VERBS: dict[type[Any], str] = {
    Submitted: "submit",
    DecisionMade: "decide on",
    ApproversChanged: "revoke approvals of",
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
    AttemptInterrupted: "interrupt",
    DiskFull: "suspend",
    KeyProviderLost: "suspend",
    ObjectStoreLost: "suspend",
    EngineRestarted: "restart",
    TimeLimitExceeded: "time out",
    Completed: "complete",
    Failed: "fail",
    WorkspaceRecovered: "cancel",
}
"""What each trigger does to a task, for error messages."""
