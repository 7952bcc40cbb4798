"""What an engine tells its clients: an ordered stream with a cursor, so that one who was away catches up."""

from __future__ import annotations

from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.tasks import Decision, ResultState, TaskKind, TaskStatus
from sealyard.model.webhooks import WebhookEvent


class TaskChanged(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A task was made, moved, decided upon, or its result changed state. Durable.

    ``decision``: the one that was just made, if one was. ``notification``: what those outside are told by it, if
    anything.
    """

    cursor: int
    at: datetime
    task_id: str
    kind: TaskKind
    status: TaskStatus
    name: str
    config_id: str
    created_by: str
    result_state: ResultState | None = None
    decision: Decision | None = None
    notification: WebhookEvent | None = None


class TaskProgressed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Bytes and seconds; at most ten a second for each task. Not durable: ``cursor`` repeats the last durable one."""

    cursor: int
    task_id: str
    bytes_done: int
    bytes_total: int
    eta_seconds: float | None = None


class WorkspaceChanged(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A device configuration, key, subject, rule or the policy changed; ``resource`` says which. Durable."""

    cursor: int
    at: datetime
    resource: str


class EventsMissed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Events before ``cursor`` are no longer kept, or the listener was too slow: read the state anew, then go on."""

    cursor: int


Event = TaskChanged | TaskProgressed | WorkspaceChanged | EventsMissed
DurableEvent = TaskChanged | WorkspaceChanged
