"""The text of a task in which a text filter searches."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from sealyard.model.base import FrozenStruct
from sealyard.model.subject_names import SubjectNames, insert_subject_names
from sealyard.model.tasks import (
    CODES_BY_DETAILED_STATUS,
    DetailedStatus,
    ResultState,
    Task,
    TaskKind,
    TaskStatus,
    find_detailed_status,
)

MAX_REASON_LENGTH = 200
"""Number of characters of a reason that are searched; lists show no more."""

NO_NAMES: SubjectNames = MappingProxyType({})

_STATUS_WORDS: Mapping[DetailedStatus, str] = {
    **{status: status.value for status in DetailedStatus},
    **{status: f"{status.value}\n{TaskStatus.CANCELLED.value}" for status in CODES_BY_DETAILED_STATUS},
    DetailedStatus.SCHEDULED: "SCHEDULED\nqueued",
}
"""The words for each status. Like the filter by status, a search for ``cancelled`` finds REJECTED tasks, too."""


class InputFileName(FrozenStruct, frozen=True, kw_only=True):
    name: str


class ResultSearchFields(FrozenStruct, frozen=True, kw_only=True):
    state: ResultState


class TaskSearchFields(FrozenStruct, frozen=True, kw_only=True):
    """The fields of a task that a text filter searches. Decoding only these is faster than decoding the whole task."""

    id: str
    name: str
    kind: TaskKind
    status: TaskStatus
    config_name: str
    config_version: int
    created_by: str
    reason: str = ""
    reason_code: str = ""
    result: ResultSearchFields | None = None
    inputs: tuple[InputFileName, ...] = ()
    metadata: tuple[InputFileName, ...] = ()

    @property
    def detailed_status(self) -> DetailedStatus:
        return find_detailed_status(self.status, self.reason_code)


def search_text(task: Task | TaskSearchFields, names: SubjectNames) -> str:
    """Return everything that lists show of a task, in lowercase. ``names``: display names of subjects."""
    return join_search_text(
        task_id=task.id,
        name=task.name,
        files="\n".join([file.name for file in (*task.inputs, *task.metadata)]),
        kind=task.kind,
        status=task.detailed_status,
        state=task.result.state if task.result is not None else None,
        device=task.config_name,
        version=task.config_version,
        creator=task.created_by,
        reason=task.reason,
        names=names,
    )


def join_search_text(
    *,
    task_id: str,
    name: str,
    files: str,
    kind: TaskKind,
    status: DetailedStatus,
    state: ResultState | None,
    device: str,
    version: int,
    creator: str,
    reason: str,
    names: SubjectNames,
) -> str:
    """Return the searched text of a task with these properties, in lowercase. ``files``: the names, one per line.

    A search builds this text for up to 100,000 tasks, hence a single format string.
    """
    if reason:
        reason = reason[:MAX_REASON_LENGTH]
        reason = insert_subject_names(reason, names) if names else reason
    return (
        f"{task_id}\n{name}\n{files}\n{device} v{version}\n{kind}\n{_STATUS_WORDS[status]}\n{state or ''}\n"
        f"{creator.removeprefix('USER:')}\n{names.get(creator, '')}\n{reason}"
    ).casefold()
