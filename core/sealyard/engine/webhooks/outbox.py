"""The webhooks' outbox: what each is to be told next, and what came of telling it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar

import msgspec

from sealyard.engine.state.repository import Repository, UnitOfWork
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
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.base import SecretStruct
from sealyard.model.tasks import Task
from sealyard.model.webhooks import DeadLetter


class PendingDelivery(SecretStruct, frozen=True, kw_only=True):
    """What is to be told now: where, and signed with which ``secret``."""

    SHOWN: ClassVar[tuple[str, ...]] = ("notice",)

    notice: OutboxMessage
    url: str
    secret: bytes


class WebhookOutbox:
    """In order for each webhook, each for itself. What is told and not yet recorded as told is told again."""

    def __init__(self, ledger: Repository, sealed: SecretBox) -> None:
        self._ledger = ledger
        self._sealed = sealed
        self._changed = asyncio.Event()

    # ---- for who sends

    async def new_webhooks(self, known: frozenset[str]) -> frozenset[str]:
        """Waits until there are webhooks beside the known ones; their ids."""
        while not (found := {each.webhook.id for each in self._ledger.list_all(WEBHOOKS)} - known):
            await self._changed.wait()
        return frozenset(found)

    async def next_delivery(self, webhook_id: str) -> PendingDelivery | None:
        """Waits until the webhook may be told of something; None once it is removed.

        Raises :class:`KeyStoreCorruptedError` where its secret cannot be opened.
        """
        while (hook := self._ledger.get(WEBHOOKS, webhook_id)) is not None:
            notice = self._next(webhook_id)
            if notice is not None and self._is_due(notice):
                return PendingDelivery(
                    notice=notice,
                    url=hook.webhook.url,
                    secret=self._sealed.decrypt(hook.secret, secret_context(webhook_id)),
                )
            await self._change(before=notice.retry_at if notice is not None else None)
        return None

    async def mark_delivered(self, notice: OutboxMessage) -> None:
        """Raises :class:`StorageError`, as the others do that record: then it is due again."""
        hook = self._ledger.get(WEBHOOKS, notice.webhook_id)
        if hook is None:
            return
        draft = self._ledger.begin()
        self._advance_cursor(draft, hook, notice, failing="")
        await draft.commit()

    async def mark_failed(self, notice: OutboxMessage, error: str, again_after: float) -> None:
        """To be tried again after so many seconds."""
        hook = self._ledger.get(WEBHOOKS, notice.webhook_id)
        if hook is None:
            return
        try_at = self._ledger.clock.now() + timedelta(seconds=again_after)
        draft = self._ledger.begin()
        later = msgspec.structs.replace(notice, attempts=notice.attempts + 1, retry_at=try_at)
        draft.put(OUTBOX, notice.id, later)
        webhook = msgspec.structs.replace(hook.webhook, last_error=error)
        draft.put(WEBHOOKS, webhook.id, msgspec.structs.replace(hook, webhook=webhook))
        await draft.commit()

    async def move_to_dead_letters(self, notice: OutboxMessage, error: str) -> None:
        """Makes it a dead letter; the next one is due."""
        hook = self._ledger.get(WEBHOOKS, notice.webhook_id)
        if hook is None:
            return
        letter = self._dead_letter(notice, error)
        draft = self._ledger.begin()
        self._advance_cursor(draft, hook, notice, failing=error)
        draft.put(DEAD_LETTERS, letter.id, StoredDeadLetter(dead_letter=letter, change=notice.change))
        message = f"{letter.event} of task {letter.task_id} was given up after {letter.attempts} tries: {error}"
        draft.audit(SYSTEM_SUBJECT, AuditAction.FAILED, webhook_resource(letter.webhook_id), message)
        draft.notify(webhook_resource(letter.webhook_id))
        await draft.commit()

    # ---- for who looks and changes

    def pending(self, webhook_id: str) -> list[OutboxMessage]:
        return self._matching(OUTBOX, _waiting_for(webhook_id))

    def dead_letters(self, webhook_id: str) -> list[StoredDeadLetter]:
        """Oldest event first."""
        return self._matching(DEAD_LETTERS, _dead_of(webhook_id))

    def counts(self, webhook_id: str) -> tuple[int, int]:
        """How many wait, and how many are dead."""
        store = self._ledger.store
        return store.count(OUTBOX.name, _waiting_for(webhook_id)), store.count(DEAD_LETTERS.name, _dead_of(webhook_id))

    def notify(self) -> None:
        """Whoever waits looks again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def on_task_saved(self, _: Task) -> None:
        if self._ledger.store.count(OUTBOX.name):
            self.notify()

    # ---- parts

    def _next(self, webhook_id: str) -> OutboxMessage | None:
        """Of those on the disk: what the disk refuses yet has not happened."""
        for notice in self._matching(OUTBOX, _waiting_for(webhook_id), limit=1):
            if notice.change.cursor <= self._ledger.events.cursor:
                return notice
        return None

    def _is_due(self, notice: OutboxMessage) -> bool:
        return notice.retry_at is None or notice.retry_at <= self._ledger.clock.now()

    async def _change(self, before: datetime | None) -> None:
        """Waits for a change, at most until ``before``."""
        waits: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._changed.wait())}
        if before is not None:
            waits.add(asyncio.ensure_future(self._sleep_until(before)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()

    async def _sleep_until(self, moment: datetime) -> None:
        seconds = (moment - self._ledger.clock.now()).total_seconds()
        if seconds > 0:
            await self._ledger.clock.sleep(seconds)

    def _advance_cursor(self, draft: UnitOfWork, hook: StoredWebhook, notice: OutboxMessage, *, failing: str) -> None:
        draft.delete(OUTBOX, notice.id)
        delivered = max(hook.webhook.delivered, notice.change.cursor)
        webhook = msgspec.structs.replace(hook.webhook, delivered=delivered, last_error=failing)
        draft.put(WEBHOOKS, webhook.id, msgspec.structs.replace(hook, webhook=webhook))

    def _dead_letter(self, notice: OutboxMessage, error: str) -> DeadLetter:
        assert notice.change.notification is not None
        return DeadLetter(
            id=notice.id,
            webhook_id=notice.webhook_id,
            cursor=notice.change.cursor,
            event=notice.change.notification,
            task_id=notice.change.task_id,
            attempts=notice.attempts + 1,
            failed_at=self._ledger.clock.now(),
            error=error,
        )

    def _matching(self, table: Table[V], filters: Mapping[str, str], limit: int | None = None) -> list[V]:
        """By id: their ids have the order of their events."""
        store = self._ledger.store
        most = store.count(table.name, filters) if limit is None else limit
        page = store.page_json(table.name, filters=filters, newest_first=False, limit=most)
        return [msgspec.json.decode(each, type=table.type) for each in page.documents]


def secret_context(webhook_id: str) -> str:
    """What a webhook's secret is sealed as."""
    return f"webhook {webhook_id}"


def webhook_resource(webhook_id: str) -> str:
    return f"WEBHOOK:{webhook_id}"


def _waiting_for(webhook_id: str) -> Mapping[str, str]:
    return {"webhookId": webhook_id}


def _dead_of(webhook_id: str) -> Mapping[str, str]:
    return {"letter.webhookId": webhook_id}
