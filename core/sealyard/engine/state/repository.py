"""The workspace's state, typed, and the units of work that change it: documents, audit entries and events at once."""

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
    """One for each open workspace, on the engine's loop. ``log`` is None where the workspace is only read."""

    def __init__(self, store: DocumentStore, log: AuditLog | None, events: EventBroadcaster, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.events = events
        self.access_generation = 0
        self.unflushed_audit: list[AuditEntry] = []
        self.commit_event = asyncio.Event()
        self.task_listeners: list[Callable[[Task], None]] = []
        """Told of every task that was put, once it is durable."""
        self._log = log
        self._waiting: deque[tuple[Future[None], LogHead, int]] = deque()
        self._cursor = events.cursor
        self._device_ids: dict[str, str] = {}
        self._settled = (log.head, events.cursor) if log is not None else None

    # ---- reading

    def get(self, table: Table[V], identity: str) -> V | None:
        document = self.store.get_json(table.name, identity)
        return None if document is None else msgspec.json.decode(document, type=table.type)

    def list_all(self, table: Table[V]) -> Iterator[V]:
        for _, document in self.store.all(table.name):
            yield msgspec.convert(document, table.type)

    def task(self, task_id: str) -> Task:
        """Raises :class:`NotFoundError`."""
        found = self.get(TASKS, task_id)
        if found is None:
            raise no_task(task_id)
        return found

    def tasks(self, filters: Mapping[str, str]) -> Iterator[Task]:
        """All that match indexed fields."""
        after: str | None = None
        while True:
            page = self.store.page(TASKS.name, filters=filters, after=after, limit=500)
            yield from (msgspec.convert(document, Task) for _, document in page.documents)
            if (after := page.next) is None:
                return

    def device(self, config: str, version: int | None = None) -> DeviceConfig:
        """By id or by name, the newest version unless one is named. Raises :class:`NotFoundError`."""
        newest = self.get(DEVICES, config) or self._device_named(config)
        if newest is None:
            raise device_not_found(config)
        if version is None or version == newest.version:
            return newest
        found = self.get(DEVICE_VERSIONS, version_id(newest.id, version))
        if found is None:
            raise NotFoundError(f"{newest.name} has no version {version}.", f"The newest is {newest.version}.")
        return found

    def _device_named(self, name: str) -> DeviceConfig | None:
        """A name never moves to another configuration, so what was found once is looked up by its id."""
        known = self.get(DEVICES, self._device_ids.get(name, ""))
        if known is not None:
            return known
        found = next((each for each in self.list_all(DEVICES) if each.name == name), None)
        if found is not None:
            self._device_ids[name] = found.id
        return found

    def policy(self) -> Policy:
        return self.get(POLICY, POLICY_ID) or Policy()

    def invalidate(self) -> None:
        """Another process has written, or a commit was taken back: what was derived is out of date."""
        self.access_generation += 1

    # ---- writing

    def begin(self) -> UnitOfWork:
        return UnitOfWork(self)

    async def commit(self, draft: UnitOfWork) -> None:
        """Make all of the draft durable, or nothing. Readers see it at once.

        Raises :class:`StorageError`; :class:`StaleTaskError` if a task was changed since the draft read it;
        :class:`InvariantError` if a change would break the life cycle.
        """
        if self._log is None:
            raise StorageError("The workspace is open for reading only.", "Open it for writing.")
        with self.store.snapshot_lock():
            draft.check()
            self._rollback_counters()
            head, cursor = self._log.head, self._cursor
            try:
                entries = tuple(self._log.prepare(timestamp=self.clock.now(), **each) for each in draft.entries)
                events = tuple(self._with_cursor(event) for event in draft.events)
                durable = self.store.submit(_to_batch(draft, entries, events, self._notices(events)))
            except BaseException:
                self._log.rollback(head)
                self._cursor = cursor
                raise
            self._waiting.append((durable, self._log.head, self._cursor))
        if draft.changes_access:
            self.access_generation += 1
        await self._durable(durable, draft.tasks, entries, events)

    async def flush(self) -> None:
        """Returns when all that reads show is on the disk. Raises :class:`StorageError` where it was taken back."""
        if self._waiting and not (last := self._waiting[-1][0]).done():
            await asyncio.wrap_future(last)

    async def _durable(
        self,
        durable: Future[None],
        tasks: list[Task],
        entries: tuple[AuditEntry, ...],
        events: tuple[DurableEvent, ...],
    ) -> None:
        """Waits for the sync, then tells. Telling does not wait for the waiter: it may have been cancelled."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[None] = loop.create_future()

        def announce() -> None:
            if (error := durable.exception()) is None:
                self._notify(tasks, entries, events)
            else:
                self.access_generation += 1
                self._follow_restored(tasks)
            if told.cancelled():
                return
            if error is None:
                told.set_result(None)
            else:
                told.set_exception(error)

        durable.add_done_callback(lambda _: loop.call_soon_threadsafe(announce))
        await told

    def _notify(self, tasks: list[Task], entries: tuple[AuditEntry, ...], events: tuple[DurableEvent, ...]) -> None:
        self.unflushed_audit.extend(entries)
        for task in tasks:
            for follow in self.task_listeners:
                follow(task)
        for event in events:
            self.events.publish_durable(event)
        self.commit_event.set()

    def _follow_restored(self, tasks: list[Task]) -> None:
        """Show the followers the tasks as they are again after a failed commit.

        Who read a task in between may have taken the change for made, and have left the task alone.
        """
        for task in tasks:
            restored = self.get(TASKS, task.id)
            if restored is not None:
                for follow in self.task_listeners:
                    follow(restored)

    def _rollback_counters(self) -> None:
        """Brings audit head and event cursor back to what is durable where a commit failed since."""
        while self._waiting and self._waiting[0][0].done():
            durable, head, cursor = self._waiting.popleft()
            if durable.exception() is None:
                self._settled = head, cursor
                continue
            # What waited with it or behind it was taken back together with it.
            self._waiting.clear()
            self.access_generation += 1
            assert self._log is not None
            assert self._settled is not None
            head, self._cursor = self._settled
            self._log.rollback(head)

    def _notices(self, events: tuple[DurableEvent, ...]) -> tuple[OutboxMessage, ...]:
        """In the unit of the change itself: what a webhook is to be told of is never lost."""
        if not any(isinstance(each, TaskChanged) and each.notification for each in events):
            return ()
        return tuple(messages_for(events, [each.webhook for each in self.list_all(WEBHOOKS)]))

    def _with_cursor(self, event: DurableEvent) -> DurableEvent:
        self._cursor += 1
        return msgspec.structs.replace(event, cursor=self._cursor)


def no_task(task_id: str) -> NotFoundError:
    return NotFoundError(f"There is no task {escape_text(task_id, 80)}.", "`sealyard tasks` lists those there are.")


def device_not_found(named: str, *, refused: bool = False) -> NotFoundError:
    """The same words for one that is not there and for one that is not to be seen."""
    return NotFoundError(
        f"There is no device configuration {escape_text(named, 80)}.",
        "`sealyard device list` names those there are.",
        refused=refused,
    )


def _to_batch(
    draft: UnitOfWork,
    entries: tuple[AuditEntry, ...],
    events: tuple[DurableEvent, ...],
    notices: tuple[OutboxMessage, ...],
) -> WriteBatch:
    return WriteBatch(
        puts=(*draft.puts, *((OUTBOX.name, each.id, _encoded(each)) for each in notices)),
        deletes=tuple(draft.removes),
        audit=tuple(_encoded(each) for each in entries),
        events=tuple(_encoded(each) for each in events),
    )


def _encoded(value: FrozenStruct) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except UnicodeEncodeError as error:
        raise InvalidInputError("A text holds what is no valid Unicode.", "Write it anew.") from error


class _TaskSave(NamedTuple):
    """A task as it was read, encoded and decoded (None: it is new), and as it is to be stored."""

    document: bytes | None
    before: Task | None
    after: Task


class UnitOfWork:
    """Collects changes, audit entries and events, and commits them together."""

    def __init__(self, ledger: Repository) -> None:
        self.puts: list[tuple[str, str, msgspec.Raw]] = []
        self.removes: list[tuple[str, str]] = []
        self.events: list[DurableEvent] = []
        self._ledger = ledger
        self._entries: list[dict[str, Any]] = []
        self._saves: dict[str, _TaskSave] = {}
        self._key_uses: dict[str, IntentRecorded] = {}

    @property
    def tasks(self) -> list[Task]:
        return [save.after for save in self._saves.values()]

    @property
    def entries(self) -> list[dict[str, Any]]:
        """The audit entries: what was done, then the status changes that followed from it."""
        return [*self._entries, *(entry for save in self._saves.values() for entry in _status_entries(save))]

    @property
    def changes_access(self) -> bool:
        tables = {table for table, _, _ in self.puts} | {table for table, _ in self.removes}
        return not tables.isdisjoint(ACCESS_TABLES)

    def put(self, table: Table[V], identity: str, value: V) -> None:
        """Save a document. Tasks have methods of their own, which read and write in one step."""
        if table.name == TASKS.name:
            raise InvariantError("A task was to be stored past its life cycle.", "Report this with the log.")
        self.puts.append((table.name, identity, _encoded(value)))

    def delete(self, table: Table[V], identity: str) -> None:
        self.removes.append((table.name, identity))

    def create_task(self, task: Task) -> None:
        """Save a new task."""
        self._save_task(task.id, None, None, task)

    def advance(self, task_id: str, happening: Trigger) -> Task:
        """Apply a trigger to the task as it is stored now, and save the result.

        Raises :class:`InvalidTransitionError` if the task's status does not admit the trigger, and what
        :func:`sealyard.model.lifecycle.advance` raises otherwise.
        """
        document, task = self._read_task(task_id)
        advanced = advance(task, happening, self._ledger.clock.now())
        self._save_task(task_id, document, task, advanced)
        return advanced

    def change_task(self, task_id: str, **changes: object) -> Task:
        """Change fields of the task as it is stored now that are not part of its life cycle, and save the result."""
        document, task = self._read_task(task_id)
        changed = msgspec.structs.replace(task, updated_at=self._ledger.clock.now(), **changes)
        self._save_task(task_id, document, task, changed)
        return changed

    def record_key_use(self, task_id: str, intent: IntentRecorded) -> None:
        """Record the intent to sign for a task, and the use of its signing key in the audit log."""
        again = self._ledger.task(task_id).intent is not None
        task = self.advance(task_id, intent)
        assert task.signing_key is not None
        self.audit(
            SYSTEM_SUBJECT,
            AuditAction.KEY_USED,
            f"TASK:{task_id}",
            "a signature that was lost is made again over the same bytes" if again else "the signing key is used",
            {"key": task.signing_key.uri, "keyVersion": task.signing_key.version, "sha256": intent.sha256},
        )
        self._key_uses[task_id] = intent

    def check(self) -> None:
        """Check, in the step that submits this draft, that it was computed from the tasks as they are stored now.

        Raises :class:`StaleTaskError`, :class:`InvariantError`.
        """
        for task_id, save in self._saves.items():
            if self._ledger.store.get_json(TASKS.name, task_id) != save.document:
                raise StaleTaskError(
                    f"Task {task_id} was changed by another request at the same time.", "Check its status, then retry."
                )
            check_change(save.before, save.after)
        for task_id, intent in self._key_uses.items():
            check_key_use(self._saves[task_id].after, intent.fencing_token, intent.sha256)

    def _read_task(self, task_id: str) -> tuple[bytes, Task]:
        if task_id in self._saves:
            raise InvariantError(f"One unit of work changes task {task_id} twice.", "Report this with the log.")
        document = self._ledger.store.get_json(TASKS.name, task_id)
        if document is None:
            raise no_task(task_id)
        return document, msgspec.json.decode(document, type=Task)

    def _save_task(self, task_id: str, document: bytes | None, before: Task | None, task: Task) -> None:
        """Save the task and publish the change."""
        self._saves[task_id] = _TaskSave(document, before, task)
        self.puts.append((TASKS.name, task_id, _encoded(task)))
        self.events.append(
            TaskChanged(
                cursor=0,
                at=self._ledger.clock.now(),
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
        self.events.append(WorkspaceChanged(cursor=0, at=self._ledger.clock.now(), resource=resource))

    def audit(
        self,
        author: str,
        change: AuditAction,
        resource: str,
        message: str,
        new_value: dict[str, Any] | None = None,
        code: str = "",
    ) -> None:
        self._entries.append(_entry(author, change, resource, message, new_value, code))

    async def commit(self) -> None:
        await self._ledger.commit(self)


def _status_entries(save: _TaskSave) -> Iterator[dict[str, Any]]:
    """One audit entry for each status the task went through since it was read."""
    task = save.after
    known = len(save.before.history) if save.before is not None else 1
    for change in task.history[known:]:
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
