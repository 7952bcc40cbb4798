"""Task queries: the tasks, counts and events that a subject may view, in their current state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sealyard.engine.devices.certificates import add_task_warnings
from sealyard.engine.state.ids import is_id_prefix
from sealyard.engine.state.not_found import device_not_found, task_not_found
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import SUBJECTS, TASKS
from sealyard.model.access import (
    Action,
    ResourceType,
    device_id_of,
    device_resource,
    resource_type_uri,
)
from sealyard.model.approval import DecisionBlocker, decision_blocker
from sealyard.model.errors import UsageError
from sealyard.model.events import Event, TaskChanged, TaskProgressed, WorkspaceChanged
from sealyard.model.requests import TaskCounts, TaskFilter, TaskPage
from sealyard.model.results import refreshed
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import SubjectNames, collect_subject_names
from sealyard.model.task_search import NO_NAMES, TaskSearchFields
from sealyard.model.tasks import (
    CODES_BY_DETAILED_STATUS,
    DetailedStatus,
    ResultState,
    RunProgress,
    Task,
    TaskStatus,
)
from sealyard.storage.documents import DocumentStore


class _VisibleCounts:
    """Counts the tasks that a subject may view, using only the store's indexes.

    A subject may view its own tasks, and those of all configurations for which it has the VIEW permission.
    """

    def __init__(self, store: DocumentStore, permissions: Permissions) -> None:
        self._store = store
        self._permissions = permissions

    def count(self, subject: str, index_filters: Mapping[str, str]) -> int:
        """Return the number of tasks visible to ``subject`` whose indexed fields have the given values."""
        creator, config_id = index_filters.get("createdBy"), index_filters.get("configId")
        if creator == subject or self._permissions.is_allowed(
            subject, Action.VIEW, resource_type_uri(ResourceType.DEVICE_CONFIG)
        ):
            return self._count(index_filters)
        viewable_config_ids = {device_id_of(resource) for resource, _ in self._permissions.permissions_of(subject)} - {
            ""
        }
        if config_id is not None:
            viewable_config_ids &= {config_id}
        count = self._sum_over_configs(viewable_config_ids, index_filters)
        if creator is not None:
            return count
        own_filters = {**index_filters, "createdBy": subject}
        return count + self._count(own_filters) - self._sum_over_configs(viewable_config_ids, own_filters)

    def _sum_over_configs(self, config_ids: set[str], index_filters: Mapping[str, str]) -> int:
        return sum(self._count({**index_filters, "configId": config_id}) for config_id in config_ids)

    def _count(self, index_filters: Mapping[str, str]) -> int:
        return self._store.count(TASKS.name, index_filters)


MAX_PAGE_SIZE = 1000
MIN_PREFIX_LENGTH = 3

BATCH = 200
"""Number of tasks that are read before other coroutines may run. Reading them takes about a millisecond."""

_decode_task = msgspec.json.Decoder(Task).decode
_decode_search_fields = msgspec.json.Decoder(TaskSearchFields).decode


class TaskQueries:
    """Queries for the tasks that a subject may view.

    ``progress_of`` returns the progress of a task, or None if it is unknown. ``records_result_states``: whether this
    engine records changes of result states, so that the index contains the current ones.
    """

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        progress_of: Callable[[Task], RunProgress | None],
        *,
        records_result_states: bool,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._progress_of = progress_of
        self._records_result_states = records_result_states
        self._counts = _VisibleCounts(repository.store, permissions)

    def get(self, subject: str, task_id: str) -> Task:
        """Return a task by its id or a unique prefix of it.

        Raises :class:`NotFoundError` if there is no such task or the subject may not view it, and :class:`UsageError`
        if the prefix is ambiguous.
        """
        task = self._repository.get(TASKS, task_id) or self._find_by_prefix(subject, task_id)
        if task is None or not self._is_visible(subject, task.created_by, task.config_id):
            raise task_not_found(task_id)
        return self.refresh(task)

    def get_resubmitted(self, subject: str, task: Task) -> Task | None:
        """Return the earlier task that ``task`` replaces; None if there is none or the subject may not view it."""
        earlier_task = self._repository.get(TASKS, task.resubmission_of) if task.resubmission_of else None
        if earlier_task is None or not self._is_visible(subject, earlier_task.created_by, earlier_task.config_id):
            return None
        return self.refresh(earlier_task)

    def refresh(self, task: Task) -> Task:
        """Return the task with the current state of its result, requester and certificate, and with its progress."""
        result = refreshed(task.result, self._repository.clock.now()) if task.result is not None else None
        warnings = (*self._requester_warnings(task), *task.warnings)
        task = msgspec.structs.replace(task, result=result, live=self._progress_of(task), warnings=warnings)
        return add_task_warnings(self._repository, task)

    def _requester_warnings(self, task: Task) -> tuple[str, ...]:
        """Return a warning if the task cannot be executed, because its requester may not use the configuration."""
        resource = device_resource(task.config_id)
        if task.status.is_final or self._permissions.is_allowed(task.created_by, Action.USE, resource):
            return ()
        return (
            f"{task.created_by} no longer has permission to use {task.config_name}."
            " The task will be cancelled instead of executed.",
        )

    async def list_tasks(self, subject: str, filters: TaskFilter, cursor: str | None, limit: int) -> TaskPage:
        """Return a page of the tasks that match ``filters``, starting after ``cursor``.

        Reads batches of tasks until the page is full or there are no more; other coroutines may run between batches.
        Raises :class:`UsageError` if ``limit`` is out of range.
        """
        if not 1 <= limit <= MAX_PAGE_SIZE:
            raise UsageError(f"A page must have 1 to {MAX_PAGE_SIZE} tasks.")
        index_filters = self._build_index_filters(subject, filters)
        names = collect_subject_names(self._repository.list_all(SUBJECTS)) if filters.text else NO_NAMES
        tasks: list[Task] = []
        while True:
            batch = self._repository.store.page_json(
                TASKS.name, filters=index_filters, newest_first=not filters.oldest_first, cursor=cursor, limit=BATCH
            )
            documents_read = self._collect_matches(batch.documents, subject, filters, names, tasks, limit)
            cursor = batch.cursor(documents_read)
            if cursor is None or len(tasks) >= limit:
                total = self._counts.count(subject, index_filters) if self._is_countable_by_index(filters) else None
                return TaskPage(tasks=tuple(tasks), next=cursor, total=total)
            await asyncio.sleep(0)

    def counts(self, subject: str) -> TaskCounts:
        """Return exact counts of the tasks that the subject may view.

        The cost depends on the number of tasks that wait for approval, not on the number of all tasks.
        """
        by_status = {status: self._counts.count(subject, {"status": status}) for status in TaskStatus}
        by_result_state = {state: self._counts.count(subject, {"result.state": state}) for state in ResultState}
        return TaskCounts(
            by_status={status: count for status, count in by_status.items() if count},
            results={state: count for state, count in by_result_state.items() if count},
            mine=self._counts.count(subject, {"createdBy": subject}),
            awaiting_my_approval=self._count_awaiting_approval(subject),
        )

    def visible_event(self, subject: str, event: Event) -> Event | None:
        """Return the event as the subject may see it, or None if the subject may not see it.

        A :class:`WorkspaceChanged` about a resource that the subject may not view is reduced to the resource's type.
        """
        if isinstance(event, TaskChanged):
            return event if self._is_visible(subject, event.created_by, event.config_id) else None
        if isinstance(event, TaskProgressed):
            task = self._repository.get(TASKS, event.task_id)
            return event if task is not None and self._is_visible(subject, task.created_by, task.config_id) else None
        if isinstance(event, WorkspaceChanged) and not self._may_view(subject, event.resource):
            return msgspec.structs.replace(
                event, resource=event.resource.partition(":")[0], key_check=None, certificate=None
            )
        return event

    def _may_view(self, subject: str, resource: str) -> bool:
        resource_type = resource.partition(":")[0]
        if resource_type == ResourceType.POLICY:
            return True
        viewed_resource = resource if resource_type == ResourceType.DEVICE_CONFIG else f"RESOURCE_TYPE:{resource_type}"
        return self._permissions.is_allowed(subject, Action.VIEW, viewed_resource)

    def blocked_reason(self, subject: str, task: Task) -> str:
        """Return why the subject cannot decide on the task; an empty string if it can."""
        may_approve = self._permissions.is_allowed(subject, Action.APPROVE, device_resource(task.config_id))
        match decision_blocker(task, subject, self._repository.clock.now(), may_approve=may_approve):
            case DecisionBlocker.NOT_WAITING:
                reason = f" {task.reason}" if task.reason else ""
                return f"The task is {task.detailed_status}, not waiting for approval.{reason}"
            case DecisionBlocker.EXPIRED:
                return "The approval period has expired."
            case DecisionBlocker.OWN_TASK:
                return "You cannot decide on your own task."
            case DecisionBlocker.NOT_A_PERSON:
                return "Only users can decide on a task."
            case DecisionBlocker.ALREADY_DECIDED:
                return "You have already decided on this task."
            case DecisionBlocker.NO_PERMISSION:
                return f"You do not have permission to approve for {task.config_name}."
        return ""

    def _collect_matches(
        self,
        documents: Sequence[bytes],
        subject: str,
        filters: TaskFilter,
        names: SubjectNames,
        matches: list[Task],
        limit: int,
    ) -> int:
        """Append matching tasks to ``matches`` until it has ``limit`` items; return the number of documents read."""
        for count, document in enumerate(documents, 1):
            if filters.text and not filters.matches_text(_decode_search_fields(document), names):
                continue
            task = self.refresh(_decode_task(document))
            if self._matches(subject, filters, names, task):
                matches.append(task)
                if len(matches) == limit:
                    return count
        return len(documents)

    def _matches(self, subject: str, filters: TaskFilter, names: SubjectNames, task: Task) -> bool:
        return (
            self._is_visible(subject, task.created_by, task.config_id)
            and filters.matches(task, names)
            and not (filters.awaiting_my_approval and self.blocked_reason(subject, task))
        )

    def _count_awaiting_approval(self, subject: str) -> int:
        """Return the number of tasks that the subject can decide on now."""
        if not any(action is Action.APPROVE for _, action in self._permissions.permissions_of(subject)):
            return 0
        waiting_tasks = self._repository.tasks({"status": TaskStatus.WAITING})
        return sum(not self.blocked_reason(subject, task) for task in waiting_tasks)

    def _build_index_filters(self, subject: str, filters: TaskFilter) -> dict[str, str]:
        """Return the values of indexed fields that every task matching ``filters`` has.

        Tasks that do not match may have the same values.
        """
        state = filters.result_state if self._records_result_states else None
        reason_code = CODES_BY_DETAILED_STATUS.get(DetailedStatus(filters.status)) if filters.status else None
        implied_status = TaskStatus.WAITING if filters.awaiting_my_approval else None
        if filters.result_state is not None and state is None:
            implied_status = TaskStatus.DONE
        config = self._resolve_config(subject, filters.config) if filters.config else None
        values = {
            "status": TaskStatus.CANCELLED if reason_code else filters.status or implied_status,
            "reasonCode": reason_code,
            "kind": filters.kind,
            "configId": config,
            "createdBy": filters.created_by,
            "result.state": state,
        }
        return {field: str(value) for field, value in values.items() if value is not None}

    def _resolve_config(self, subject: str, config: str) -> str:
        """Return the id of the device configuration with the id or name ``config``.

        Raises :class:`NotFoundError` if it does not exist, or if the subject may view neither the configuration nor any
        task for it. A subject that has lost the permission to view a configuration can still list its own tasks.
        """
        config_id = self._repository.device(config).id
        if self._permissions.is_allowed(subject, Action.VIEW, device_resource(config_id)) or self._counts.count(
            subject, {"configId": config_id}
        ):
            return config_id
        raise device_not_found(config, hidden=True)

    def _is_countable_by_index(self, filters: TaskFilter) -> bool:
        """Return whether the tasks that match ``filters`` can be counted without reading them."""
        states_are_indexed = filters.result_state is None or self._records_result_states
        return states_are_indexed and not filters.text and not filters.awaiting_my_approval

    def _is_visible(self, subject: str, creator: str, config_id: str) -> bool:
        return subject == creator or self._permissions.is_allowed(subject, Action.VIEW, device_resource(config_id))

    def _find_by_prefix(self, subject: str, prefix: str) -> Task | None:
        """Return the visible task whose id starts with ``prefix``. Raises :class:`UsageError` if several do."""
        # Callers can send arbitrary text, so text that cannot be the start of an id must not cause a scan.
        if len(prefix) < MIN_PREFIX_LENGTH or not is_id_prefix(prefix):
            return None
        candidates = (
            self._repository.get(TASKS, task_id) for task_id in self._repository.store.ids(TASKS.name, prefix)
        )
        matches = [
            task
            for task in candidates
            if task is not None and self._is_visible(subject, task.created_by, task.config_id)
        ]
        if len(matches) > 1:
            raise UsageError(
                f"{len(matches)} task IDs start with {escape_text(prefix, 80)}.", "Enter more characters of the ID."
            )
        return matches[0] if matches else None
