"""The outbox of webhooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import msgspec

from sealyard.engine.state.outbox import Outbox, OutboxTables, build_message_id
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.secret_box import SecretBox
from sealyard.engine.state.tables import DEAD_LETTERS, OUTBOX, WEBHOOKS, OutboxMessage, StoredWebhook, Table
from sealyard.model.base import SecretStruct
from sealyard.model.events import DurableEvent


class PendingDelivery(SecretStruct, frozen=True, kw_only=True):
    """A message that is due for delivery, with the URL to send it to and the secret to sign it with."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("message",)

    message: OutboxMessage
    url: str
    secret: bytes

    @property
    def messages(self) -> tuple[OutboxMessage, ...]:
        return (self.message,)


class WebhookOutbox(Outbox[StoredWebhook, PendingDelivery]):
    """The messages that wait for delivery to webhooks. Each delivery is one message."""

    def __init__(self, repository: Repository, secret_box: SecretBox) -> None:
        super().__init__(
            repository,
            OutboxTables(receivers=WEBHOOKS, messages=OUTBOX, dead_letters=DEAD_LETTERS, resource_prefix="WEBHOOK"),
        )
        self._secret_box = secret_box

    def messages_for(self, events: Sequence[DurableEvent]) -> Iterator[tuple[Table[OutboxMessage], OutboxMessage]]:
        """Yield a message for each webhook and each event that it subscribes to."""
        changes = [event for event in events if event.notification is not None]
        if not changes:
            return
        for stored_webhook in self._repository.list_all(WEBHOOKS):
            webhook = stored_webhook.webhook
            for change in changes:
                if not webhook.events or change.notification in webhook.events:
                    message_id = build_message_id(webhook.id, change.cursor)
                    yield OUTBOX, OutboxMessage(id=message_id, receiver_id=webhook.id, change=change)

    async def _build_delivery(self, receiver: StoredWebhook, message: OutboxMessage) -> PendingDelivery:
        return PendingDelivery(
            message=message,
            url=receiver.webhook.url,
            secret=self._secret_box.decrypt(receiver.secret, secret_context(receiver.webhook.id)),
        )

    def _with_outcome(self, receiver: StoredWebhook, *, delivered_count: int, error: str) -> StoredWebhook:
        webhook = msgspec.structs.replace(
            receiver.webhook, delivered_count=receiver.webhook.delivered_count + delivered_count, last_error=error
        )
        return msgspec.structs.replace(receiver, webhook=webhook)


def secret_context(webhook_id: str) -> str:
    """Return the context under which :class:`SecretBox` encrypts the secret of a webhook."""
    return f"webhook {webhook_id}"
