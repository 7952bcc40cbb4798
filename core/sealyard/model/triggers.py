"""What can happen to a task. Whoever makes one has checked the right to; the life cycle checks the rest."""

from __future__ import annotations

from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import Decision, Result


class Submitted(FrozenStruct, frozen=True, kw_only=True):
    """Inputs are stored and digests checked; what follows depends on whether approval is needed."""

    approval_expires_at: datetime
    execution_expires_at: datetime


class DecisionMade(FrozenStruct, frozen=True, kw_only=True):
    decision: Decision


class Withdrawn(FrozenStruct, frozen=True, kw_only=True):
    by: str
    reason: str


class Cancelled(FrozenStruct, frozen=True, kw_only=True):
    """Before a worker holds the task."""

    by: str


class CancellationConfirmed(FrozenStruct, frozen=True, kw_only=True):
    """The worker has stopped, or has been fenced off."""

    by: str


class ApprovalTimedOut(FrozenStruct, frozen=True, kw_only=True):
    pass


class ExecutionTimedOut(FrozenStruct, frozen=True, kw_only=True):
    pass


class PermissionRevoked(FrozenStruct, frozen=True, kw_only=True):
    """The requester may no longer use the configuration, or too few approvers may still approve."""

    reason: str


class Scheduled(FrozenStruct, frozen=True, kw_only=True):
    execution_expires_at: datetime


class Leased(FrozenStruct, frozen=True, kw_only=True):
    worker: str
    fencing_token: int
    time_limit_at: datetime


class SegmentRecorded(FrozenStruct, frozen=True, kw_only=True):
    """Firmware ``index`` is encrypted and durable."""

    fencing_token: int
    index: int


class IntentRecorded(FrozenStruct, frozen=True, kw_only=True):
    """The worker asks to sign bytes with this SHA-256 (hex)."""

    fencing_token: int
    sha256: str


class LeaseExpired(FrozenStruct, frozen=True, kw_only=True):
    """The worker died or fell silent."""

    fencing_token: int


class EngineRestarted(FrozenStruct, frozen=True, kw_only=True):
    """The engine that gave the lease is gone; not counted against the task, nor is the time it was away."""

    time_limit_at: datetime


class Completed(FrozenStruct, frozen=True, kw_only=True):
    fencing_token: int
    result: Result


class Failed(FrozenStruct, frozen=True, kw_only=True):
    fencing_token: int
    reason: str
    code: str


class TimeLimitExceeded(FrozenStruct, frozen=True, kw_only=True):
    pass


Trigger = (
    Submitted
    | DecisionMade
    | Withdrawn
    | Cancelled
    | CancellationConfirmed
    | ApprovalTimedOut
    | ExecutionTimedOut
    | PermissionRevoked
    | Scheduled
    | Leased
    | SegmentRecorded
    | IntentRecorded
    | LeaseExpired
    | EngineRestarted
    | Completed
    | Failed
    | TimeLimitExceeded
)
