"""Looking at tasks: what a subject may see, as it stands at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sealyard.engine.state.ids import is_id_prefix
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository, device_not_found, no_task
from sealyard.engine.state.tables import TASKS
from sealyard.model.access import (
    Action,
    ResourceType,
    SubjectKind,
    device_id_of,
    device_resource,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.errors import UsageError
from sealyard.model.events import Event, TaskChanged, TaskProgressed, WorkspaceChanged
from sealyard.model.requests import TaskCounts, TaskFilter, TaskPage, TaskSearchFields
from sealyard.model.results import refreshed
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import ResultState, RunProgress, Task, TaskStatus
from sealyard.storage.documents import DocumentStore


class _VisibleCounts:
    """What is seen: tasks of configurations one may view, and one's own."""

    def __init__(self, store: DocumentStore, rights: Permissions) -> None:
        self._store = store
        self._rights = rights

    def count(self, subject: str, indexed: Mapping[str, str]) -> int:
        """How many of the tasks that ``subject`` sees match these indexed fields."""
        creator, config = indexed.get("createdBy"), indexed.get("configId")
        if creator == subject or self._rights.is_allowed(
            subject, Action.VIEW, resource_type_uri(ResourceType.DEVICE_CONFIG)
        ):
            return self._count(indexed)
        viewed = {device_id_of(resource) for resource, _ in self._rights.granted_to(subject)} - {""}
        if config is not None:
            viewed &= {config}
        seen = self._sum(viewed, indexed)
        if creator is not None:
            return seen
        own = {**indexed, "createdBy": subject}
        return seen + self._count(own) - self._sum(viewed, own)

    def _sum(self, configs: set[str], indexed: Mapping[str, str]) -> int:
        return sum(self._count({**indexed, "configId": each}) for each in configs)

    def _count(self, indexed: Mapping[str, str]) -> int:
        return self._store.count(TASKS.name, indexed)


LONGEST_PAGE = 1000
MIN_PREFIX_LENGTH = 3

BATCH = 200
"""Tasks read without giving way: a millisecond."""

_decode_task = msgspec.json.Decoder(Task).decode
_decode_names = msgspec.json.Decoder(TaskSearchFields).decode


