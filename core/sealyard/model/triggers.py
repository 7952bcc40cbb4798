"""Triggers: the inputs of the task life cycle.

The code that creates a trigger has checked the permissions for it; :mod:`sealyard.model.lifecycle` checks the rest.
"""

from __future__ import annotations

from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import Decision, Result


class Submitted(FrozenStruct, frozen=True, kw_only=True):
    """The inputs are stored and their digests checked. The next status depends on whether approval is required."""

    approval_expires_at: datetime
    execution_expires_at: datetime
    reminder_at: datetime | None = None
    escalation_at: datetime | None = None


class DecisionMade(FrozenStruct, frozen=True, kw_only=True):
    decision: Decision


class ApproversChanged(FrozenStruct, frozen=True, kw_only=True):
    """The permission to approve for the task's configuration was granted or lost.

    ``revoked``: positions of the approvals that no longer count. ``warning``: the new warning of the task.
    """

    revoked: tuple[int, ...] = ()
    reason: str = ""
    warning: str = ""


class Withdrawn(FrozenStruct, frozen=True, kw_only=True):
    by: str
    reason: str


class Cancelled(FrozenStruct, frozen=True, kw_only=True):
    """The task was cancelled before a worker leased it."""

    by: str


class CancellationConfirmed(FrozenStruct, frozen=True, kw_only=True):
    """A running task was cancelled: its worker has stopped or can no longer change the task."""

    by: str


class ApprovalTimedOut(FrozenStruct, frozen=True, kw_only=True):
    pass


class ExecutionTimedOut(FrozenStruct, frozen=True, kw_only=True):
    pass


class PermissionRevoked(FrozenStruct, frozen=True, kw_only=True):
    """The requester lost the permission to use the configuration, or too few subjects may still approve for it."""

    reason: str


class Scheduled(FrozenStruct, frozen=True, kw_only=True):
    execution_expires_at: datetime


class Leased(FrozenStruct, frozen=True, kw_only=True):
    worker: str
    fencing_token: int
    time_limit_at: datetime


class SegmentRecorded(FrozenStruct, frozen=True, kw_only=True):
    """The encrypted segment of firmware file number ``index`` (from 0) is stored durably."""

    fencing_token: int
    index: int


class IntentRecorded(FrozenStruct, frozen=True, kw_only=True):
    """The worker requests permission to sign bytes with this SHA-256 (hex)."""

    fencing_token: int
    sha256: str


class LeaseExpired(FrozenStruct, frozen=True, kw_only=True):
    """The worker died or stopped sending heartbeats, or its host abandoned the job. ``reason``: its error."""

    fencing_token: int
    reason: str = ""


class AttemptInterrupted(FrozenStruct, frozen=True, kw_only=True):
    """The attempt ended because its host was shut down or disconnected. It does not count as a lost lease."""

    fencing_token: int


class DiskFull(FrozenStruct, frozen=True, kw_only=True):
    """The worker could not write its output because the disk is full. The task waits for space."""

    fencing_token: int


class KeyProviderLost(FrozenStruct, frozen=True, kw_only=True):
    """A token or key service could not be used at the moment. The task waits for it. ``reason``: the error."""

    fencing_token: int
    reason: str


class ObjectStoreLost(FrozenStruct, frozen=True, kw_only=True):
    """A crypto host could not copy an input or a result. The task waits for the store. ``reason``: the error."""

    fencing_token: int
    reason: str


class EngineRestarted(FrozenStruct, frozen=True, kw_only=True):
    """The engine that granted the lease has stopped.

    The restart does not count as a lost lease, and the downtime does not count towards the task's time limit.
    """

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


class WorkspaceRecovered(FrozenStruct, frozen=True, kw_only=True):
    """The workspace continues from an older or copied state, so that what happened to the task since is unknown."""


Trigger = (
    Submitted
    | DecisionMade
    | ApproversChanged
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
    | AttemptInterrupted
    | DiskFull
    | KeyProviderLost
    | ObjectStoreLost
    | EngineRestarted
    | Completed
    | Failed
    | TimeLimitExceeded
    | WorkspaceRecovered
)
