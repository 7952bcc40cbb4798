"""The outbox: messages that wait for delivery to receivers, and the outcome of each delivery.

Webhooks and notification targets are receivers; each kind has its own subclass of :class:`Outbox`.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import OutboxMessage, StoredDeadLetter, Table, V
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.base import FrozenStruct
from sealyard.model.events import TaskChanged, WorkspaceChanged
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task
from sealyard.model.webhooks import DeadLetter


class Delivery(Protocol):
    """What a sender needs for one delivery attempt, and the messages that are delivered by it."""

    @property
    def messages(self) -> Sequence[OutboxMessage]:
        """The messages, oldest first; at least one."""
        ...


R = TypeVar("R", bound=FrozenStruct)
D = TypeVar("D", bound=Delivery)


@dataclass(frozen=True)
class OutboxTables(Generic[R]):
    """The tables of one kind of receivers, and the prefix of its resources in events and in the audit log."""

    receivers: Table[R]
    messages: Table[OutboxMessage]
    dead_letters: Table[StoredDeadLetter]
    resource_prefix: str

    def resource(self, receiver_id: str) -> str:
        return f"{self.resource_prefix}:{receiver_id}"


class Outbox(ABC, Generic[R, D]):
    """Queue of messages for each receiver, delivered in order and independently of other receivers.

    Delivery is at least once: a message whose delivery was not recorded is sent again.
    """

    def __init__(self, repository: Repository, tables: OutboxTables[R]) -> None:
        self.tables = tables
        self._repository = repository
        self._wakeup = asyncio.Event()

    # ---- used by the sender

    async def new_receivers(self, known_ids: frozenset[str]) -> frozenset[str]:
        """Wait until there are receivers whose ids are not in ``known_ids``, and return the ids of these receivers."""
        while not (new_ids := self._list_receiver_ids() - known_ids):
            await self._wakeup.wait()
        return new_ids

    async def next_delivery(self, receiver_id: str) -> D | None:
        """Wait until a message for the receiver is due, and return it. Returns None once the receiver is removed.

        Raises :class:`KeyStoreCorruptedError` if a secret of the receiver cannot be decrypted.
        """
        while (receiver := self._repository.get(self.tables.receivers, receiver_id)) is not None:
            message = self._find_next_message(receiver_id)
            due_at = self._due_at(message) if message is not None else None
            if message is None or (due_at is not None and due_at > self._repository.clock.now()):
                await self._wait_for_change(until=due_at)
            elif (delivery := await self._build_delivery(receiver, message)) is not None:
                return delivery
        return None

    async def mark_delivered(self, messages: Sequence[OutboxMessage]) -> None:
        """Record that the messages of one delivery were delivered; the receiver's next message becomes due.

        Raises :class:`StorageError` if the outcome cannot be stored; the messages stay due then. The same applies to
        :meth:`mark_failed` and :meth:`move_to_dead_letters`.
        """
        receiver = self._find_receiver(messages)
        if receiver is None:
            return
        unit_of_work = self._repository.begin()
        self._put_outcome(unit_of_work, receiver, messages[0].receiver_id, delivered_count=len(messages), error="")
        for message in messages:
            unit_of_work.delete(self.tables.messages, message.id)
        await unit_of_work.commit()

    async def mark_failed(self, messages: Sequence[OutboxMessage], error: str, retry_after: float) -> None:
        """Record a failed attempt to deliver the messages, which are due again after ``retry_after`` seconds."""
        receiver = self._find_receiver(messages)
        if receiver is None:
            return
        retry_at = self._repository.clock.now() + timedelta(seconds=retry_after)
        unit_of_work = self._repository.begin()
        for message in messages:
            retried_message = msgspec.structs.replace(message, attempts=message.attempts + 1, retry_at=retry_at)
            unit_of_work.put(self.tables.messages, message.id, retried_message)
        self._put_outcome(unit_of_work, receiver, messages[0].receiver_id, delivered_count=0, error=error)
        await unit_of_work.commit()

    async def move_to_dead_letters(self, messages: Sequence[OutboxMessage], error: str) -> None:
        """Give up the messages and record them as dead letters; the receiver's next message becomes due."""
        receiver = self._find_receiver(messages)
        if receiver is None:
            return
        resource = self.tables.resource(messages[0].receiver_id)
        unit_of_work = self._repository.begin()
        for message in messages:
            unit_of_work.delete(self.tables.messages, message.id)
            letter = self._build_dead_letter(message, error)
            stored_letter = StoredDeadLetter(dead_letter=letter, change=message.change)
            unit_of_work.put(self.tables.dead_letters, letter.id, stored_letter)
            attempts = format_count(letter.attempts, "attempt")
            audit_message = f"{letter.event} of {letter.label} not delivered after {attempts}: {error}"
            unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.FAILED, resource, audit_message)
        self._put_outcome(unit_of_work, receiver, messages[0].receiver_id, delivered_count=0, error=error)
        unit_of_work.notify(resource)
        await unit_of_work.commit()

    # ---- used by the registry and the engine

    def pending(self, receiver_id: str) -> list[OutboxMessage]:
        """Return the undelivered messages of a receiver, oldest event first."""
        return self._list_matching(self.tables.messages, _build_pending_filter(receiver_id))

    def dead_letters(self, receiver_id: str) -> list[StoredDeadLetter]:
        """Return the dead letters of a receiver, oldest event first."""
        return self._list_matching(self.tables.dead_letters, _build_dead_letter_filter(receiver_id))

    def count_pending(self) -> int:
        """Return the number of undelivered messages of all receivers."""
        return self._repository.store.count(self.tables.messages.name)

    def counts(self, receiver_id: str) -> tuple[int, int]:
        """Return the number of pending messages and the number of dead letters of a receiver."""
        store = self._repository.store
        pending_count = store.count(self.tables.messages.name, _build_pending_filter(receiver_id))
        return pending_count, store.count(self.tables.dead_letters.name, _build_dead_letter_filter(receiver_id))

    def delete_receiver(self, unit_of_work: UnitOfWork, receiver_id: str) -> None:
        """Delete a receiver together with its pending messages and dead letters, in the given unit of work."""
        unit_of_work.delete(self.tables.receivers, receiver_id)
        for message in self.pending(receiver_id):
            unit_of_work.delete(self.tables.messages, message.id)
        for stored_letter in self.dead_letters(receiver_id):
            unit_of_work.delete(self.tables.dead_letters, stored_letter.dead_letter.id)

    def requeue(self, unit_of_work: UnitOfWork, stored_letter: StoredDeadLetter) -> None:
        """Move a dead letter back to the queue: without failed attempts, and before the messages of later events."""
        letter = stored_letter.dead_letter
        unit_of_work.delete(self.tables.dead_letters, letter.id)
        message = OutboxMessage(id=letter.id, receiver_id=letter.webhook_id, change=stored_letter.change)
        unit_of_work.put(self.tables.messages, letter.id, message)

    def notify(self) -> None:
        """Wake all senders that wait for a message, so that they check again."""
        self._wakeup.set()
        self._wakeup = asyncio.Event()

    def on_task_saved(self, _: Task) -> None:
        """Wake the senders if there are messages. The repository calls this method for every saved task."""
        if self.count_pending():
            self.notify()

    # ---- defined by the kind of receiver

    @abstractmethod
    async def _build_delivery(self, receiver: R, message: OutboxMessage) -> D | None:
        """Return the next delivery, which includes ``message``; None if the queue has changed instead."""

    @abstractmethod
    def _with_outcome(self, receiver: R, *, delivered_count: int, error: str) -> R:
        """Return the receiver with the outcome of a delivery attempt of ``delivered_count`` messages."""

    def _due_at(self, message: OutboxMessage) -> datetime | None:
        """Return when the oldest message of a receiver is due; None if it is due immediately."""
        return message.retry_at

    # ---- helpers

    def _list_receiver_ids(self) -> frozenset[str]:
        return frozenset(identity for identity, _ in self._repository.store.all(self.tables.receivers.name))

    def _find_receiver(self, messages: Sequence[OutboxMessage]) -> R | None:
        """Return the receiver of the messages, or None if it was removed in the meantime."""
        return self._repository.get(self.tables.receivers, messages[0].receiver_id)

    def _put_outcome(
        self, unit_of_work: UnitOfWork, receiver: R, receiver_id: str, *, delivered_count: int, error: str
    ) -> None:
        updated_receiver = self._with_outcome(receiver, delivered_count=delivered_count, error=error)
        unit_of_work.put(self.tables.receivers, receiver_id, updated_receiver)

    def _find_next_message(self, receiver_id: str) -> OutboxMessage | None:
        """Return the oldest message of a receiver, or None if there is none or its event is not durable yet.

        A commit is visible before it is durable, and may still be rolled back.
        """
        for message in self._list_matching(self.tables.messages, _build_pending_filter(receiver_id), limit=1):
            if self._is_durable(message):
                return message
        return None

    def _is_durable(self, message: OutboxMessage) -> bool:
        return message.change.cursor <= self._repository.events.cursor

    async def _wait_for_change(self, until: datetime | None) -> None:
        """Wait for :meth:`notify`, at most until the given time."""
        waiters: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._wakeup.wait())}
        if until is not None:
            waiters.add(asyncio.ensure_future(self._sleep_until(until)))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _sleep_until(self, wakeup_at: datetime) -> None:
        seconds = (wakeup_at - self._repository.clock.now()).total_seconds()
        if seconds > 0:
            await self._repository.clock.sleep(seconds)

    def _build_dead_letter(self, message: OutboxMessage, error: str) -> DeadLetter:
        change = message.change
        assert change.notification is not None
        subject = (change.key_check or change.certificate) if isinstance(change, WorkspaceChanged) else None
        return DeadLetter(
            id=message.id,
            webhook_id=message.receiver_id,
            cursor=change.cursor,
            event=change.notification,
            task_id=change.task_id if isinstance(change, TaskChanged) else "",
            key=subject.uri if subject is not None else "",
            attempts=message.attempts + 1,
            failed_at=self._repository.clock.now(),
            error=error,
        )

    def _list_matching(self, table: Table[V], filters: Mapping[str, str], limit: int | None = None) -> list[V]:
        """Return the documents that match ``filters``, sorted by id, which is the order of their events."""
        store = self._repository.store
        max_count = store.count(table.name, filters) if limit is None else limit
        page = store.page_json(table.name, filters=filters, newest_first=False, limit=max_count)
        return [msgspec.json.decode(document, type=table.type) for document in page.documents]


def build_message_id(receiver_id: str, cursor: int) -> str:
    """Return a message id. The ids of a receiver's messages sort in the order of their events."""
    return f"{receiver_id}-{cursor:015d}"


def _build_pending_filter(receiver_id: str) -> Mapping[str, str]:
    return {"webhookId": receiver_id}


def _build_dead_letter_filter(receiver_id: str) -> Mapping[str, str]:
    return {"deadLetter.webhookId": receiver_id}
