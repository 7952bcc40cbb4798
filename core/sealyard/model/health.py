"""Whether a workspace's engine can do its work."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import TaskStatus


class HealthCheck(FrozenStruct, frozen=True, kw_only=True):
    """One thing that was tried. ``name`` says of what kind it is and may be shown to strangers.

    ``about``: which one of its kind it is, a key for instance; ``detail``: what was wrong. Both are for those only
    who run the workspace.
    """

    name: str
    passed: bool
    subject: str = ""
    detail: str = ""


class Health(FrozenStruct, frozen=True, kw_only=True):
    """``checks`` as they came out ``at`` that moment; ``ready`` where none of them failed."""

    ready: bool
    checks: tuple[HealthCheck, ...]
    at: datetime

    @property
    def failures(self) -> tuple[HealthCheck, ...]:
        return tuple(each for each in self.checks if not each.passed)


class WorkspaceStats(FrozenStruct, frozen=True, kw_only=True):
    """``tasks``: of every status; ``queued``: those of them that wait for a worker's place; ``workers``: that live.

    ``pending_deliveries``: what webhooks are still to be told of; ``dead_letters``: what was given up.
    """

    tasks: Mapping[TaskStatus, int]
    queued: int
    workers: int
    pending_deliveries: int
    dead_letters: int
