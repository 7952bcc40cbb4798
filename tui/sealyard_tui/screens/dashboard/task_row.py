"""A task as lists keep it: what is shown and looked for, and no more, for there may be a hundred thousand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from sys import intern
from typing import Any

import msgspec

from sealyard.model.base import FrozenStruct
from sealyard.model.events import TaskChanged, TaskProgressed
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Result, ResultState, RunProgress, Task, TaskKind, TaskStatus

REASON_SHOWN = 80


class TaskRow(FrozenStruct, frozen=True, kw_only=True, gc=False):
    """``files``: names of inputs and metadata, a line each. ``linkUntil``, ``keptUntil``: of the result.

    What of the result is shown is kept flat, and nothing of a row can be part of a cycle: the garbage collector
    passes over rows, which would hold up the screen for a quarter of a second at a hundred thousand.
    """

    id: str
    kind: TaskKind
    status: TaskStatus
    name: str
    files: str
    config_id: str
    device: str
    version: int
    creator: str
    created_at: datetime
    approved: int = 0
    required: int = 0
    attention: bool = False
    reason: str = ""
    state: ResultState | None = None
    link_until: datetime | None = None
    retained_until: datetime | None = None
    signed: bool = False
    trial: bool = False
    live: RunProgress | None = None

    @property
    def result(self) -> Result | None:
        """Without link, digest and signature; the latter is empty where there is one."""
        if self.state is None:
            return None
        return Result(
            state=self.state,
            expires_at=self.link_until,
            retained_until=self.retained_until,
            signature="" if self.signed else None,
            self_approved=self.trial,
        )

    @property
    def title(self) -> str:
        """Safe text: the name, else the first file's, else the id."""
        return escape_text(self.name or self.files.partition("\n")[0] or self.id)

    @property
    def short_id(self) -> str:
        return escape_text(self.id[:8])


def from_task(task: Task) -> TaskRow:
    result = task.result
    return TaskRow(
        id=task.id,
        kind=task.kind,
        status=task.status,
        name=task.name,
        files="\n".join(each.name for each in (*task.inputs, *task.metadata)),
        config_id=intern(task.config_id),
        device=intern(task.config_name),
        version=task.config_version,
        creator=intern(task.created_by),
        created_at=task.created_at,
        approved=len(task.approvals),
        required=task.approvals_required,
        attention=bool(task.warning),
        reason=task.reason[:REASON_SHOWN],
        state=result.state if result is not None else None,
        link_until=result.expires_at if result is not None else None,
        retained_until=result.retained_until if result is not None else None,
        signed=result is not None and result.signature is not None,
        trial=task.self_approved or (result is not None and result.self_approved),
        live=task.live,
    )


def apply_change(row: TaskRow, change: TaskChanged) -> TaskRow:
    """The row with what an event says of it; the rest is known when the task is read."""
    live = None if change.status.is_final else row.live
    state = change.result_state if row.state is not None else None
    return msgspec.structs.replace(row, status=change.status, state=state, live=live)


def apply_progress(row: TaskRow, progress: TaskProgressed) -> TaskRow:
    live = RunProgress(
        bytes_done=progress.bytes_done, bytes_total=progress.bytes_total, eta_seconds=progress.eta_seconds
    )
    return msgspec.structs.replace(row, live=live)


class SortOrder(StrEnum):
    """How a list is ordered. The engine gives ``newest`` and ``oldest``; the others order what was read."""

    NEWEST = "newest"
    OLDEST = "oldest"
    NAME = "name"
    STATUS = "status"
    DEVICE = "device"
    CREATOR = "creator"

    @property
    def server_side(self) -> bool:
        return self in (SortOrder.NEWEST, SortOrder.OLDEST)

    @property
    def words(self) -> str:
        return f"{self} first" if self.server_side else f"by {self}"


def sort_rows(rows: Sequence[TaskRow], order: SortOrder) -> list[TaskRow]:
    return sorted(rows, key=lambda row: _key(row, order), reverse=order is SortOrder.NEWEST)


def insert_position(row: TaskRow, count: int, at: Callable[[int], TaskRow], order: SortOrder) -> int:
    """Where ``row`` belongs among ``count`` others, which are ordered; ``at`` gives one by its place."""
    low, high = 0, count
    mine = _key(row, order)
    while low < high:
        middle = (low + high) // 2
        other = _key(at(middle), order)
        if other > mine if order is SortOrder.NEWEST else other < mine:
            low = middle + 1
        else:
            high = middle
    return low


def keeps_position(before: TaskRow, after: TaskRow, order: SortOrder) -> bool:
    """Whether a row belongs where it was."""
    return _key(before, order) == _key(after, order)


_STATUSES = {status: place for place, status in enumerate(TaskStatus)}


def _key(row: TaskRow, order: SortOrder) -> tuple[Any, ...]:
    if order.server_side:
        return (row.created_at, row.id)
    newer = -row.created_at.timestamp()
    if order is SortOrder.STATUS:
        return (_STATUSES[row.status], newer, row.id)
    text = {SortOrder.NAME: row.title, SortOrder.DEVICE: row.device}.get(order, row.creator)
    return (text.casefold(), newer, row.id)
