"""The outbox: messages that wait for delivery to webhooks, and the outcome of each delivery."""

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
from sealyard.model.webhooks import DeadLetter, Webhook


class PendingDelivery(SecretStruct, frozen=True, kw_only=True):
    """A message that is due for delivery, with the URL to send it to and the secret to sign it with."""

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
        self._wakeup = asyncio.Event()

    # ---- used by the sender

    async def new_webhooks(self, known_ids: frozenset[str]) -> frozenset[str]:
        """Wait until there are webhooks whose ids are not in ``known_ids``, and return the ids of these webhooks."""
        while not (
            new_ids := {stored_webhook.webhook.id for stored_webhook in self._repository.list_all(WEBHOOKS)} - known_ids
        ):
            await self._wakeup.wait()
        return frozenset(new_ids)

    async def next_delivery(self, webhook_id: str) -> PendingDelivery | None:
        """Wait until a message for the webhook is due, and return it. Returns None once the webhook is removed.

        Raises :class:`KeyStoreCorruptedError` if the webhook's secret cannot be decrypted.
        """
        while (stored_webhook := self._repository.get(WEBHOOKS, webhook_id)) is not None:
            message = self._find_next_message(webhook_id)
            if message is not None and self._is_due(message):
                return PendingDelivery(
                    message=message,
                    url=stored_webhook.webhook.url,
                    secret=self._secret_box.decrypt(stored_webhook.secret, secret_context(webhook_id)),
                )
            await self._wait_for_change(until=message.retry_at if message is not None else None)
        return None

    async def mark_delivered(self, message: OutboxMessage) -> None:
        """Record that the message was delivered; the webhook's next message becomes due.

        Raises :class:`StorageError` if the outcome cannot be stored; the message stays due then. The same applies to
        :meth:`mark_failed` and :meth:`move_to_dead_letters`.
        """
        stored_webhook = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored_webhook is None:
            return
        unit_of_work = self._repository.begin()
        webhook = stored_webhook.webhook
        webhook = msgspec.structs.replace(webhook, delivered_count=webhook.delivered_count + 1, last_error="")
        self._remove_from_queue(unit_of_work, stored_webhook, message, webhook)
        await unit_of_work.commit()

    async def mark_failed(self, message: OutboxMessage, error: str, retry_after: float) -> None:
        """Record a failed attempt to deliver the message, which is due again after ``retry_after`` seconds."""
        stored_webhook = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored_webhook is None:
            return
        retry_at = self._repository.clock.now() + timedelta(seconds=retry_after)
        unit_of_work = self._repository.begin()
        retried_message = msgspec.structs.replace(message, attempts=message.attempts + 1, retry_at=retry_at)
        unit_of_work.put(OUTBOX, message.id, retried_message)
        webhook = msgspec.structs.replace(stored_webhook.webhook, last_error=error)
        unit_of_work.put(WEBHOOKS, webhook.id, msgspec.structs.replace(stored_webhook, webhook=webhook))
        await unit_of_work.commit()

    async def move_to_dead_letters(self, message: OutboxMessage, error: str) -> None:
        """Give up the message and record it as a dead letter; the webhook's next message becomes due."""
        stored_webhook = self._repository.get(WEBHOOKS, message.webhook_id)
        if stored_webhook is None:
            return
        letter = self._build_dead_letter(message, error)
        unit_of_work = self._repository.begin()
        webhook = msgspec.structs.replace(stored_webhook.webhook, last_error=error)
        self._remove_from_queue(unit_of_work, stored_webhook, message, webhook)
        unit_of_work.put(DEAD_LETTERS, letter.id, StoredDeadLetter(dead_letter=letter, change=message.change))
        attempts = format_count(letter.attempts, "attempt")
        audit_message = f"{letter.event} of task {letter.task_id} not delivered after {attempts}: {error}"
        unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.FAILED, webhook_resource(letter.webhook_id), audit_message)
        unit_of_work.notify(webhook_resource(letter.webhook_id))
        await unit_of_work.commit()

    # ---- used by the registry and the engine

    def pending(self, webhook_id: str) -> list[OutboxMessage]:
        """Return the undelivered messages of a webhook, oldest event first."""
        return self._list_matching(OUTBOX, _build_pending_filter(webhook_id))

    def dead_letters(self, webhook_id: str) -> list[StoredDeadLetter]:
        """Return the dead letters of a webhook, oldest event first."""
        return self._list_matching(DEAD_LETTERS, _build_dead_letter_filter(webhook_id))

    def counts(self, webhook_id: str) -> tuple[int, int]:
        """Return the number of pending messages and the number of dead letters of a webhook."""
        store = self._repository.store
        pending_count = store.count(OUTBOX.name, _build_pending_filter(webhook_id))
        return pending_count, store.count(DEAD_LETTERS.name, _build_dead_letter_filter(webhook_id))

    def notify(self) -> None:
        """Wake all senders that wait for a message, so that they check again."""
        self._wakeup.set()
        self._wakeup = asyncio.Event()

    def on_task_saved(self, _: Task) -> None:
        """Wake the senders if there are messages. The repository calls this method for every saved task."""
        if self._repository.store.count(OUTBOX.name):
            self.notify()

    # ---- helpers

    def _find_next_message(self, webhook_id: str) -> OutboxMessage | None:
        """Return the oldest message of a webhook, or None if there is none or its event is not durable yet.

        A commit is visible before it is durable, and may still be rolled back.
        """
        for message in self._list_matching(OUTBOX, _build_pending_filter(webhook_id), limit=1):
            if message.change.cursor <= self._repository.events.cursor:
                return message
        return None

    def _is_due(self, message: OutboxMessage) -> bool:
        return message.retry_at is None or message.retry_at <= self._repository.clock.now()

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

    def _remove_from_queue(
        self, unit_of_work: UnitOfWork, stored_webhook: StoredWebhook, message: OutboxMessage, webhook: Webhook
    ) -> None:
        """Remove a message and store the new state of its webhook, in the given unit of work."""
        unit_of_work.delete(OUTBOX, message.id)
        unit_of_work.put(WEBHOOKS, webhook.id, msgspec.structs.replace(stored_webhook, webhook=webhook))

    def _build_dead_letter(self, message: OutboxMessage, error: str) -> DeadLetter:
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

    def _list_matching(self, table: Table[V], filters: Mapping[str, str], limit: int | None = None) -> list[V]:
        """Return the documents that match ``filters``, sorted by id, which is the order of their events."""
        store = self._repository.store
        max_count = store.count(table.name, filters) if limit is None else limit
        page = store.page_json(table.name, filters=filters, newest_first=False, limit=max_count)
        return [msgspec.json.decode(document, type=table.type) for document in page.documents]


def secret_context(webhook_id: str) -> str:
    """Return the context under which :class:`SecretBox` encrypts the secret of a webhook."""
    return f"webhook {webhook_id}"


def webhook_resource(webhook_id: str) -> str:
    return f"WEBHOOK:{webhook_id}"


def _build_pending_filter(webhook_id: str) -> Mapping[str, str]:
    return {"webhookId": webhook_id}


def _build_dead_letter_filter(webhook_id: str) -> Mapping[str, str]:
    return {"deadLetter.webhookId": webhook_id}
