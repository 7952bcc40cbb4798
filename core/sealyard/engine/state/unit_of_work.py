"""The unit of work: changes to documents, with their audit entries and events, that are committed together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import msgspec

from sealyard.engine.state.not_found import task_not_found
from sealyard.engine.state.tables import ACCESS_TABLES, TASKS, Table, V, encode_document
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.clock import Clock
from sealyard.model.errors import InvariantError, StaleTaskError
from sealyard.model.events import DurableEvent, TaskChanged, WorkspaceChanged
from sealyard.model.lifecycle import advance, check_change, check_key_use
from sealyard.model.tasks import Task
from sealyard.model.triggers import IntentRecorded, Trigger
from sealyard.model.webhooks import latest_decision, notification_for
from sealyard.storage.documents import DocumentStore


class _TaskSave(NamedTuple):
    """The state of a task before (as JSON and decoded; None if the task is new) and after a unit of work."""

    document: bytes | None
    before: Task | None
    after: Task


class UnitOfWork:
    """Collects changes, audit entries and events, and commits them together."""

    def __init__(
        self, store: DocumentStore, clock: Clock, commit: Callable[[UnitOfWork], Coroutine[Any, Any, None]]
    ) -> None:
        """Use :meth:`sealyard.engine.state.repository.Repository.begin` instead, which provides ``commit``."""
        self.puts: list[tuple[str, str, msgspec.Raw]] = []
        self.removes: list[tuple[str, str]] = []
        self.events: list[DurableEvent] = []
        self._store = store
        self._clock = clock
        self._commit = commit
        self._audit_entries: list[dict[str, Any]] = []
        self._saves: dict[str, _TaskSave] = {}
        self._key_uses: dict[str, IntentRecorded] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks as this unit of work saves them."""
        return [save.after for save in self._saves.values()]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The audit entries: first those added with :meth:`audit`, then one per status change."""
        return [*self._audit_entries, *(entry for save in self._saves.values() for entry in _status_entries(save))]

    @property
    def changes_access(self) -> bool:
        """Whether this unit of work changes documents from which permissions are derived."""
        tables = {table for table, _, _ in self.puts} | {table for table, _ in self.removes}
        return not tables.isdisjoint(ACCESS_TABLES)

    def put(self, table: Table[V], identity: str, value: V) -> None:
        """Save a document.

        Tasks have their own methods, which read and save a task in one step. Raises :class:`InvariantError` for a
        task.
        """
        if table.name == TASKS.name:
            raise InvariantError("Tasks cannot be saved as plain documents.", "Report this bug with the log.")
        self.puts.append((table.name, identity, encode_document(value)))

    def delete(self, table: Table[V], identity: str) -> None:
        self.removes.append((table.name, identity))

    def create_task(self, task: Task) -> None:
        """Save a new task."""
        self._save_task(task.id, None, None, task)

    def advance(self, task_id: str, trigger: Trigger) -> Task:
        """Apply a trigger to the task as it is stored now, save the result and return it.

        Raises :class:`InvalidTransitionError` if the task's status does not admit the trigger, and everything else
        that :func:`sealyard.model.lifecycle.advance` raises.
        """
        document, task = self._read_task(task_id)
        advanced = advance(task, trigger, self._clock.now())
        self._save_task(task_id, document, task, advanced)
        return advanced

    def change_task(self, task_id: str, **changes: object) -> Task:
        """Change fields of the stored task that are not part of its life cycle, save the result and return it."""
        document, task = self._read_task(task_id)
        changed = msgspec.structs.replace(task, updated_at=self._clock.now(), **changes)
        self._save_task(task_id, document, task, changed)
        return changed

    def record_key_use(self, task_id: str, intent: IntentRecorded) -> None:
        """Record the intent to sign for a task, and audit the use of its signing key."""
        task = self.advance(task_id, intent)
        before = self._saves[task_id].before
        is_retry = before is not None and before.intent is not None
        assert task.signing_key is not None
        self.audit(
            SYSTEM_SUBJECT,
            AuditAction.KEY_USED,
            f"TASK:{task_id}",
            "signing key used again for the same data, after the signature was lost"
            if is_retry
            else "signing key used",
            {"key": task.signing_key.uri, "keyVersion": task.signing_key.version, "sha256": intent.sha256},
        )
        self._key_uses[task_id] = intent

    def check(self) -> None:
        """Check that the tasks have not changed since this unit of work read them.

        The repository calls it in the locked step that submits the unit of work. Raises :class:`StaleTaskError`,
        :class:`InvariantError`.
        """
        for task_id, save in self._saves.items():
            if self._store.get_json(TASKS.name, task_id) != save.document:
                raise StaleTaskError(
                    f"Task {task_id} was changed by another request at the same time.", "Check its status, then retry."
                )
            check_change(save.before, save.after)
        for task_id, intent in self._key_uses.items():
            check_key_use(self._saves[task_id].after, intent.fencing_token, intent.sha256)

    def _read_task(self, task_id: str) -> tuple[bytes, Task]:
        """Return a stored task, as JSON and decoded. A unit of work changes each task only once."""
        if task_id in self._saves:
            raise InvariantError(
                f"Task {task_id} was changed twice in one unit of work.", "Report this bug with the log."
            )
        document = self._store.get_json(TASKS.name, task_id)
        if document is None:
            raise task_not_found(task_id)
        return document, msgspec.json.decode(document, type=Task)

    def _save_task(self, task_id: str, document: bytes | None, before: Task | None, task: Task) -> None:
        """Save the task and publish :class:`TaskChanged`."""
        self._saves[task_id] = _TaskSave(document, before, task)
        self.puts.append((TASKS.name, task_id, encode_document(task)))
        self.events.append(
            TaskChanged(
                cursor=0,
                at=self._clock.now(),
                task_id=task.id,
                kind=task.kind,
                status=task.status,
                name=task.name,
                config_id=task.config_id,
                created_by=task.created_by,
                result_state=task.result.state if task.result else None,
                decision=latest_decision(before, task),
                notification=notification_for(before, task),
            )
        )

    def notify(self, resource: str) -> None:
        """Publish :class:`WorkspaceChanged` for a resource."""
        self.events.append(WorkspaceChanged(cursor=0, at=self._clock.now(), resource=resource))

    def audit(
        self,
        author: str,
        change: AuditAction,
        resource: str,
        message: str,
        new_value: dict[str, Any] | None = None,
        code: str = "",
    ) -> None:
        """Add an audit entry."""
        self._audit_entries.append(_entry(author, change, resource, message, new_value, code))

    async def commit(self) -> None:
        """Commit this unit of work, see :meth:`sealyard.engine.state.repository.Repository.commit`."""
        await self._commit(self)


def _status_entries(save: _TaskSave) -> Iterator[dict[str, Any]]:
    """Yield one audit entry for each status the task went through since it was read."""
    task = save.after
    known_changes = len(save.before.history) if save.before is not None else 1
    for change in task.history[known_changes:]:
        yield _entry(
            SYSTEM_SUBJECT,
            AuditAction.STATUS_CHANGED,
            f"TASK:{task.id}",
            change.note or f"status changed to {change.status}",
            {"status": change.status.value},
            task.reason_code,
        )


def _entry(
    author: str, change: AuditAction, resource: str, message: str, new_value: dict[str, Any] | None, code: str
) -> dict[str, Any]:
    return {
        "author": author,
        "change": change,
        "resource": resource,
        "message": message,
        "new_value": new_value,
        "code": code,
    }