class TaskQueries:
    """``live`` gives what only a running engine knows of a task.

    ``recorded``: an engine runs here that records the states of results as they change.
    """

    def __init__(
        self, ledger: Repository, rights: Permissions, live: Callable[[Task], RunProgress | None], *, recorded: bool
    ) -> None:
        self._ledger = ledger
        self._rights = rights
        self._live = live
        self._recorded = recorded
        self._totals = _VisibleCounts(ledger.store, rights)

    def get(self, subject: str, task_id: str) -> Task:
        """By id or a beginning of it. What a subject may not see does not exist for it."""
        found = self._ledger.get(TASKS, task_id) or self._by_prefix(subject, task_id)
        if found is None or not self._is_visible(subject, found.created_by, found.config_id):
            raise no_task(task_id)
        return self.refresh(found)

    def refresh(self, task: Task) -> Task:
        """With the result's state at this moment, and progress where there is some."""
        result = refreshed(task.result, self._ledger.clock.now()) if task.result is not None else None
        return msgspec.structs.replace(task, result=result, live=self._live(task))

    async def list_tasks(self, subject: str, filters: TaskFilter, after: str | None, limit: int) -> TaskPage:
        """Reads on until the page is full or the list has ended, and gives way to others meanwhile."""
        if not 1 <= limit <= LONGEST_PAGE:
            raise UsageError(f"A page has 1 to {LONGEST_PAGE} tasks.")
        indexed = self._indexed(subject, filters)
        found: list[Task] = []
        while True:
            part = self._ledger.store.page_json(
                TASKS.name, filters=indexed, newest_first=not filters.oldest_first, after=after, limit=BATCH
            )
            read = self._read(part.documents, subject, filters, found, limit)
            after = part.cursor(read)
            if after is None or len(found) >= limit:
                total = self._totals.count(subject, indexed) if self._counted(filters) else None
                return TaskPage(tasks=tuple(found), next=after, total=total)
            await asyncio.sleep(0)

    def counts(self, subject: str) -> TaskCounts:
        """Exact; costs the waiting tasks only, however many others there are."""
        by_status = {each: self._totals.count(subject, {"status": each}) for each in TaskStatus}
        results = {each: self._totals.count(subject, {"result.state": each}) for each in ResultState}
        return TaskCounts(
            by_status={each: count for each, count in by_status.items() if count},
            results={each: count for each, count in results.items() if count},
            mine=self._totals.count(subject, {"createdBy": subject}),
            awaiting_my_approval=self._waiting_for(subject),
        )

    def visible_event(self, subject: str, event: Event) -> Event | None:
        """The event as the subject may know of it, None where it may not; of what it may not see, only the type."""
        if isinstance(event, TaskChanged):
            return event if self._is_visible(subject, event.created_by, event.config_id) else None
        if isinstance(event, TaskProgressed):
            task = self._ledger.get(TASKS, event.task_id)
            return event if task is not None and self._is_visible(subject, task.created_by, task.config_id) else None
        if isinstance(event, WorkspaceChanged) and not self._may_view(subject, event.resource):
            return msgspec.structs.replace(event, resource=event.resource.partition(":")[0])
        return event

    def _may_view(self, subject: str, resource: str) -> bool:
        kind = resource.partition(":")[0]
        if kind == ResourceType.POLICY:
            return True
        about = resource if kind == ResourceType.DEVICE_CONFIG else f"RESOURCE_TYPE:{kind}"
        return self._rights.is_allowed(subject, Action.VIEW, about)

    def blocked_reason(self, subject: str, task: Task) -> str:
        """Why the subject cannot decide on the task; empty where it can."""
        if task.status is not TaskStatus.WAITING:
            return f"The task is {task.status}, not waiting for approval." + (f" {task.reason}" if task.reason else "")
        if task.approval_expires_at is not None and self._ledger.clock.now() >= task.approval_expires_at:
            return "The approval period is over."
        if subject == task.created_by and not task.self_approved:
            return "Nobody decides on a task of their own."
        if subject_kind(subject) is not SubjectKind.USER:
            return "Only a person can decide on a task."
        if any(each.by == subject for each in task.approvals):
            return "You have decided already."
        if not self._rights.is_allowed(subject, Action.APPROVE, device_resource(task.config_id)):
            return f"You may not approve for {task.config_name}."
        return ""

    def _read(
        self, documents: Sequence[bytes], subject: str, filters: TaskFilter, found: list[Task], limit: int
    ) -> int:
        """Adds what matches to ``found`` until it holds ``limit``; how many documents were read for it."""
        for count, document in enumerate(documents, 1):
            if filters.text and not filters.matches_text(_decode_names(document)):
                continue
            task = self.refresh(_decode_task(document))
            if self._matches(subject, filters, task):
                found.append(task)
                if len(found) == limit:
                    return count
        return len(documents)

    def _matches(self, subject: str, filters: TaskFilter, task: Task) -> bool:
        return (
            self._is_visible(subject, task.created_by, task.config_id)
            and filters.matches(task)
            and not (filters.awaiting_my_approval and self.blocked_reason(subject, task))
        )

    def _waiting_for(self, subject: str) -> int:
        if not any(action is Action.APPROVE for _, action in self._rights.granted_to(subject)):
            return 0
        waiting = {"status": str(TaskStatus.WAITING)}
        count = 0
        after: str | None = None
        while True:
            page = self._ledger.store.page_json(TASKS.name, filters=waiting, after=after, limit=LONGEST_PAGE)
            count += sum(not self.blocked_reason(subject, _decode_task(each)) for each in page.documents)
            after = page.cursor(len(page.documents))
            if after is None:
                return count

    def _indexed(self, subject: str, filters: TaskFilter) -> dict[str, str]:
        """What the index narrows a list to; all of it but not only what matches."""
        state = filters.result_state if self._recorded else None
        implied = TaskStatus.WAITING if filters.awaiting_my_approval else None
        if filters.result_state is not None and state is None:
            implied = TaskStatus.DONE
        config = self._config_asked_for(subject, filters.config) if filters.config else None
        wanted = {
            "status": filters.status or implied,
            "kind": filters.kind,
            "configId": config,
            "createdBy": filters.created_by,
            "result.state": state,
        }
        return {field: str(value) for field, value in wanted.items() if value is not None}

    def _config_asked_for(self, subject: str, config: str) -> str:
        """Its id. One that is hidden is not there, but for who has asked for tasks of it: those one goes on to see."""
        found = self._ledger.device(config).id
        if self._rights.is_allowed(subject, Action.VIEW, device_resource(found)) or self._totals.count(
            subject, {"configId": found}
        ):
            return found
        raise device_not_found(config, refused=True)

    def _counted(self, filters: TaskFilter) -> bool:
        """Whether the index alone tells how many match."""
        states = filters.result_state is None or self._recorded
        return states and not filters.text and not filters.awaiting_my_approval

    def _is_visible(self, subject: str, creator: str, config_id: str) -> bool:
        return subject == creator or self._rights.is_allowed(subject, Action.VIEW, device_resource(config_id))

    def _by_prefix(self, subject: str, prefix: str) -> Task | None:
        # What is no id is asked for by anybody, any number of times: it must not cost a look at every task.
        if len(prefix) < MIN_PREFIX_LENGTH or not is_id_prefix(prefix):
            return None
        begun = (self._ledger.get(TASKS, each) for each in self._ledger.store.ids(TASKS.name, prefix))
        found = [
            each for each in begun if each is not None and self._is_visible(subject, each.created_by, each.config_id)
        ]
        if len(found) > 1:
            raise UsageError(f"{len(found)} tasks begin with {escape_text(prefix, 80)}.", "Write more of the id.")
        return found[0] if found else None
