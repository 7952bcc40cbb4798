"""Typed access to a workspace's documents, and the unit of work that changes them.

A unit of work commits documents, audit entries and events atomically.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, NamedTuple

import msgspec

from sealyard.audit.log import AuditLog, LogHead
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.tables import (
    ACCESS_TABLES,
    DEVICE_VERSIONS,
    DEVICES,
    OUTBOX,
    POLICY,
    POLICY_ID,
    TASKS,
    WEBHOOKS,
    OutboxMessage,
    Table,
    V,
    version_id,
)
from sealyard.engine.state.webhook_messages import messages_for
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction, AuditEntry
from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import InvalidInputError, InvariantError, NotFoundError, StaleTaskError, StorageError
from sealyard.model.events import DurableEvent, TaskChanged, WorkspaceChanged
from sealyard.model.lifecycle import advance, check_change, check_key_use
from sealyard.model.policy import Policy
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Task
from sealyard.model.triggers import IntentRecorded, Trigger
from sealyard.model.webhooks import latest_decision, notification_for
from sealyard.storage.documents import DocumentStore, WriteBatch


class Repository:
    """Reads the documents of an open workspace and commits units of work.

    There is one repository per open workspace. It must be used on the engine's event loop only. ``log`` is None if the
    workspace is open for reading only.
    """

    def __init__(self, store: DocumentStore, log: AuditLog | None, events: EventBroadcaster, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.events = events
        self.access_generation = 0
        """Incremented whenever permissions may have changed."""
        self.unflushed_audit: list[AuditEntry] = []
        """Audit entries that are committed and not yet appended to the audit log."""
        self.commit_event = asyncio.Event()
        """Set after every durable commit."""
        self.task_listeners: list[Callable[[Task], None]] = []
        """Callbacks that receive every saved task once the save is durable."""
        self._log = log
        self._pending_commits: deque[tuple[Future[None], LogHead, int]] = deque()
        """Commits in submission order: the future of each, and the audit head and event cursor after it."""
        self._cursor = events.cursor
        self._device_ids: dict[str, str] = {}
        self._durable_state = (log.head, events.cursor) if log is not None else None
        """Audit head and event cursor after the last commit that is known to be durable."""

    # ---- reading

    def get(self, table: Table[V], identity: str) -> V | None:
        """Return a document, or None if it does not exist."""
        document = self.store.get_json(table.name, identity)
        return None if document is None else msgspec.json.decode(document, type=table.type)

    def list_all(self, table: Table[V]) -> Iterator[V]:
        """Yield all documents of a table."""
        for _, document in self.store.all(table.name):
            yield msgspec.convert(document, table.type)

    def task(self, task_id: str) -> Task:
        """Return a task. Raises :class:`NotFoundError`."""
        task = self.get(TASKS, task_id)
        if task is None:
            raise no_task(task_id)
        return task

    def tasks(self, filters: Mapping[str, str]) -> Iterator[Task]:
        """Yield all tasks that match the given values of indexed fields."""
        after: str | None = None
        while True:
            page = self.store.page(TASKS.name, filters=filters, after=after, limit=500)
            yield from (msgspec.convert(document, Task) for _, document in page.documents)
            if (after := page.next) is None:
                return

    def device(self, config: str, version: int | None = None) -> DeviceConfig:
        """Return a device configuration by id or name, in its newest version unless ``version`` is given.

        Raises :class:`NotFoundError`.
        """
        newest = self.get(DEVICES, config) or self._find_device_by_name(config)
        if newest is None:
            raise device_not_found(config)
        if version is None or version == newest.version:
            return newest
        older = self.get(DEVICE_VERSIONS, version_id(newest.id, version))
        if older is None:
            raise NotFoundError(f"{newest.name} has no version {version}.", f"The newest is {newest.version}.")
        return older

    def _find_device_by_name(self, name: str) -> DeviceConfig | None:
        """Return the newest version of the configuration with this name.

        A name never moves to another configuration, so the id found for a name is cached.
        """
        cached = self.get(DEVICES, self._device_ids.get(name, ""))
        if cached is not None:
            return cached
        device = next((device for device in self.list_all(DEVICES) if device.name == name), None)
        if device is not None:
            self._device_ids[name] = device.id
        return device

    def policy(self) -> Policy:
        """Return the workspace's policy, or the default policy if none was saved."""
        return self.get(POLICY, POLICY_ID) or Policy()

    def invalidate(self) -> None:
        """Invalidate everything derived from documents, after another process wrote or a commit was rolled back."""
        self.access_generation += 1

    # ---- writing

    def begin(self) -> UnitOfWork:
        """Return an empty unit of work."""
        return UnitOfWork(self)

    async def commit(self, unit_of_work: UnitOfWork) -> None:
        """Commit the whole unit of work or nothing; return once it is durable. Readers see the change before that.

        Raises :class:`StorageError`, :class:`StaleTaskError` if a task was changed since the unit of work read it, and
        :class:`InvariantError` if a change would violate the task life cycle.
        """
        if self._log is None:
            raise StorageError("The workspace is open for reading only.", "Open it for writing.")
        with self.store.snapshot_lock():
            unit_of_work.check()
            self._rollback_counters()
            head, cursor = self._log.head, self._cursor
            try:
                entries = tuple(
                    self._log.prepare(timestamp=self.clock.now(), **entry) for entry in unit_of_work.entries
                )
                events = tuple(self._with_cursor(event) for event in unit_of_work.events)
                commit_future = self.store.submit(
                    _to_batch(unit_of_work, entries, events, self._webhook_messages(events))
                )
            except BaseException:
                self._log.rollback(head)
                self._cursor = cursor
                raise
            self._pending_commits.append((commit_future, self._log.head, self._cursor))
        if unit_of_work.changes_access:
            self.access_generation += 1
        await self._publish_when_durable(commit_future, unit_of_work.tasks, entries, events)

    async def flush(self) -> None:
        """Wait until everything visible to readers is on disk.

        Raises :class:`StorageError` if a pending commit was rolled back.
        """
        if self._pending_commits and not (newest := self._pending_commits[-1][0]).done():
            await asyncio.wrap_future(newest)

    async def _publish_when_durable(
        self,
        commit_future: Future[None],
        tasks: list[Task],
        entries: tuple[AuditEntry, ...],
        events: tuple[DurableEvent, ...],
    ) -> None:
        """Wait until the commit is durable, then publish its tasks, audit entries and events.

        They are published even if the caller is cancelled while it waits.
        """
        loop = asyncio.get_running_loop()
        published: asyncio.Future[None] = loop.create_future()

        def on_commit_done() -> None:
            if (error := commit_future.exception()) is None:
                self._notify(tasks, entries, events)
            else:
                self.access_generation += 1
                self._notify_restored(tasks)
            if published.cancelled():
                return
            if error is None:
                published.set_result(None)
            else:
                published.set_exception(error)

        commit_future.add_done_callback(lambda _: loop.call_soon_threadsafe(on_commit_done))
        await published

    def _notify(self, tasks: list[Task], entries: tuple[AuditEntry, ...], events: tuple[DurableEvent, ...]) -> None:
        """Publish a durable commit: pass its tasks to the listeners, its events to the broadcaster."""
        self.unflushed_audit.extend(entries)
        for task in tasks:
            for listener in self.task_listeners:
                listener(task)
        for event in events:
            self.events.publish_durable(event)
        self.commit_event.set()

    def _notify_restored(self, tasks: list[Task]) -> None:
        """Pass the tasks to the listeners again, in the state that a failed commit has restored.

        A listener that read such a task before the rollback may have relied on the change and ignored the task.
        """
        for task in tasks:
            restored_task = self.get(TASKS, task.id)
            if restored_task is not None:
                for listener in self.task_listeners:
                    listener(restored_task)

    def _rollback_counters(self) -> None:
        """Reset audit head and event cursor to the last durable commit if a commit has failed since."""
        while self._pending_commits and self._pending_commits[0][0].done():
            commit_future, head, cursor = self._pending_commits.popleft()
            if commit_future.exception() is None:
                self._durable_state = head, cursor
                continue
            # The store rolls back all commits that were pending with the failed one or after it.
            self._pending_commits.clear()
            self.access_generation += 1
            assert self._log is not None
            assert self._durable_state is not None
            head, self._cursor = self._durable_state
            self._log.rollback(head)

    def _webhook_messages(self, events: tuple[DurableEvent, ...]) -> tuple[OutboxMessage, ...]:
        """Return the outbox messages for the events.

        They are committed in the same unit of work as the change, so that no webhook message is lost.
        """
        if not any(isinstance(event, TaskChanged) and event.notification for event in events):
            return ()
        return tuple(messages_for(events, [stored.webhook for stored in self.list_all(WEBHOOKS)]))

    def _with_cursor(self, event: DurableEvent) -> DurableEvent:
        """Return the event with the next cursor."""
        self._cursor += 1
        return msgspec.structs.replace(event, cursor=self._cursor)


