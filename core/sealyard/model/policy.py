"""The workspace's policy: what needs approval, and within which periods a task must move."""

from __future__ import annotations

from sealyard.model.tasks import TaskKind
from sealyard.model.value import FrozenStruct


class Policy(FrozenStruct, frozen=True, kw_only=True):
    """All periods in seconds.

    ``approvalPeriod``: how long a task may wait for its approvals. ``executionPeriod``: how long it may then wait
    for a worker. ``timeLimit``: how long it may run, over all attempts. ``selfApprovalTrial`` lets a requester
    approve alone; it can be set in a demo workspace only and marks every result. ``oneTimePasswordNeeded``: each
    approval wants one.
    """

    approval_needed: tuple[TaskKind, ...] = (TaskKind.PACKAGING, TaskKind.SIGNING)
    approval_period: int = 7 * 24 * 3600
    execution_period: int = 3 * 24 * 3600
    time_limit: int = 4 * 3600
    self_approval_trial: bool = False
    one_time_password_needed: bool = False
