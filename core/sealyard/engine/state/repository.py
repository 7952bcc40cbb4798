"""Typed access to a workspace's documents, and the commit of units of work."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Protocol

import msgspec

from sealyard.audit.store import AuditStore, LogHead
from sealyard.engine.state.events import EventBroadcaster
from sealyard.engine.state.not_found import device_not_found, task_not_found
from sealyard.engine.state.tables import (
    DEVICE_VERSIONS,
    DEVICES,
    NOTIFICATION_SETTINGS,
    NOTIFICATION_SETTINGS_ID,
    POLICY,
    POLICY_ID,
    TASKS,
    OutboxMessage,
    StoredNotificationSettings,
    Table,
    V,
    encode_document,
    version_id,
)
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import ResourceType
from sealyard.model.audit import AuditEntry
from sealyard.model.clock import Clock
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import ConcurrentWriterError, NotFoundError, WorkspaceReadOnlyError
from sealyard.model.events import DurableEvent
from sealyard.model.policy import Policy
from sealyard.model.tasks import Task
from sealyard.storage.documents import DocumentStore, WriteBatch
from sealyard.storage.scan import scan_documents


class TaskListener(Protocol):
    """Receives every saved task once the save is durable."""

    def on_task_saved(self, task: Task) -> None: ...


class MessageSource(Protocol):
    """Creates the outbox messages that are committed together with events, so that none is lost."""

    def messages_for(self, events: Sequence[DurableEvent]) -> Iterable[tuple[Table[OutboxMessage], OutboxMessage]]:
        """Yield the messages for the events of one commit, with their tables. The events have their cursors."""
        ...


class Repository:
    """Reads the documents of an open workspace and commits units of work.

    There is one repository per open workspace. It must be used on the engine's event loop only. ``log`` is None if the
    workspace is open for reading only.
    """

    def __init__(self, store: DocumentStore, log: AuditStore | None, events: EventBroadcaster, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.events = events
        self.access_generation = 0
        """Incremented whenever permissions may have changed."""
        self.unflushed_audit: list[AuditEntry] = []
        """Audit entries that are committed and not yet appended to the audit log."""
        self.commit_event = asyncio.Event()
        """Set after every durable commit."""
        self.fatal_error: ConcurrentWriterError | None = None
        """Why this process must not write to the workspace any more; None if it may."""
        self.fatal_error_event = asyncio.Event()
        """Set together with :attr:`fatal_error`."""
        self._fatal_error_callbacks: list[Callable[[ConcurrentWriterError], object]] = []
        self._task_listeners: list[TaskListener] = []
        self._message_sources: list[MessageSource] = []
        self._log = log
        self._pending_commits: deque[tuple[Future[None], LogHead, int]] = deque()
        """Commits in submission order: the future of each, and the audit head and event cursor after it."""
        self._cursor = events.cursor
        self._device_ids_by_name: dict[str, str] = {}
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
        """Return the task with this id. Raises :class:`NotFoundError` if there is none."""
        task = self.get(TASKS, task_id)
        if task is None:
            raise task_not_found(task_id)
        return task

    def tasks(self, filters: Mapping[str, str]) -> Iterator[Task]:
        """Yield all tasks that match the given values of indexed fields, newest first."""
        for document in scan_documents(self.store, TASKS.name, filters):
            yield msgspec.json.decode(document, type=Task)

    def device(self, config: str, version: int | None = None) -> DeviceConfig:
        """Return a device configuration by id or name, in its newest version unless ``version`` is given.

        Raises :class:`NotFoundError` if the configuration or the version does not exist.
        """
        newest_config = self.get(DEVICES, config) or self._find_device_by_name(config)
        if newest_config is None:
            raise device_not_found(config)
        if version is None or version == newest_config.version:
            return newest_config
        older_config = self.get(DEVICE_VERSIONS, version_id(newest_config.id, version))
        if older_config is None:
            raise NotFoundError(
                f"{newest_config.name} has no version {version}.", f"Use a version from 1 to {newest_config.version}."
            )
        return older_config

    def resource_label(self, resource: str) -> str:
        """Return ``resource`` for messages, with the name of a device configuration in place of its id."""
        kind, _, identity = resource.partition(":")
        device = self.get(DEVICES, identity) if kind == ResourceType.DEVICE_CONFIG else None
        return f"{kind}:{device.name}" if device is not None else resource

    def _find_device_by_name(self, name: str) -> DeviceConfig | None:
        """Return the newest version of the device configuration with this name, or None if there is none.

        Names are never reassigned to another configuration, so the id found for a name is cached.
        """
        cached_config = self.get(DEVICES, self._device_ids_by_name.get(name, ""))
        if cached_config is not None:
            return cached_config
        device = next((device for device in self.list_all(DEVICES) if device.name == name), None)
        if device is not None:
            self._device_ids_by_name[name] = device.id
        return device

    def policy(self) -> Policy:
        """Return the workspace's policy, or the default policy if none has been saved."""
        return self.get(POLICY, POLICY_ID) or Policy()

    def notification_settings(self) -> StoredNotificationSettings:
        """Return the notification settings, or the default settings if none have been saved."""
        return self.get(NOTIFICATION_SETTINGS, NOTIFICATION_SETTINGS_ID) or StoredNotificationSettings()

    def invalidate(self) -> None:
        """Invalidate caches derived from documents, after another process wrote or a commit was rolled back."""
        self.access_generation += 1

    # ---- writing

    def begin(self) -> UnitOfWork:
        """Return an empty unit of work."""
        return UnitOfWork(self.store, self.clock, self.commit)

    async def commit(self, unit_of_work: UnitOfWork) -> None:
        """Commit a unit of work completely or not at all; return once it is durable. Readers see the change earlier.

        Raises :class:`StorageError` if the workspace is open for reading only or the disk refuses the write,
        :class:`ConcurrentWriterError` if another process has written to the workspace, :class:`StaleTaskError` if a
        task has changed since the unit of work read it, and :class:`InvariantError` if a change would violate the task
        life cycle.
        """
        if self._log is None:
            raise WorkspaceReadOnlyError("The workspace is open read-only.", "Open it for writing.")
        if self.fatal_error is not None:
            raise self.fatal_error
        with self.store.snapshot_lock():
            unit_of_work.check()
            self._rollback_counters()
            head, cursor = self._log.head, self._cursor
            try:
                entries = tuple(
                    self._log.prepare(timestamp=self.clock.now(), **entry) for entry in unit_of_work.entries
                )
                events = tuple(self._assign_next_cursor(event) for event in unit_of_work.events)
                messages = tuple(message for source in self._message_sources for message in source.messages_for(events))
                commit_future = self.store.submit(_to_batch(unit_of_work, entries, events, messages))
            except BaseException:
                self._log.rollback(head)
                self._cursor = cursor
                raise
            self._pending_commits.append((commit_future, self._log.head, self._cursor))
        if unit_of_work.changes_access:
            self.access_generation += 1
        await self._publish_when_durable(commit_future, unit_of_work.tasks, entries, events)

    def add_task_listeners(self, *listeners: TaskListener) -> None:
        """Notify ``listeners`` of every saved task: in the given order, after the listeners added earlier."""
        self._task_listeners.extend(listeners)

    def add_message_sources(self, *sources: MessageSource) -> None:
        """Commit the outbox messages of ``sources`` together with the events that they are about."""
        self._message_sources.extend(sources)

    def report_fatal_error(self, error: ConcurrentWriterError) -> None:
        """Reject all further commits with ``error``, and wake those who wait for :attr:`fatal_error_event`."""
        if self.fatal_error is None:
            self.fatal_error = error
            self.fatal_error_event.set()
            for callback in self._fatal_error_callbacks:
                callback(error)

    def on_fatal_error(self, callback: Callable[[ConcurrentWriterError], object]) -> None:
        """Call ``callback`` as soon as all further commits are rejected."""
        if self.fatal_error is not None:
            callback(self.fatal_error)
        else:
            self._fatal_error_callbacks.append(callback)

    async def flush(self) -> None:
        """Wait until everything visible to readers is on disk.

        Raises :class:`StorageError` if a pending commit was rolled back.
        """
        if self._pending_commits and not (newest_commit := self._pending_commits[-1][0]).done():
            await asyncio.wrap_future(newest_commit)

    async def _publish_when_durable(
        self,
        commit_future: Future[None],
        tasks: list[Task],
        entries: tuple[AuditEntry, ...],
        events: tuple[DurableEvent, ...],
    ) -> None:
        """Wait until the commit is durable, then publish its tasks, audit entries and events.

        If the caller is cancelled while it waits, they are published nevertheless.
        """
        loop = asyncio.get_running_loop()
        publication: asyncio.Future[None] = loop.create_future()

        def on_commit_done() -> None:
            if (error := commit_future.exception()) is None:
                self._notify(tasks, entries, events)
            else:
                if isinstance(error, ConcurrentWriterError):
                    self.report_fatal_error(error)
                self.access_generation += 1
                self._notify_restored(tasks)
            if publication.cancelled():
                return
            if error is None:
                publication.set_result(None)
            else:
                publication.set_exception(error)

        commit_future.add_done_callback(lambda _: loop.call_soon_threadsafe(on_commit_done))
        await publication

    def _notify(self, tasks: list[Task], entries: tuple[AuditEntry, ...], events: tuple[DurableEvent, ...]) -> None:
        """Publish a durable commit: queue its audit entries for the log, and notify task and event listeners."""
        self.unflushed_audit.extend(entries)
        for task in tasks:
            self._notify_listeners(task)
        for event in events:
            self.events.publish_durable(event)
        self.commit_event.set()

    def _notify_restored(self, tasks: list[Task]) -> None:
        """Pass the tasks of a failed commit to the listeners again, in the state before that commit.

        A listener that read one of these tasks before the rollback may have relied on the change.
        """
        for task in tasks:
            restored_task = self.get(TASKS, task.id)
            if restored_task is not None:
                self._notify_listeners(restored_task)

    def _notify_listeners(self, task: Task) -> None:
        for listener in self._task_listeners:
            listener.on_task_saved(task)

    def _rollback_counters(self) -> None:
        """Reset audit head and event cursor to the last durable commit if a later commit has failed."""
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

    def _assign_next_cursor(self, event: DurableEvent) -> DurableEvent:
        """Return the event with the next cursor."""
        self._cursor += 1
        return msgspec.structs.replace(event, cursor=self._cursor)


def _to_batch(
    unit_of_work: UnitOfWork,
    entries: tuple[AuditEntry, ...],
    events: tuple[DurableEvent, ...],
    messages: tuple[tuple[Table[OutboxMessage], OutboxMessage], ...],
) -> WriteBatch:
    return WriteBatch(
        puts=(
            *unit_of_work.puts,
            *((table.name, message.id, encode_document(message)) for table, message in messages),
        ),
        deletes=tuple(unit_of_work.removes),
        audit=tuple(encode_document(entry) for entry in entries),
        events=tuple(encode_document(event) for event in events),
    )
