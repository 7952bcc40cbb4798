"""Results of health checks and statistics of a workspace, for monitoring."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import TaskStatus
from sealyard.model.zone_status import ZoneStatus


class HealthCheck(FrozenStruct, frozen=True, kw_only=True):
    """The result of one check.

    ``name``: the kind of check; may be shown to unauthenticated clients. ``subject``: the checked object, for example a
    key; ``detail``: why the check failed; ``warning``: what needs attention although the check passed. ``subject``,
    ``detail`` and ``warning`` must be shown only to operators of the workspace.
    """

    name: str
    passed: bool
    subject: str = ""
    detail: str = ""
    warning: str = ""


class Health(FrozenStruct, frozen=True, kw_only=True):
    """The results of all ``checks`` at the time ``at``. ``ready``: whether all of them passed."""

    ready: bool
    checks: tuple[HealthCheck, ...]
    at: datetime

    @property
    def failures(self) -> tuple[HealthCheck, ...]:
        return tuple(check for check in self.checks if not check.passed)


COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
"""Upper bounds of the durations by which commits are counted, in seconds."""


class CommitTimes(FrozenStruct, frozen=True, kw_only=True):
    """The durations of the commits to the store.

    ``counts``: number of commits by bucket of :data:`COMMIT_BUCKETS`, and of longer ones at the end. ``seconds``: the
    sum of all durations.
    """

    counts: tuple[int, ...] = (0,) * (len(COMMIT_BUCKETS) + 1)
    seconds: float = 0.0


class WorkspaceStats(FrozenStruct, frozen=True, kw_only=True):
    """Statistics of a workspace.

    ``tasks``: number of tasks by status. ``queued``: number of tasks that wait for a worker slot. ``workers``: number
    of live workers. ``pending_deliveries``: number of webhook messages still to be delivered. ``dead_letters``: number
    of webhook messages whose delivery was given up. ``pending_notifications`` and ``failed_notifications``: the same
    numbers for notifications. ``failing_keys``: number of active keys that failed their last check.
    ``key_providers``: by name of a key provider, whether it passed its last check. ``commits``: durations of commits.
    ``zone``: the state of the crypto zone, None if the workspace has none.
    """

    tasks: Mapping[TaskStatus, int]
    queued: int
    workers: int
    pending_deliveries: int
    dead_letters: int
    pending_notifications: int
    failed_notifications: int
    failing_keys: int = 0
    key_providers: Mapping[str, bool] = {}
    commits: CommitTimes = CommitTimes()
    zone: ZoneStatus | None = None
