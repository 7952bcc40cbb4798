"""The workspace's policy: which tasks need approval, and the time limits of a task."""

from __future__ import annotations

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import TaskKind


class Policy(FrozenStruct, frozen=True, kw_only=True):
    """The policy of a workspace. All periods are in seconds.

    ``approval_timeout``: how long a task may wait for its approvals. ``execution_timeout``: how long it may then wait
    for a worker. ``time_limit``: how long it may run, over all attempts. ``allow_self_approval``: whether requesters
    may approve their own tasks; can be set only in a demo workspace, and every result is marked as self-approved.
    ``require_otp``: whether each approval requires a one-time password.
    """

    requires_approval: tuple[TaskKind, ...] = (TaskKind.PACKAGING, TaskKind.SIGNING)
    approval_timeout: int = 7 * 24 * 3600
    execution_timeout: int = 3 * 24 * 3600
    time_limit: int = 4 * 3600
    allow_self_approval: bool = False
    require_otp: bool = False
