"""Compact task rows. They contain only what is shown or searched, because there may be a hundred thousand of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from sys import intern
from typing import Any, Self

import msgspec

from sealyard.model.approval import valid_approvers
from sealyard.model.base import FrozenStruct
from sealyard.model.events import TaskChanged, TaskProgressed
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames
from sealyard.model.task_search import MAX_REASON_LENGTH, join_search_text
from sealyard.model.tasks import DetailedStatus, Result, ResultState, RunProgress, Task, TaskKind, TaskStatus
from sealyard_tui.formatting import short_reason
from sealyard_tui.widgets.sort_order import SortOrder


class TaskRow(FrozenStruct, frozen=True, kw_only=True, gc=False):
    """A row of the task list. ``files`` contains the names of the input and metadata files, one per line.

    The list shows ``short_reason``; text filters search the whole ``reason``, as the engine does.

    Attributes of the result (``state``, ``link_until``, ``retained_until``, ``has_signature``) are stored directly in
    the row. A row therefore cannot be part of a reference cycle, and the garbage collector can skip it. Otherwise,
    garbage collection with a hundred thousand rows would block the application for a quarter of a second.
    """

    id: str
    kind: TaskKind
    status: TaskStatus
    detailed_status: DetailedStatus
    name: str
    files: str
    config_id: str
    device: str
    version: int
    creator: str
    created_at: datetime
    approval_count: int = 0
    approvals_required: int = 0
    has_warning: bool = False
    reason: str = ""
    short_reason: str = ""
    state: ResultState | None = None
    link_until: datetime | None = None
    retained_until: datetime | None = None
    has_signature: bool = False
    self_approved: bool = False
    live: RunProgress | None = None

    @property
    def result(self) -> Result | None:
        """The result without its link and digest. A signature is replaced by an empty string."""
        if self.state is None:
            return None
        return Result(
            state=self.state,
            expires_at=self.link_until,
            retained_until=self.retained_until,
            signature="" if self.has_signature else None,
            self_approved=self.self_approved,
        )

    @property
    def title(self) -> str:
        """The escaped name of the task; if it has none, the name of its first file or, failing that, its id."""
        return escape_text(self.name or self.files.partition("\n")[0] or self.id)

    @property
    def fuzzy_text(self) -> str:
        """The text in which fuzzy search looks for similar words, in lowercase."""
        return f"{self.title} {self.device}".casefold()

    def search_text(self, names: SubjectNames) -> str:
        """Return the same text as :func:`sealyard.model.task_search.search_text` for the task."""
        return join_search_text(
            task_id=self.id,
            name=self.name,
            files=self.files,
            kind=self.kind,
            status=self.detailed_status,
            state=self.state,
            device=self.device,
            version=self.version,
            creator=self.creator,
            reason=self.reason,
            names=names,
        )


def create_row(task: Task) -> TaskRow:
    result = task.result
    return TaskRow(
        id=task.id,
        kind=task.kind,
        status=task.status,
        detailed_status=task.detailed_status,
        name=task.name,
        files="\n".join(each.name for each in (*task.inputs, *task.metadata)),
        config_id=intern(task.config_id),
        device=intern(task.config_name),
        version=task.config_version,
        creator=intern(task.created_by),
        created_at=task.created_at,
        approval_count=len(valid_approvers(task, task.approvals)) if task.approvals else 0,
        approvals_required=task.approvals_required,
        has_warning=bool(task.warning),
        reason=task.reason[:MAX_REASON_LENGTH],
        short_reason=short_reason(task)[:MAX_REASON_LENGTH],
        state=result.state if result is not None else None,
        link_until=result.expires_at if result is not None else None,
        retained_until=result.retained_until if result is not None else None,
        has_signature=result is not None and result.signature is not None,
        self_approved=task.self_approved or (result is not None and result.self_approved),
        live=task.live,
    )


def apply_change(row: TaskRow, change: TaskChanged) -> TaskRow:
    """Return a copy of the row with the status and result state from an event."""
    live = None if change.status.is_final else row.live
    state = change.result_state if row.state is not None else None
    detailed_status = change.detailed_status or DetailedStatus(change.status)
    return msgspec.structs.replace(row, status=change.status, detailed_status=detailed_status, state=state, live=live)


def apply_progress(row: TaskRow, progress: TaskProgressed) -> TaskRow:
    live = RunProgress(
        bytes_done=progress.bytes_done, bytes_total=progress.bytes_total, eta_seconds=progress.eta_seconds
    )
    return msgspec.structs.replace(row, live=live)


AGE = "age"


class TaskOrder(SortOrder, frozen=True, kw_only=True):
    """Sort order of the list. The engine supports only the order by age; the others apply only to loaded rows."""

    column: str = AGE
    rank: Callable[[TaskRow], float] | None = None
    """Function by which the results of a fuzzy search are sorted, the highest value first; replaces the column."""

    @classmethod
    def parse(cls, text: str, columns: Collection[str]) -> Self:
        """Return the order from its saved form; ``newest`` and ``oldest`` were saved by earlier versions."""
        if text == "oldest":
            return cls(descending=True)
        return super().parse(text, columns)

    @property
    def is_server_side(self) -> bool:
        return self.column == AGE and self.rank is None

    @property
    def is_reversed(self) -> bool:
        """Whether the values of :func:`_sort_key` descend."""
        return self.rank is None and self.descending is not self.is_server_side

    @property
    def label(self) -> str:
        if self.rank is not None:
            return "no exact match: similar names"
        if self.is_server_side:
            return "oldest first" if self.descending else "newest first"
        return f"by {self.column}{', descending' if self.descending else ''}"


NEWEST = TaskOrder()
OLDEST = TaskOrder(descending=True)


def sort_rows(rows: Sequence[TaskRow], order: TaskOrder) -> list[TaskRow]:
    return sorted(rows, key=lambda row: _sort_key(row, order), reverse=order.is_reversed)


def find_insert_position(row: TaskRow, count: int, row_at: Callable[[int], TaskRow], order: TaskOrder) -> int:
    """Return the index at which to insert ``row`` into ``count`` sorted rows. ``row_at`` returns a row by index."""
    low, high = 0, count
    key = _sort_key(row, order)
    while low < high:
        middle = (low + high) // 2
        other_key = _sort_key(row_at(middle), order)
        if other_key > key if order.is_reversed else other_key < key:
            low = middle + 1
        else:
            high = middle
    return low


def keeps_position(old_row: TaskRow, new_row: TaskRow, order: TaskOrder) -> bool:
    """Return whether a row keeps its position in the sort order after a change."""
    return _sort_key(old_row, order) == _sort_key(new_row, order)


_STATUS_POSITIONS = {status: position for position, status in enumerate(DetailedStatus)}

SORT_VALUES: Mapping[str, Callable[[TaskRow], str | int]] = {
    "status": lambda row: _STATUS_POSITIONS[row.detailed_status],
    "name": lambda row: row.title.casefold(),
    "device": lambda row: row.device.casefold(),
    "creator": lambda row: row.creator.casefold(),
    "result": lambda row: (row.state or row.short_reason).casefold(),
}
"""Functions that return the value by which rows are sorted, by column. Rows can also be sorted by age."""

SORTABLE_COLUMNS = frozenset({AGE, *SORT_VALUES})


def _sort_key(row: TaskRow, order: TaskOrder) -> tuple[Any, ...]:
    if order.is_server_side:
        return (row.created_at, row.id)
    if order.rank is not None:
        return (-order.rank(row), -row.created_at.timestamp(), row.id)
    return (SORT_VALUES[order.column](row), -row.created_at.timestamp(), row.id)
