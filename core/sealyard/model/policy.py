"""The workspace's policy: what needs approval, and within which periods a task must move."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import TaskKind


class Policy(FrozenStruct, frozen=True, kw_only=True):
    """All periods in seconds.

    ``approval_timeout``: how long a task may wait for its approvals. ``execution_timeout``: how long it may then wait
    for a worker. ``time_limit``: how long it may run, over all attempts. ``allow_self_approval`` lets a requester
    approve alone; it can be set in a demo workspace only and marks every result. ``require_otp``: each
    approval wants one.
    """

    requires_approval: tuple[TaskKind, ...] = (TaskKind.PACKAGING, TaskKind.SIGNING)
    approval_timeout: int = 7 * 24 * 3600
    execution_timeout: int = 3 * 24 * 3600
    time_limit: int = 4 * 3600
    allow_self_approval: bool = False
    require_otp: bool = False