def no_task(task_id: str) -> NotFoundError:
    return NotFoundError(f"There is no task {escape_text(task_id, 80)}.", "`sealyard tasks` lists those there are.")


def device_not_found(name: str, *, hidden: bool = False) -> NotFoundError:
    """Return the error for a missing device configuration.

    The message is the same if the configuration exists and the subject may not view it (``hidden``).
    """
    return NotFoundError(
        f"There is no device configuration {escape_text(name, 80)}.",
        "`sealyard device list` names those there are.",
        hidden=hidden,
    )


def _to_batch(
    unit_of_work: UnitOfWork,
    entries: tuple[AuditEntry, ...],
    events: tuple[DurableEvent, ...],
    messages: tuple[OutboxMessage, ...],
) -> WriteBatch:
    return WriteBatch(
        puts=(*unit_of_work.puts, *((OUTBOX.name, message.id, _encode(message)) for message in messages)),
        deletes=tuple(unit_of_work.removes),
        audit=tuple(_encode(entry) for entry in entries),
        events=tuple(_encode(event) for event in events),
    )


def _encode(value: FrozenStruct) -> msgspec.Raw:
    """Return the value as JSON. Raises :class:`InvalidInputError` if a text is not valid Unicode."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidInputError("A text holds what is no valid Unicode.", "Write it anew.") from error


class _TaskSave(NamedTuple):
    """The state of a task before (as JSON and decoded; None if the task is new) and after a unit of work."""

    document: bytes | None
    before: Task | None
    after: Task


class UnitOfWork:
    """Collects changes, audit entries and events, and commits them together."""

    def __init__(self, repository: Repository) -> None:
        self.puts: list[tuple[str, str, msgspec.Raw]] = []
        self.removes: list[tuple[str, str]] = []
        self.events: list[DurableEvent] = []
        self._repository = repository
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
            raise InvariantError("Tasks cannot be saved as plain documents.", "Report this with the log.")
        self.puts.append((table.name, identity, _encode(value)))

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
        advanced = advance(task, trigger, self._repository.clock.now())
        self._save_task(task_id, document, task, advanced)
        return advanced

    def change_task(self, task_id: str, **changes: object) -> Task:
        """Change fields of the stored task that are not part of its life cycle, save the result and return it."""
        document, task = self._read_task(task_id)
        changed = msgspec.structs.replace(task, updated_at=self._repository.clock.now(), **changes)
        self._save_task(task_id, document, task, changed)
        return changed

    def record_key_use(self, task_id: str, intent: IntentRecorded) -> None:
        """Record the intent to sign for a task, and audit the use of its signing key."""
        is_retry = self._repository.task(task_id).intent is not None
        task = self.advance(task_id, intent)
        assert task.signing_key is not None
        self.audit(
            SYSTEM_SUBJECT,
            AuditAction.KEY_USED,
            f"TASK:{task_id}",
            "a signature that was lost is made again over the same bytes" if is_retry else "the signing key is used",
            {"key": task.signing_key.uri, "keyVersion": task.signing_key.version, "sha256": intent.sha256},
        )
        self._key_uses[task_id] = intent

    def check(self) -> None:
        """Check that the tasks have not changed since this unit of work read them.

        The repository calls it in the same locked step that submits the unit of work. Raises :class:`StaleTaskError`,
        :class:`InvariantError`.
        """
        for task_id, save in self._saves.items():
            if self._repository.store.get_json(TASKS.name, task_id) != save.document:
                raise StaleTaskError(
                    f"Task {task_id} was changed by another request at the same time.", "Check its status, then retry."
                )
            check_change(save.before, save.after)
        for task_id, intent in self._key_uses.items():
            check_key_use(self._saves[task_id].after, intent.fencing_token, intent.sha256)

    def _read_task(self, task_id: str) -> tuple[bytes, Task]:
        """Return a stored task, as JSON and decoded. A unit of work changes each task only once."""
        if task_id in self._saves:
            raise InvariantError(f"One unit of work changes task {task_id} twice.", "Report this with the log.")
        document = self._repository.store.get_json(TASKS.name, task_id)
        if document is None:
            raise no_task(task_id)
        return document, msgspec.json.decode(document, type=Task)

    def _save_task(self, task_id: str, document: bytes | None, before: Task | None, task: Task) -> None:
        """Save the task and publish :class:`TaskChanged`."""
        self._saves[task_id] = _TaskSave(document, before, task)
        self.puts.append((TASKS.name, task_id, _encode(task)))
        self.events.append(
            TaskChanged(
                cursor=0,
                at=self._repository.clock.now(),
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
        self.events.append(WorkspaceChanged(cursor=0, at=self._repository.clock.now(), resource=resource))

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
        """Commit this unit of work, see :meth:`Repository.commit`."""
        await self._repository.commit(self)


def _status_entries(save: _TaskSave) -> Iterator[dict[str, Any]]:
    """Yield one audit entry for each status the task went through since it was read."""
    task = save.after
    known_changes = len(save.before.history) if save.before is not None else 1
    for change in task.history[known_changes:]:
        yield _entry(
            SYSTEM_SUBJECT,
            AuditAction.STATUS_CHANGED,
            f"TASK:{task.id}",
            change.note or f"The task is {change.status}.",
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
