"""Outbox of the webhooks: the next message of each, and the outcome of its delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import (
    DEAD_LETTERS,
    OUTBOX,
    WEBHOOKS,
    OutboxMessage,
    StoredDeadLetter,
    StoredWebhook,
    Table,
    V,
)
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.base import SecretStruct
from sealyard.model.formatting import format_count
from sealyard.model.tasks import Task
from sealyard.model.webhooks import DeadLetter


class PendingDelivery(SecretStruct, frozen=True, kw_only=True):
    """A message that is due, with the URL it is sent to and the ``secret`` that signs it."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("message",)

    message: OutboxMessage
    url: str
    secret: bytes


class WebhookOutbox:
    """Queue of messages for each webhook, delivered in order and independently of other webhooks.

    Delivery is at least once: a message whose delivery was not recorded is sent again.
    """

    def __init__(self, repository: Repository, secret_box: SecretBox) -> None:
        self._repository = repository
        self._secret_box = secret_box
        self._changed = asyncio.Event()

    # ---- used by the sender

    async def new_webhooks(self, known: frozenset[str]) -> frozenset[str]:
        """Wait until there are webhooks other than the ``known`` ones, and return their ids."""
        while not (new := {stored.webhook.id for stored in self._repository.list_all(WEBHOOKS)} - known):
            await self._changed.wait()
        return frozenset(new)

    async def next_delivery(self, webhook_id: str) -> PendingDelivery | None:
        """Wait until a message for the webhook is due, and return it; None once the webhook is removed.

        Raises :class:`KeyStoreCorruptedError` if the webhook's secret cannot be decrypted.
        """
        while (stored := self._repository.get(WEBHOOKS, webhook_id)) is not None:
            message = self._next_message(webhook_id)
            if message is not None and self._is_due(message):
                return PendingDelivery(
                    message=message,
                    url=stored.webhook.url,
                    secret=self._secret_box.decrypt(stored.secret, secret_context(webhook_id)),
                )
            await self._wait_for_change(until=message.retry_at if message is not None else None)
        return None

    async def mark_delivered(self, message: OutboxMessage) -> None:
        """Record that the message was delivered, which makes the next one due.

        Raises :class:`StorageError`, like :meth:`mark_failed` and :meth:`move_to_dead_letters`, if the outcome cannot
        be stored; the message is then due again.
        """
        stored = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored is None:
            return
        work = self._repository.begin()
        self._complete(work, stored, message, last_error="")
        await work.commit()

    async def mark_failed(self, message: OutboxMessage, error: str, retry_after: float) -> None:
        """Record a failed attempt; the message is due again after ``retry_after`` seconds."""
        stored = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored is None:
            return
        retry_at = self._repository.clock.now() + timedelta(seconds=retry_after)
        work = self._repository.begin()
        retried = msgspec.structs.replace(message, attempts=message.attempts + 1, retry_at=retry_at)
        work.put(OUTBOX, message.id, retried)
        webhook = msgspec.structs.replace(stored.webhook, last_error=error)
        work.put(WEBHOOKS, webhook.id, msgspec.structs.replace(stored, webhook=webhook))
        await work.commit()

    async def move_to_dead_letters(self, message: OutboxMessage, error: str) -> None:
        """Stop delivering the message and record it as a dead letter, which makes the next message due."""
        stored = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored is None:
            return
        letter = self._dead_letter(message, error)
        work = self._repository.begin()
        self._complete(work, stored, message, last_error=error)
        work.put(DEAD_LETTERS, letter.id, StoredDeadLetter(dead_letter=letter, change=message.change))
        attempts = format_count(letter.attempts, "attempt")
        audit_message = f"{letter.event} of task {letter.task_id} not delivered after {attempts}: {error}"
        work.audit(SYSTEM_SUBJECT, AuditAction.FAILED, webhook_resource(letter.webhook_id), audit_message)
        work.notify(webhook_resource(letter.webhook_id))
        await work.commit()

    # ---- used by the registry and the engine

    def pending(self, webhook_id: str) -> list[OutboxMessage]:
        """Return the messages that are not delivered yet, oldest event first."""
        return self._matching(OUTBOX, _pending_filter(webhook_id))

    def dead_letters(self, webhook_id: str) -> list[StoredDeadLetter]:
        """Return the dead letters of a webhook, oldest event first."""
        return self._matching(DEAD_LETTERS, _dead_letter_filter(webhook_id))

    def counts(self, webhook_id: str) -> tuple[int, int]:
        """Return the number of pending messages and of dead letters."""
        store = self._repository.store
        pending = store.count(OUTBOX.name, _pending_filter(webhook_id))
        return pending, store.count(DEAD_LETTERS.name, _dead_letter_filter(webhook_id))

    def notify(self) -> None:
        """Wake all senders that wait for a message, so that they check again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def on_task_saved(self, _: Task) -> None:
        """Wake the senders if there are messages; registered with the repository as a task listener."""
        if self._repository.store.count(OUTBOX.name):
            self.notify()

    # ---- helpers

    def _next_message(self, webhook_id: str) -> OutboxMessage | None:
        """Return the oldest message whose event is durable, or None.

        Readers see a commit before it is durable, and it may still be rolled back.
        """
        for message in self._matching(OUTBOX, _pending_filter(webhook_id), limit=1):
            if message.change.cursor <= self._repository.events.cursor:
                return message
        return None

    def _is_due(self, message: OutboxMessage) -> bool:
        return message.retry_at is None or message.retry_at <= self._repository.clock.now()

    async def _wait_for_change(self, until: datetime | None) -> None:
        """Wait for :meth:`notify`, at most until the given time."""
        waiters: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._changed.wait())}
        if until is not None:
            waiters.add(asyncio.ensure_future(self._sleep_until(until)))
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

    async def _sleep_until(self, moment: datetime) -> None:
        seconds = (moment - self._repository.clock.now()).total_seconds()
        if seconds > 0:
            await self._repository.clock.sleep(seconds)

    def _complete(self, work: UnitOfWork, stored: StoredWebhook, message: OutboxMessage, *, last_error: str) -> None:
        """Add the removal of a message to ``work``, and advance the webhook's cursor past its event."""
        work.delete(OUTBOX, message.id)
        delivered = max(stored.webhook.delivered, message.change.cursor)
        webhook = msgspec.structs.replace(stored.webhook, delivered=delivered, last_error=last_error)
        work.put(WEBHOOKS, webhook.id, msgspec.structs.replace(stored, webhook=webhook))

    def _dead_letter(self, message: OutboxMessage, error: str) -> DeadLetter:
        assert message.change.notification is not None
        return DeadLetter(
            id=message.id,
            webhook_id=message.webhook_id,
            cursor=message.change.cursor,
            event=message.change.notification,
            task_id=message.change.task_id,
            attempts=message.attempts + 1,
            failed_at=self._repository.clock.now(),
            error=error,
        )

    def _matching(self, table: Table[V], filters: Mapping[str, str], limit: int | None = None) -> list[V]:
        """Return the matching documents sorted by id, which is the order of their events."""
        store = self._repository.store
        max_count = store.count(table.name, filters) if limit is None else limit
        page = store.page_json(table.name, filters=filters, newest_first=False, limit=max_count)
        return [msgspec.json.decode(document, type=table.type) for document in page.documents]


def secret_context(webhook_id: str) -> str:
    """Return the context that authenticates the encrypted secret of a webhook (see :class:`SecretBox`)."""
    return f"webhook {webhook_id}"


def webhook_resource(webhook_id: str) -> str:
    return f"WEBHOOK:{webhook_id}"


def _pending_filter(webhook_id: str) -> Mapping[str, str]:
    return {"webhookId": webhook_id}


def _dead_letter_filter(webhook_id: str) -> Mapping[str, str]:
    return {"deadLetter.webhookId": webhook_id}
