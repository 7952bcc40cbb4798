"""Tasks as rows: only what is shown and searched, as there may be a hundred thousand."""

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
    """``files`` has the names of inputs and metadata, one per line. ``link_until`` and ``retained_until`` are those of
    the result.

    The shown parts of the result are stored flat, and a row cannot be part of a reference cycle: the garbage collector
    skips such rows, which would otherwise block the screen for a quarter of a second at a hundred thousand.
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
        """The result without link, digest and signature; the signature is empty if there is one."""
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
        """The task's name, else that of its first file, else its id, as safe text."""
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
    """Return the row with the changes of an event; everything else is known once the task is read."""
    live = None if change.status.is_final else row.live
    state = change.result_state if row.state is not None else None
    return msgspec.structs.replace(row, status=change.status, state=state, live=live)


def apply_progress(row: TaskRow, progress: TaskProgressed) -> TaskRow:
    live = RunProgress(
        bytes_done=progress.bytes_done, bytes_total=progress.bytes_total, eta_seconds=progress.eta_seconds
    )
    return msgspec.structs.replace(row, live=live)


class SortOrder(StrEnum):
    """Order of a list. The engine supports ``newest`` and ``oldest``; the others sort what was read."""

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
    """Return the index of ``row`` among ``count`` sorted others; ``at`` returns one by its index."""
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
    """Return whether a row keeps its position after a change."""
    return _key(before, order) == _key(after, order)


_STATUSES = {status: position for position, status in enumerate(TaskStatus)}


def _key(row: TaskRow, order: SortOrder) -> tuple[Any, ...]:
    if order.server_side:
        return (row.created_at, row.id)
    newer = -row.created_at.timestamp()
    if order is SortOrder.STATUS:
        return (_STATUSES[row.status], newer, row.id)
    text = {SortOrder.NAME: row.title, SortOrder.DEVICE: row.device}.get(order, row.creator)
    return (text.casefold(), newer, row.id)
