"""How much there is of what in a workspace, for those who watch over it."""

from __future__ import annotations

from collections.abc import Mapping

from sealyard.model.tasks import TaskStatus
from sealyard.model.value import FrozenStruct


class WorkspaceStats(FrozenStruct, frozen=True, kw_only=True):
    """``tasks``: of every status; ``queued``: those of them that wait for a worker's place; ``workers``: that live.

    ``pending_deliveries``: what webhooks are still to be told of; ``dead_letters``: what was given up.
    """

    tasks: Mapping[TaskStatus, int]
    queued: int
    workers: int
    pending_deliveries: int
    dead_letters: int
