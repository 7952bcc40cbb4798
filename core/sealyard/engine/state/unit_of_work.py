"""The unit of work: changes to documents, with their audit entries and events, that are committed together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, NamedTuple

import msgspec

from sealyard.engine.state.not_found import task_not_found
from sealyard.engine.state.tables import ACCESS_TABLES, CHECKPOINTS, TASKS, Table, V, encode_document
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.audit_changes import find_changes
from sealyard.model.certificate_notices import CertificateNotice
from sealyard.model.clock import Clock
from sealyard.model.errors import InvariantError, StaleTaskError
from sealyard.model.events import DurableEvent, TaskChanged, WorkspaceChanged
from sealyard.model.key_checks import KeyCheck
from sealyard.model.lifecycle import advance
from sealyard.model.task_invariants import check_change, check_key_use
from sealyard.model.tasks import Task
from sealyard.model.triggers import IntentRecorded, Trigger
from sealyard.model.webhooks import latest_decision, notification_for
from sealyard.storage.documents import DocumentStore


class _TaskSave(NamedTuple):
    """A task before (as JSON and decoded; None if the task is new) and after the changes of a unit of work."""

    old_document: bytes | None
    old_task: Task | None
    new_task: Task


class UnitOfWork:
    """Collects changes, audit entries and events, and commits them together."""

    def __init__(
        self, store: DocumentStore, clock: Clock, commit: Callable[[UnitOfWork], Coroutine[Any, Any, None]]
    ) -> None:
        """Create an empty unit of work; use :meth:`sealyard.engine.state.repository.Repository.begin` instead."""
        self.puts: list[tuple[str, str, msgspec.Raw]] = []
        self.removes: list[tuple[str, str]] = []
        self.events: list[DurableEvent] = []
        self._store = store
        self._clock = clock
        self._commit = commit
        self._audit_entries: list[dict[str, Any]] = []
        self._task_saves: dict[str, _TaskSave] = {}
        self._key_uses: dict[str, IntentRecorded] = {}

    @property
    def tasks(self) -> list[Task]:
        """The tasks that this unit of work creates or changes, in their new state."""
        return [save.new_task for save in self._task_saves.values()]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The audit entries: first those added with :meth:`audit`, then one per status change."""
        return [
            *self._audit_entries,
            *(entry for save in self._task_saves.values() for entry in _build_status_entries(save)),
        ]

    @property
    def changes_access(self) -> bool:
        """Whether this unit of work changes a table of :data:`ACCESS_TABLES`."""
        changed_tables = {table for table, _, _ in self.puts} | {table for table, _ in self.removes}
        return not changed_tables.isdisjoint(ACCESS_TABLES)

    def put(self, table: Table[V], identity: str, value: V) -> None:
        """Save a document that is not a task.

        Raises :class:`InvariantError` for a task, which is saved with :meth:`create_task`, :meth:`advance` or
        :meth:`change_task`.
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
        """Apply a trigger to the stored task, save the changed task and return it.

        A task that ends loses its checkpoint, and with it the build secret, which must not be used again.

        Raises :class:`NotFoundError` if there is no such task, :class:`InvalidTransitionError` if the task's status
        does not admit the trigger, and the other errors of :func:`sealyard.model.lifecycle.advance`.
        """
        document, task = self._read_task(task_id)
        advanced_task = advance(task, trigger, self._clock.now())
        self._save_task(task_id, document, task, advanced_task)
        if advanced_task.status.is_final:
            self.delete(CHECKPOINTS, task_id)
        return advanced_task

    def change_task(self, task_id: str, **changes: object) -> Task:
        """Change fields of the stored task that are not part of its life cycle; save the task and return it."""
        document, task = self._read_task(task_id)
        changed_task = msgspec.structs.replace(task, updated_at=self._clock.now(), **changes)
        self._save_task(task_id, document, task, changed_task)
        return changed_task

    def record_key_use(self, task_id: str, intent: IntentRecorded) -> None:
        """Record the intent to sign for a task, and audit the use of its signing key."""
        task = self.advance(task_id, intent)
        old_task = self._task_saves[task_id].old_task
        is_retry = old_task is not None and old_task.intent is not None
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
        """Check that this unit of work may be committed.

        The repository calls this method and submits the unit of work under one lock. Raises :class:`StaleTaskError` if
        a task has changed since this unit of work read it, and :class:`InvariantError` if a change would violate the
        task life cycle.
        """
        for task_id, save in self._task_saves.items():
            if self._store.get_json(TASKS.name, task_id) != save.old_document:
                raise StaleTaskError(
                    f"Task {task_id} was changed by another request at the same time.", "Check its status, then retry."
                )
            check_change(save.old_task, save.new_task)
        for task_id, intent in self._key_uses.items():
            check_key_use(self._task_saves[task_id].new_task, intent.fencing_token, intent.sha256)

    def _read_task(self, task_id: str) -> tuple[bytes, Task]:
        """Return a stored task, as JSON and decoded.

        Raises :class:`InvariantError` if this unit of work has already changed the task.
        """
        if task_id in self._task_saves:
            raise InvariantError(
                f"Task {task_id} was changed twice in one unit of work.", "Report this bug with the log."
            )
        document = self._store.get_json(TASKS.name, task_id)
        if document is None:
            raise task_not_found(task_id)
        return document, msgspec.json.decode(document, type=Task)

    def _save_task(self, task_id: str, old_document: bytes | None, old_task: Task | None, task: Task) -> None:
        """Save the task, and add a :class:`TaskChanged` event."""
        self._task_saves[task_id] = _TaskSave(old_document, old_task, task)
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
                decision=latest_decision(old_task, task),
                notification=notification_for(old_task, task),
                detailed_status=task.detailed_status,
            )
        )

    def notify(
        self, resource: str, *, key_check: KeyCheck | None = None, certificate: CertificateNotice | None = None
    ) -> None:
        """Add a :class:`WorkspaceChanged` event for a resource."""
        now = self._clock.now()
        self.events.append(
            WorkspaceChanged(cursor=0, at=now, resource=resource, key_check=key_check, certificate=certificate)
        )

    def audit(
        self,
        author: str,
        change: AuditAction,
        resource: str,
        message: str,
        new_value: dict[str, Any] | None = None,
        code: str = "",
        *,
        old_value: dict[str, Any] | None = None,
    ) -> None:
        """Add an audit entry.

        ``old_value``: the value before an update or a deletion, in the same form as ``new_value``, without secrets. The
        entry then contains the fields that differ.
        """
        entry = _build_entry(author, change, resource, message, new_value, code)
        if old_value is not None:
            remaining_value = {} if change is AuditAction.DELETED else new_value or {}
            entry["changes"] = find_changes(old_value, remaining_value)
        self._audit_entries.append(entry)

    async def commit(self) -> None:
        """Commit this unit of work with :meth:`sealyard.engine.state.repository.Repository.commit`."""
        await self._commit(self)


def _build_status_entries(save: _TaskSave) -> Iterator[dict[str, Any]]:
    """Yield an audit entry for each status change of the task in this unit of work."""
    task = save.new_task
    earlier_change_count = len(save.old_task.history) if save.old_task is not None else 1
    for change in task.history[earlier_change_count:]:
        yield _build_entry(
            SYSTEM_SUBJECT,
            AuditAction.STATUS_CHANGED,
            f"TASK:{task.id}",
            change.note or f"status changed to {change.status}",
            {"status": change.status.value},
            task.reason_code,
        )


def _build_entry(
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
